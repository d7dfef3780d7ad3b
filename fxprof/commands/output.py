"""--format and -o: what every command that prints a report does alike."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from fxprof.errors import InputError


def add_output(parser: argparse.ArgumentParser, formats: Collection[str]) -> None:
    """Add --format and -o to a command."""
    parser.add_argument("--format", choices=sorted(formats), help="default: by the suffix of FILE, or table")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write to FILE instead of the terminal")


def chosen_format(args: argparse.Namespace, suffixes: Mapping[str, str]) -> str:
    """The format asked for, or the one that goes with the suffix of the file."""
    if args.format or args.output is None:
        return args.format or "table"
    if args.output.suffix not in suffixes:
        known = " or ".join(sorted(set(suffixes.values())))
        raise InputError(f"no format goes with {args.output.suffix!r}: add --format {known}")
    return suffixes[args.output.suffix]


def emit(text: str, output: Path | None) -> None:
    """Print, or write to a file. Raises InputError where that cannot be written."""
    if output is None:
        show(text)
        return
    try:
        _write(output, text + "\n")
    except OSError as err:
        raise InputError(f"cannot write {str(output)!r}: {err.strerror}") from err


def show(text: str) -> None:
    """Print, with what the terminal's encoding lacks written as escapes."""
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
