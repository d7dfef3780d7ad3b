"""Where rules are registered, and the few words they share.

A rule is a function of shapes: positional parameters in torch's order (a tensor is its shape, a
list of tensors a tuple of shapes, anything else itself), keyword-only parameters by torch's own
names, and ``out``, the shape of the output or a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, TypeVar

from fxprof.report import Cost, Shape

Rule = Callable[..., Cost]
F = TypeVar("F", bound=Rule)

REGISTERED: dict[str, Rule] = {}
# Shapes of results, from shapes of arguments, of ops that cannot be asked for them.
SHAPES: dict[str, Callable[..., Any]] = {}


def rule(*names: str) -> Callable[[F], F]:
    """Register a rule under each canonical op name; the function itself is returned unchanged."""

    def register(function: F) -> F:
        for name in names:
            if name in REGISTERED:
                other = getattr(REGISTERED[name], "__name__", repr(REGISTERED[name]))
                raise ValueError(f"{name!r} already has a rule: {other}")
            REGISTERED[name] = function
        return function

    return register


def rule_by_rank(*templates: str, ranks: Sequence[int] = (1, 2, 3)) -> Callable[[F], F]:
    """Register ``"max_pool{}d"`` as max_pool1d, max_pool2d and max_pool3d with ``rank`` 1, 2 and 3.

    The rank of a pooling window cannot be read from the shapes: (c, h, w) is an image or a batch
    of sequences.
    """

    def register(function: F) -> F:
        for rank in ranks:
            bound = partial(function, rank=rank)
            bound.__doc__ = function.__doc__
            rule(*(template.format(rank) for template in templates))(bound)
        return function

    return register


def contraction(macs: int, other: int = 0) -> Cost:
    """``macs`` multiply-accumulates, two FLOPs each, and ``other`` FLOPs."""
    return Cost(macs=macs, flops=2 * macs + other)


def arithmetic(flops: int) -> Cost:
    """FLOPs without a contraction; an empty reduction, which subtracts outputs from nothing, costs nothing."""
    return Cost(flops=max(flops, 0))


def names(text: str) -> tuple[str, ...]:
    """The words of a table."""
    return tuple(text.split())


def is_shape(value: Any) -> bool:
    """Whether ``value`` is one shape, as opposed to a tuple of shapes or something that is no tensor."""
    return isinstance(value, (tuple, list)) and all(isinstance(size, int) for size in value)


def numel(out: Any) -> int:
    """Elements of a shape, or of all shapes in a nested tuple; None and plain numbers have none."""
    if is_shape(out):
        return prod(out)
    return sum(map(numel, out)) if isinstance(out, (tuple, list)) else 0


def first(out: Any) -> Shape:
    """The shape itself, or the first of several."""
    while not is_shape(out):
        out = out[0]
    return tuple(out)


def lines(x: Shape, dim: int | Sequence[int] | None) -> int:
    """Number of lines (or slices) of ``x`` along ``dim``; the whole tensor is one where dim is None."""
    if dim is None or not x:
        return 1
    dims = {d % len(x) for d in ((dim,) if isinstance(dim, int) else dim)}
    return prod(size for d, size in enumerate(x) if d not in dims)


def ceil_log2(n: int) -> int:
    """The least b with ``2**b >= n``; 0 for n < 2."""
    return max(n - 1, 0).bit_length()
