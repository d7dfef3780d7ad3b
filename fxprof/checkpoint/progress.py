"""A line of progress on stderr, where somebody watches: tqdm's where it is installed. No torch."""

from __future__ import annotations

import importlib
import sys
import time
from types import TracebackType
from typing import Any

from fxprof.units import share, short_bytes

_EVERY = 0.2  # seconds


class Progress:
    """Shows bytes done of a total; silent unless stderr is a terminal."""

    def __init__(self, name: str, start: int, total: int | None) -> None:
        self._name = name
        self._done = start
        self._total = total
        self._shown = 0.0
        self._visible = sys.stderr.isatty()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._visible:
            try:
                bar = importlib.import_module("tqdm").tqdm
            except ImportError:
                return self
            self._bar = bar(desc=self._name, total=self._total, initial=self._done, unit="B", unit_scale=True)
        return self

    def update(self, count: int) -> None:
        """Count more bytes as done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._visible and time.monotonic() - self._shown > _EVERY:
            self._show()

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._visible:
            self._show()
            sys.stderr.write("\n")

    def _show(self) -> None:
        self._shown = time.monotonic()
        of = f" of {short_bytes(self._total)}, {share(self._done, self._total)}" if self._total else ""
        sys.stderr.write(f"\r{self._name}: {short_bytes(self._done)}{of} ")
        sys.stderr.flush()
