"""Ctrl-C while libraries load or leave: some swallow it, some abort the process, and Python prints where it was.

Where there is nothing to clean up, the system may end the process instead: at once, and without a word.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def end_the_process() -> bool:
    """Let an interrupt end the process from here on; False where it is ignored, or somebody else's business."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return True


@contextmanager
def ending_the_process() -> Iterator[None]:
    """Let an interrupt end the process in here only."""
    changed = end_the_process()
    try:
        yield
    finally:
        if changed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
