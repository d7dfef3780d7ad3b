"""Write what each command's ``--help`` prints into the README, between its markers."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxprof.cli import build_parser
from fxprof.commands.help import commands, summaries, text
from fxprof.errors import InputError

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- what follows is written by: python -m benchmarks readme -->\n"
END = "<!-- end of what is written -->\n"
_WIDTH = 100


def generated() -> str:
    """The help of every command, each folded away under its first line."""
    parser = build_parser()
    summary = summaries(parser)
    return "".join(
        f"\n<details>\n<summary><code>fxprof {name}</code>: {summary[name]}</summary>\n\n"
        f"```text\n{text(command, _WIDTH)}\n```\n\n</details>\n"
        for name, command in commands(parser).items()
    )


def updated(readme: str) -> str:
    """A README with the help as it is now. Raises InputError where the markers are missing."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"README.md must hold the lines {BEGIN.strip()!r} and {END.strip()!r}")
    return f"{head}{BEGIN}{generated()}\n{END}{tail}"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the README is stale")


def main(args: argparse.Namespace) -> bool:
    """Write the README, or only look; whether all is well."""
    before = README.read_text(encoding="utf-8")
    after = updated(before)
    if args.check:
        print("README.md is up to date" if before == after else "README.md is stale: run python -m benchmarks readme")
        return before == after
    README.write_text(after, encoding="utf-8")
    print(f"README.md: {'unchanged' if before == after else 'written'}")
    return True
