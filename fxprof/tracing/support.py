"""Where a table that holds unknown numbers can be other than zero: gates scattered into zeros by a known choice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import Value

# Ops that only ask where a tensor is zero, given it alone or beside a zero.
_ASKING = frozenset("nonzero argwhere where count_nonzero bool gt __gt__ ne __ne__ greater not_equal".split())


def scattered(name: str, args: tuple[Any, ...], values: list[Value]) -> Tensor | None:
    """Which elements of the result are written, of ``zeros.scatter(dim, index, numbers)`` with a known index."""
    if name not in ("scatter", "scatter_") or len(args) != 4 or len(values) != 3:
        return None
    base, index, numbers = values
    if base.real is None or index.real is None or numbers.real is not None or base.real.any():
        return None
    return torch.zeros(base.real.shape, dtype=torch.bool).scatter(args[1], index.real, True)


def asks_for_zeros(name: str, args: tuple[Any, ...], values: list[Value]) -> bool:
    """Whether the call asks no more of a table than where it is zero, and that is known."""
    known = len(values) == 1 and values[0].real is None and values[0].support is not None
    return known and name in _ASKING and (len(args) == 1 or (type(args[1]) in (int, float) and args[1] == 0))
