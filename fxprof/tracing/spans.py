"""Interval arithmetic: the smallest and largest number that an abstract tensor can hold.

Indices, counts, clamped coordinates and labels have known ranges; where a size is read out of such a
tensor, its largest value is the declared bound. Unknown stays unknown (None).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Span = tuple[float, float]

_INDICES = frozenset(
    """argmax argmin argsort topk sort max min kthvalue median mode cummax cummin nonzero argwhere where nms
    searchsorted bucketize""".split()
)
# Their results hold numbers of their first argument only.
_CARRIED = frozenset(
    """__getitem__ getitem index_select gather take take_along_dim view reshape flatten ravel clone contiguous
    detach expand expand_as transpose permute t unsqueeze squeeze unbind split chunk select narrow unique
    unique_consecutive max min amax amin sort topk repeat flip roll movedim swapaxes unflatten
    repeat_interleave masked_select cpu cuda broadcast_to data T mT to float double half mean tensor_split""".split()
)
_JOINED = frozenset(["cat", "concat", "stack", "hstack", "vstack"])
_UNIT = frozenset("""sigmoid softmax __eq__ eq ne gt lt ge le rand rand_like""".split())


def union(spans: Iterable[Span | None]) -> Span | None:
    """The smallest span that holds all of them; None when one is unknown, and none after it is asked for."""
    known = []
    for span in spans:
        if span is None:
            return None
        known.append(span)
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _products(a: Span, b: Span) -> Span:
    corners = [x * y for x in a for y in b]
    return (min(corners), max(corners))


def _quotients(a: Span, b: Span) -> Span | None:
    return None if b[0] <= 0 <= b[1] else _products(a, (1 / b[1], 1 / b[0]))


_ARITHMETIC: dict[str, Callable[[Span, Span], Span | None]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "__rsub__": lambda a, b: (b[0] - a[1], b[1] - a[0]),
    "mul": _products,
    "div": _quotients,
    "true_divide": _quotients,
    "floor_divide": _quotients,
    "remainder": lambda a, b: (0, max(b[1], 0)),
    "clamp_min": lambda a, b: (max(a[0], b[0]), max(a[1], b[0])),
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
}
_ARITHMETIC |= {f"{name}_": function for name, function in list(_ARITHMETIC.items())}
_ARITHMETIC |= {"__floordiv__": _quotients, "__mod__": _ARITHMETIC["remainder"]}

# Calls of others have results of unknown bounds.
_BOUNDED = frozenset(
    "randint randperm uniform_ count_nonzero sum cumsum long int type type_as clamp clamp_".split()
).union(_UNIT, _INDICES, _CARRIED, _JOINED, _ARITHMETIC)


def span_of(
    op: str, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[Any], out: Tensor, position: int,
    spans: Callable[[Any], Span | None],
) -> Span | None:  # fmt: skip
    """Bounds of the numbers in one result of ``op``.

    ``position`` counts the op's results, ``inputs`` are its tensors, ``spans`` gives an argument's span.
    """
    found = _raw_span(op, args, kwargs, inputs, out, position, spans)
    if found is None or not all(map(math.isfinite, found)):
        return None
    return found if out.dtype.is_floating_point else (math.floor(found[0]), math.ceil(found[1]))


def _raw_span(
    op: str, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[Any], out: Tensor, position: int,
    spans: Callable[[Any], Span | None],
) -> Span | None:  # fmt: skip
    if op not in _BOUNDED:
        return None
    if op in _UNIT:
        return (0, 1)
    if op == "randint":
        low, high = (0, args[0]) if len(args) < 2 or not isinstance(args[1], int) else args[:2]
        return (kwargs.get("low", low), kwargs.get("high", high) - 1)
    if op == "randperm":
        return (0, max(out.numel(), 1) - 1)
    if op == "uniform_":
        given = {"from": 0.0, "to": 1.0, **kwargs, **dict(zip(("from", "to"), args[1:]))}
        return union([spans(given["from"]), spans(given["to"])])
    if out.is_complex() or not inputs:
        return None
    source: Tensor = inputs[0]
    if (
        op in _INDICES
        and not out.dtype.is_floating_point
        and (position > 0 or op not in _CARRIED or source.dtype is torch.bool)
    ):
        return (0, max(_indexed_size(op, source, args, kwargs), 1) - 1)
    if op == "count_nonzero":
        return (0, source.numel() // max(out.numel(), 1))
    if op in ("sum", "cumsum"):
        return _summed(
            spans(source), source.numel() // max(out.numel(), 1) if op == "sum" else max(source.shape, default=1)
        )
    if op in _CARRIED or (op in ("long", "int", "type", "type_as") and not out.dtype.is_floating_point):
        return spans(source)
    if op in _JOINED:
        return union(map(spans, inputs))
    if op in ("clamp", "clamp_"):
        return _clamped(spans(source), *_limits(args, kwargs, spans))
    if op in _ARITHMETIC and len(args) > 1:
        a, b = spans(args[0]), spans(args[1])
        return None if a is None or b is None else _ARITHMETIC[op](a, b)
    return None


def _summed(span: Span | None, terms: int) -> Span | None:
    """Bounds of a sum, or of the partial sums, of so many numbers."""
    return None if span is None else (min(span[0] * terms, span[0]), max(span[1] * terms, span[1]))


_DIM_POSITION = {
    "argmax": 1,
    "argmin": 1,
    "max": 1,
    "min": 1,
    "argsort": 1,
    "sort": 1,
    "topk": 2,
    "median": 1,
    "mode": 1,
}


def _indexed_size(op: str, source: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """The size of the dimension that the resulting indices point into, or an upper bound of it."""
    if op in _DIM_POSITION:
        position = _DIM_POSITION[op]
        dim = kwargs.get("dim", args[position] if len(args) > position else None if op.startswith("arg") else -1)
        if isinstance(dim, int) and source.dim():
            return source.shape[dim]
    return source.numel() if op in ("argmax", "argmin", "argsort") else max(source.shape, default=1)


def _limits(
    args: tuple[Any, ...], kwargs: dict[str, Any], spans: Callable[[Any], Span | None]
) -> tuple[Span | None, Span | None]:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    return (None if low is None else spans(low), None if high is None else spans(high))


def _clamped(span: Span | None, low: Span | None, high: Span | None) -> Span | None:
    lowest = low[0] if low else span[0] if span else None
    highest = high[1] if high else span[1] if span else None
    return None if lowest is None or highest is None else (lowest, max(lowest, highest))
