"""--format and -o: what every command that prints a report does alike."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from fxprof.errors import InputError
from fxprof.replacing import replace

SUFFIXES: Mapping[str, str] = {
    ".txt": "table", "": "table", ".json": "json", ".md": "markdown", ".csv": "csv", ".tex": "latex",
    ".html": "html", ".htm": "html", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid",
    ".speedscope.json": "speedscope", ".folded": "folded",
}  # fmt: skip


def add_output(parser: argparse.ArgumentParser, formats: Collection[str]) -> None:
    """Add --format and -o to a command; the first of the formats is the default."""
    first = next(iter(formats))
    parser.set_defaults(formats=tuple(formats))
    parser.add_argument(
        "--format", choices=tuple(formats), metavar="FORMAT",
        help=f"{', '.join(formats)} (default: by the suffix of FILE, or {first})",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=_file, help="write to FILE instead of the terminal")


def _file(text: str) -> Path | None:
    return None if text == "-" else Path(text)  # as everywhere, - is what is printed to


def chosen_format(args: argparse.Namespace) -> str:
    """The format asked for, or the one that goes with the suffix of the file."""
    if args.format or args.output is None:
        return str(args.format or args.formats[0])
    name = args.output.name
    found = next((SUFFIXES[suffix] for suffix in _suffixes(name) if suffix in SUFFIXES), None)
    if found not in args.formats:
        known = {suffix: form for suffix, form in SUFFIXES.items() if form in args.formats and suffix}
        raise InputError(f"no format goes with {name!r}: end it in {', '.join(known)}, or add --format")
    return str(found)


def _suffixes(name: str) -> list[str]:
    """``a.b.json`` -> ``.b.json``, ``.json``; nothing at all where there is no dot."""
    parts = name.split(".")[1:] if "." in name else []
    return ["." + ".".join(parts[start:]) for start in range(len(parts))] or [""]


# -- the terminal ------------------------------------------------------------------------------


def width(args: argparse.Namespace) -> int | None:
    """Columns of the terminal that is printed to; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if _to_terminal(args) else None


def colour(args: argparse.Namespace) -> bool:
    """Whether to print in colour: to a terminal that has some, unless NO_COLOR is set (see no-color.org)."""
    return _to_terminal(args) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _to_terminal(args: argparse.Namespace) -> bool:
    written = "formats" in args and args.output is not None  # elsewhere -o, if any, is where weights go
    return not written and sys.stdout is not None and sys.stdout.isatty()


# -- writing -----------------------------------------------------------------------------------


def emit(text: str, output: Path | None) -> None:
    """Print, or write to a file. Raises InputError where that cannot be written."""
    if output is None:
        show(text)
        return
    try:
        _write(output, text + "\n")
    except (OSError, RuntimeError) as err:  # links in a circle are the latter
        raise InputError(f"cannot write {str(output)!r}: {getattr(err, 'strerror', None) or err}") from err


def show(text: str) -> None:
    """Print, with what the terminal's encoding lacks written as escapes. Raises InputError where nothing takes it."""
    if sys.stdout is None:
        raise InputError("cannot print, since standard output is closed; -o FILE writes to a file")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as err:
        silence()
        raise InputError(f"cannot print: {err.strerror}") from err


def silence() -> None:
    """Send what is still to be printed nowhere: Python would complain about it again while it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(output: Path, text: str) -> None:
    """Write all or nothing: a reader never sees half a file, and a failed run leaves the old one."""
    if output.exists() and not output.is_file():
        output.write_text(text, encoding="utf-8")  # a device or a pipe cannot be replaced
    else:
        replace(output, lambda beside: beside.write_text(text, encoding="utf-8"))
