"""Python's garbage collector, which visits every object alive again and again while many are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Run the body, or a function that this decorates, without searches for cycles: there are none to find.

    The collector is the whole process's: other threads go without it meanwhile, and garbage waits.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
