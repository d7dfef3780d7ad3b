"""What a notebook shows of a result: what ``print`` does."""

from __future__ import annotations

from typing import Any


class Shown:
    """A result whose text is for people; its repr is all of its data, which fills a notebook."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Called by IPython for the last value of a cell."""
        printer.text(str(self))
