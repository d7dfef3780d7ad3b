"""What a notebook shows of a result: what ``print`` does."""

from __future__ import annotations

from typing import Any


class Shown:
    """A result whose text is for people; its repr is all of its data, which fills a notebook."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        # IPython asks a class itself, not those it derives from, where the class has a repr of its own.
        cls._repr_pretty_ = _shown  # type: ignore[attr-defined]


def _shown(result: Shown, printer: Any, cycle: bool) -> None:
    """Called by IPython for the last value of a cell."""
    printer.text(str(result))
