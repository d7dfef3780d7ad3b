"""The command line: ``fxprof COMMAND`` and ``python -m fxprof COMMAND``; each command is a file of ``commands/``.

Exit status: 0 fine; 1 a problem was found (``--strict``, a budget exceeded); 2 a wrong argument, model or file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fxprof.commands import check, checkpoint, compare, explain, report, sweep
from fxprof.commands.help import shaped
from fxprof.commands.output import silence
from fxprof.commands.typed import typed
from fxprof.errors import FxprofError, UncountedError
from fxprof.version import __version__
from fxprof.views.text import safe

COMMANDS = (report, compare, sweep, check, explain, checkpoint)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as err:  # argparse has printed what is wrong, or the help
        return int(err.code or 0)
    try:
        status: int = args.run(args)
        return status
    except UncountedError as err:
        return _fail(err, 1, args)
    except FxprofError as err:
        return _fail(err, 2, args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (head, less) has enough
        silence()
        return 141


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="fxprof", description="What a PyTorch model costs, without running it.")
    parser.add_argument("--version", action="version", version=f"fxprof {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return shaped(parser)


def _fail(err: FxprofError, status: int, args: argparse.Namespace) -> int:
    print("fxprof:", "\n".join(map(safe, typed(str(err), args).splitlines())), file=sys.stderr)
    return status
