"""Pooling: comparisons or additions over windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, first, rule, rule_by_rank


def window(kernel_size: int | Sequence[int], rank: int) -> int:
    """Elements of one window; a single size stands for every dimension."""
    if isinstance(kernel_size, int):
        return prod([kernel_size] * rank)
    return prod(kernel_size) if len(kernel_size) == rank else prod([*kernel_size] * rank)


@rule_by_rank("mkldnn_max_pool{}d", "fractional_max_pool{}d", "fractional_max_pool{}d_with_indices", ranks=(2, 3))
@rule_by_rank("max_pool{}d", "max_pool{}d_with_indices", "quantized_max_pool{}d")
def max_pool(x: Shape, kernel_size: int | Sequence[int], *, rank: int, out: Any) -> Cost:
    """x (n, c, *s) -> out (n, c, *t); also without n.

    The maximum of a window of k elements takes k - 1 comparisons, padding included.
    """
    return arithmetic((window(kernel_size, rank) - 1) * prod(first(out)))


@rule_by_rank("avg_pool{}d")
def avg_pool(x: Shape, kernel_size: int | Sequence[int], *, rank: int, out: Shape) -> Cost:
    """x (n, c, *s) -> out (n, c, *t); also without n.

    The mean of a window of k elements takes k - 1 additions and a division, padding included.
    """
    return arithmetic(window(kernel_size, rank) * prod(out))


@rule_by_rank("lp_pool{}d")
def lp_pool(x: Shape, norm_type: float, kernel_size: int | Sequence[int], *, rank: int, out: Shape) -> Cost:
    """x (n, c, *s) -> out (n, c, *t); also without n.

    As torch computes it: a power per input element; per output element the mean of its window of k,
    its sign and absolute value, relu and product, and the multiplication by k and the root: k + 6.
    """
    return arithmetic(prod(x) + (window(kernel_size, rank) + 6) * prod(out))


def adaptive_windows(x: Shape, out: Shape) -> int:
    """Elements of all windows together.

    Along a dimension, window i of o covers floor(i * s / o) up to ceil((i + 1) * s / o): the o
    windows cover all s elements, and two neighbours share one element unless they meet on a
    multiple of s / gcd(s, o), which happens gcd(s, o) - 1 times: s + (o - 1) - (gcd(s, o) - 1).
    """
    return prod(s + o - gcd(s, o) for s, o in zip(x, out)) if prod(out) else 0


@rule(
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "mkldnn_adaptive_avg_pool2d",
)  # fmt: skip
def adaptive_avg_pool(x: Shape, *, out: Shape) -> Cost:
    """x (n, c, *s) -> out (n, c, *t); also without n.

    The mean of each window, of its true size: as many operations as it has elements.
    """
    return arithmetic(adaptive_windows(x, out))


@rule(
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
)  # fmt: skip
def adaptive_max_pool(x: Shape, *, out: Any) -> Cost:
    """x (n, c, *s) -> out (n, c, *t); also without n.

    The maximum of each window, of its true size: one comparison less than it has elements.
    """
    return arithmetic(adaptive_windows(x, first(out)) - prod(first(out)))
