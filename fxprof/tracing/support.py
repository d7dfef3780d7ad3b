"""Where a table that holds unknown numbers can be other than zero: gates scattered into zeros by a known choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import Value, map_tensors

_VIEWS = frozenset(
    "__getitem__ select narrow view reshape flatten transpose t permute unsqueeze squeeze contiguous clone".split()
)
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


def carried(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Value]
) -> Tensor | None:
    """Which elements of a view or a slice of such a table can be other than zero."""
    if name not in _VIEWS or len(values) != 1 or values[0].real is not None or values[0].support is None:
        return None
    table = values[0].support
    found = func(*map_tensors(args, lambda _: table), **kwargs)
    return found if isinstance(found, Tensor) else None


def asks_for_zeros(name: str, args: tuple[Any, ...], values: list[Value]) -> bool:
    """Whether the call asks no more of a table than where it is zero, and that is known."""
    known = len(values) == 1 and values[0].real is None and values[0].support is not None
    return known and name in _ASKING and (len(args) == 1 or (type(args[1]) in (int, float) and args[1] == 0))
