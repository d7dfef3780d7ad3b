"""The command line: ``fxprof report MODEL`` and ``python -m fxprof report MODEL``; ``commands/`` has the others.

Exit status: 0 fine; 1 a problem was found (``--strict``); 2 a wrong argument, model or file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fxprof.commands import checkpoint, conventions
from fxprof.errors import FxprofError, InputError, UncountedError
from fxprof.report import Report, TensorSpec
from fxprof.version import __version__
from fxprof.views import layers, notes, table
from fxprof.views.rows import BY, SORT
from fxprof.views.text import safe

_MODEL = (
    "a torchvision name (resnet50), package.module:callable, path/to/file.py:callable, "
    "or a report saved with -o FILE.json"
)
_INPUT = re.compile(r"(?:([^\W\d]\w*)=)?\(?(\d{1,18}(?:[,x]\d{1,18})*),?\)?(?::(\w+))?")
_SUFFIXES = {".json": "json", ".txt": "table", "": "table"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as err:  # argparse has printed what is wrong, or the help
        return int(err.code or 0)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except UncountedError as err:
        return _fail(err, 1)
    except FxprofError as err:
        return _fail(err, 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="fxprof", description="What a PyTorch model costs, without running it.")
    parser.add_argument("--version", action="version", version=f"fxprof {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_report(commands.add_parser("report", help="count a model and print where the cost goes"))
    checkpoint.add(commands)
    conventions.add(commands, _add_model, _counted, _print)
    return parser


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_report)
    _add_model(parser)
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless every op is counted and no size assumed")
    parser.add_argument("--by", choices=(*BY, "layer"), default="module", help="what a row is (default: module)")
    parser.add_argument("--depth", type=_natural, metavar="N", help="cut the module tree below depth N")
    parser.add_argument("--top", type=_natural, metavar="N", help="only the N largest rows, and the sum of the rest")
    parser.add_argument("--sort", choices=SORT, help="order of the rows (default: execution, or MACs)")
    conventions.add_time(parser)
    _add_output(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument(
        "--input", action="append", type=_input, metavar="[NAME=]SHAPE[:DTYPE]", dest="inputs",
        help="an input tensor, such as 1,3,224,224 or ids=1,128:int64; repeat for several (default: the model's own)",
    )  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=sorted(_FORMATS), help="default: by the suffix of FILE, or table")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE instead of the terminal")


# -- commands ----------------------------------------------------------------------------------


def _report(args: argparse.Namespace) -> int:
    form = _format(args)
    report = _counted(args)
    _emit(_FORMATS[form](report, args), args.output)
    if args.time:
        _print(conventions.forward_time(args))
    if args.strict and not report.exact:
        raise UncountedError(f"not exact: {' '.join(notes.inexact(report))}")
    return 0


def _counted(args: argparse.Namespace) -> Report:
    return _load(args) if args.model.endswith(".json") else _analyze(args)


def _load(args: argparse.Namespace) -> Report:
    if args.inputs or args.training:
        raise InputError("a saved report cannot be counted again: --input and --training go with a model")
    try:
        text = Path(args.model).read_text(encoding="utf-8")
        return Report.from_dict(json.loads(text))
    except OSError as err:
        raise InputError(f"cannot read {args.model!r}: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise InputError(f"{args.model!r} must be a report saved by fxprof: {type(err).__name__}: {err}") from err


def _analyze(args: argparse.Namespace) -> Report:
    # Only here, so that --help and saved reports need no torch.
    import fxprof
    from fxprof import zoo

    with zoo.search_path(args.model):
        built = zoo.build(args.model)
        inputs, kwargs = built.inputs, dict(built.kwargs)
        if args.inputs:
            inputs = tuple(spec for name, spec in args.inputs if not name)
            kwargs = {name: spec for name, spec in args.inputs if name}
        if not inputs and not kwargs:
            raise InputError(f"{args.model} has no default input: add --input, for example --input 1,3,224,224")
        built.model.train(args.training)
        return fxprof.analyze(built.model, *inputs, kwargs=kwargs, training=args.training, name=built.name)


# -- output ------------------------------------------------------------------------------------


def _table(report: Report, args: argparse.Namespace) -> str:
    if args.by == "layer":
        if args.depth is not None or args.top is not None or args.sort is not None:
            raise InputError("--by layer lists every layer in call order: leave out --depth, --top and --sort")
        return layers.render(report)
    width = shutil.get_terminal_size().columns if args.output is None and sys.stdout.isatty() else None
    return table.render(report, by=args.by, depth=args.depth, top=args.top, sort=args.sort, width=width)


def _json(report: Report, args: argparse.Namespace) -> str:
    return report.to_json(indent=2)


_FORMATS: dict[str, Callable[[Report, argparse.Namespace], str]] = {"table": _table, "json": _json}


def _format(args: argparse.Namespace) -> str:
    if args.format or args.output is None:
        return args.format or "table"
    if args.output.suffix not in _SUFFIXES:
        raise InputError(f"no format goes with {args.output.suffix!r}: add --format {' or '.join(sorted(_FORMATS))}")
    return _SUFFIXES[args.output.suffix]


def _emit(text: str, output: Path | None) -> None:
    if output is None:
        _print(text)
        return
    try:
        _write(output, text + "\n")
    except OSError as err:
        raise InputError(f"cannot write {str(output)!r}: {err.strerror}") from err


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _write(output: Path, text: str) -> None:
    """Write all or nothing: a reader never sees half a file, and a failed run leaves the old one."""
    target = output.resolve()  # a link stays a link
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")  # a device or a pipe cannot be replaced
        return
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _fail(err: FxprofError, status: int) -> int:
    print("fxprof:", "\n".join(map(safe, str(err).splitlines())), file=sys.stderr)
    return status


# -- arguments ---------------------------------------------------------------------------------


def _input(text: str) -> tuple[str, TensorSpec]:
    """Read ``[name=]sizes[:dtype]``; sizes are separated by ``,`` or ``x``."""
    match = _INPUT.fullmatch(text.replace(" ", ""))
    if match is None:
        hint = "must be sizes, with an optional name and dtype, such as 1,3,224,224 or ids=1,128:int64"
        raise argparse.ArgumentTypeError(f"{hint}, got {text!r}")
    name, sizes, dtype = match.groups()
    try:
        return name or "", TensorSpec(tuple(map(int, re.split("[,x]", sizes))), dtype)
    except InputError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)
