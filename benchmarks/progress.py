"""One line of progress for a person, nothing for a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T]) -> Iterator[T]:
    """Yield the items; on a terminal, say on stderr which one is running."""
    items = list(items)
    if not sys.stderr.isatty():
        yield from items
        return
    for index, item in enumerate(items, 1):
        print(f"\r\x1b[K{index}/{len(items)} {item}", end="", file=sys.stderr, flush=True)
        yield item
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
