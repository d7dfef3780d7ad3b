"""The options that benchmarks share, and the CSV they write and take up again."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.isolated import Limits
from fxprof.errors import InputError

R = TypeVar("R")


def listed(text: str) -> list[str]:
    """Read ``A,B``."""
    return text.split(",")


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)


def amount(text: str) -> float:
    """Read a number above 0."""
    try:
        if 0 < (number := float(text)) < inf:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")


def writable(text: str) -> Path:
    """Read the name of a file to write, in a folder that is there: it is written when all is done."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be in a folder that exists, got {text!r}")
    return path


def add_models(parser: argparse.ArgumentParser, what: str = "default: all") -> None:
    """Add --models."""
    parser.add_argument("--models", type=listed, metavar="A,B", help=what)


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    parser.add_argument("--out", type=writable, metavar="FILE.csv", help="also write every result there")


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add --resume, for benchmarks that write each result when it is there."""
    parser.add_argument("--resume", action="store_true", help="keep what --out already has, run only the rest")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what each model's process may take."""
    default = Limits()
    parser.add_argument("--workers", type=positive, default=default.workers, metavar="N", help="models at a time")
    parser.add_argument("--seconds", type=amount, default=default.seconds, metavar="S", help="per model")
    parser.add_argument("--memory", type=amount, default=default.gib, metavar="GIB", help="per model")


def limits(args: argparse.Namespace) -> Limits:
    """The limits that were asked for."""
    return Limits(args.workers, args.seconds, args.memory)


def write(path: Path | None, results: Sequence[Any]) -> None:
    """Write one CSV line per result, a dataclass, where a path was given."""
    if results:
        list(written(path, results, type(results[0])))


def written(path: Path | None, results: Iterable[R], kind: type[Any], *, append: bool = False) -> Iterator[R]:
    """Yield the results, each written as a CSV line as soon as it is there."""
    if path is None:
        yield from results
        return
    with path.open("a" if append else "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [entry.name for entry in fields(kind)])
        if not append:
            writer.writeheader()
        for result in results:
            writer.writerow(asdict(result))  # type: ignore[call-overload]
            file.flush()
            yield result


def read(path: Path, kind: type[R]) -> list[R]:
    """The results that a file already has. Raises InputError when it is not one of this benchmark's."""
    if not path.exists():
        return []
    readers: dict[str, Callable[[str], Any]] = {
        "int": int, "float": float, "int | None": lambda text: int(text) if text else None,
    }  # fmt: skip
    named = {entry.name: readers.get(str(entry.type), str) for entry in fields(kind)}  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or named) != set(named):
            raise InputError(f"{str(path)!r} must have the columns {', '.join(named)}, got {reader.fieldnames}")
        return [kind(**{name: named[name](text) for name, text in row.items()}) for row in reader]
