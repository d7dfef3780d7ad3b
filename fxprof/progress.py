"""Progress on stderr, where somebody watches: tqdm's bar, which keeps away from files and pipes. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
# What is over sooner needs no bar.
DELAY = 2.0  # seconds


def progress(items: Iterable[T], unit: str, name: Callable[[T], str] = str, total: int | None = None) -> Iterator[T]:
    """Yield the items; once that takes longer, show how many of ``total`` are done and which one is running."""
    from tqdm import tqdm

    total = len(items) if isinstance(items, Sized) else total
    with tqdm(total=total, unit=unit, delay=DELAY, disable=None, leave=False) as bar:
        for item in items:
            bar.set_postfix_str(name(item), refresh=bar.format_dict["elapsed"] > DELAY)
            yield item
            bar.update()


def bytes_bar(name: str, done: int, total: int | None) -> AbstractContextManager[Any]:
    """A bar of bytes; ``update(count)`` of what it gives counts more of them as done."""
    from tqdm import tqdm

    return tqdm(desc=name, initial=done, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None)
