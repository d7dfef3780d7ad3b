"""The options that benchmarks share, and the CSV they write."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def listed(text: str) -> list[str]:
    """Read ``A,B``."""
    return text.split(",")


def add_models(parser: argparse.ArgumentParser, what: str = "default: all") -> None:
    """Add --models."""
    parser.add_argument("--models", type=listed, metavar="A,B", help=what)


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="also write every result there")


def write(path: Path | None, results: Sequence[Any]) -> None:
    """Write one CSV line per result, a dataclass, where a path was given."""
    if path is None or not results:
        return
    rows = [asdict(result) for result in results]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
