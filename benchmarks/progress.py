"""One line of progress for a person, nothing for a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_WIDTH = 30


def progress(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items; on a terminal, draw on stderr how many of ``total`` are done."""
    if not sys.stderr.isatty():
        yield from items
        return
    if total is None:
        items = list(items)
        total = len(items)
    _draw(0, total)
    for done, item in enumerate(items, 1):
        yield item
        _draw(done, total)
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _draw(done: int, total: int) -> None:
    filled = _WIDTH * done // max(total, 1)
    print(f"\r\x1b[K[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}", end="", file=sys.stderr, flush=True)
