"""Reductions, cumulative sums, sorting and searching."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, ceil_log2, first, is_shape, lines, numel, rule


@rule(
    "sum", "_sparse_sum", "nansum", "prod", "amax", "amin", "argmax", "argmin", "all", "any",
    "_is_all_true", "_is_any_true", "sum_to_size", "count_nonzero", "hash_tensor",
)  # fmt: skip
def reduce(x: Shape, *, out: Any) -> Cost:
    """x (*, k, *) -> out (*, *): k - 1 operations per output element."""
    return arithmetic(prod(x) - prod(first(out)))


@rule("trace")
def trace(x: Shape, *, out: Shape) -> Cost:
    """x (m, n) -> out (): the elements of the diagonal are added up."""
    return arithmetic(min(x) - 1)


@rule("max", "min")
def extremum(x: Shape, other: Any = None, *, out: Any) -> Cost:
    """x (*, k, *) -> out (*, *), or two tensors compared element by element.

    k - 1 comparisons per output element; 1 where there are two operands.
    """
    if is_shape(out) and prod(out) >= prod(x):
        return arithmetic(prod(out) if is_shape(other) else 0)
    return reduce(x, out=out)


@rule("aminmax", "_aminmax")
def aminmax(x: Shape, *, out: Any) -> Cost:
    """x (*, k, *) -> two of (*, *): k - 1 comparisons for each."""
    return arithmetic(2 * (prod(x) - prod(first(out))))


@rule("mean", "nanmean")
def mean(x: Shape, *, out: Shape) -> Cost:
    """x (*, k, *) -> out (*, *): k - 1 additions and a division per output element."""
    return arithmetic(prod(x))


@rule("var", "var_mean")
def var(x: Shape, *, out: Any) -> Cost:
    """x (*, k, *) -> out (*, *), or two of them: mean, centring, squares and their mean, 1 per element each."""
    return arithmetic(4 * prod(x))


@rule("std", "std_mean")
def std(x: Shape, *, out: Any) -> Cost:
    """x (*, k, *) -> out (*, *), or two of them: the variance, and a root per output element."""
    return var(x, out=out) + (arithmetic(prod(first(out))) if prod(x) else Cost())


@rule("linalg_vector_norm", "norm", "native_norm", "frobenius_norm")
def vector_norm(x: Shape, *, out: Shape) -> Cost:
    """x (*, k, *) -> out (*, *): k powers, k - 1 additions and a root per output element, whatever the power."""
    return arithmetic(2 * prod(x))


@rule("foreach_norm")
def foreach_norm(x: Any, *, out: Any) -> Cost:
    """A list of shapes (*) -> a list of (): the norm of each."""
    return arithmetic(2 * numel(x))


@rule("foreach_max")
def foreach_max(x: Any, *, out: Any) -> Cost:
    """A list of shapes (*) -> a list of (): the maximum of each."""
    return arithmetic(numel(x) - numel(out))


@rule("dist")
def dist(x: Shape, y: Shape, *, out: Shape) -> Cost:
    """x (*), y (*) -> out (): a difference, a power and an addition per element (the last is the root)."""
    return arithmetic(3 * max(prod(x), prod(y))) if prod(x) and prod(y) else Cost()


@rule("cdist", "_cdist_forward", "_euclidean_dist")
def cdist(x: Shape, y: Shape, *, out: Shape) -> Cost:
    """x (*, p, m), y (*, r, m) -> out (*, p, r).

    Per pair m differences, m powers, m - 1 additions and a root. torch may compute large euclidean
    distances by a matrix product; the count is by definition, and has no MACs.
    """
    return arithmetic(3 * x[-1] * prod(out))


@rule("pdist", "_pdist_forward")
def pdist(x: Shape, *, out: Shape) -> Cost:
    """x (p, m) -> out (p * (p - 1) / 2,): cdist of each pair once."""
    return arithmetic(3 * x[-1] * prod(out))


@rule("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_cummax_helper", "_cummin_helper", "_logcumsumexp")
def cumulative(x: Shape, dim: int = 0, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x: k - 1 operations per line."""
    return arithmetic(prod(x) - lines(x, dim))


def sort_line(x: Shape, dim: int | None) -> int:
    """Length of a line along ``dim``; the whole tensor where dim is None."""
    return prod(x) if dim is None else x[dim] if x else 1


@rule("sort", "argsort", "mode")
def sort(x: Shape, *, dim: int | None = -1, out: Any) -> Cost:
    """x (*, k, *) -> out: k * ceil(log2 k) comparisons per line, those of a merge sort.

    The mode is read off the sorted line.
    """
    return arithmetic(prod(x) * ceil_log2(sort_line(x, dim)))


@rule("median", "nanmedian", "quantile", "nanquantile", "unique", "_unique2", "unique_dim")
def order_statistic(x: Shape, *, dim: int | None = None, out: Any) -> Cost:
    """x (*, k, *) -> out: read off the sorted line, or the whole sorted tensor where dim is None."""
    return sort(x, dim=dim, out=out)


@rule("msort")
def msort(x: Shape, *, out: Shape) -> Cost:
    """x (k, *) -> out like x: sorted along the first dimension."""
    return sort(x, dim=0, out=out)


@rule("unique_consecutive", "unique_dim_consecutive")
def unique_consecutive(x: Shape, *, out: Any) -> Cost:
    """x (k,) -> out: each element is compared with the one before it."""
    return arithmetic(prod(x) - 1)


@rule("topk", "kthvalue")
def topk(x: Shape, k: int, *, dim: int = -1, out: Any) -> Cost:
    """x (*, m, *) -> out (*, k, *): each element is compared with the least of a heap of k and sinks into it.

    1 + ceil(log2 k) comparisons per element.
    """
    return arithmetic(prod(x) * (1 + ceil_log2(k if isinstance(k, int) else 1)))


@rule("searchsorted")
def searchsorted(boundaries: Shape, x: Any, *, out: Shape) -> Cost:
    """boundaries (*, k), x (*, m) -> out (*, m): ceil(log2(k + 1)) comparisons per value."""
    return arithmetic(prod(out) * ceil_log2(boundaries[-1] + 1))


@rule("bucketize")
def bucketize(x: Any, boundaries: Shape, *, out: Shape) -> Cost:
    """x (*), boundaries (k,) -> out (*): ceil(log2(k + 1)) comparisons per value."""
    return searchsorted(boundaries, x, out=out)


@rule("isin")
def isin(x: Any, test: Any, *, out: Shape) -> Cost:
    """x (*), test (k,) -> out (*): test is sorted, and every element looked up in it."""
    k = numel(test)
    return arithmetic(k * ceil_log2(k) + numel(x) * ceil_log2(k + 1))


@rule("equal", "contains", "is_nonzero")
def compare(x: Shape, *, out: Any = None) -> Cost:
    """x (*) -> one truth value: a comparison per element."""
    return arithmetic(prod(x))


@rule("bincount", "histc", "histogram", "histogramdd")
def histogram(x: Shape, *, out: Any) -> Cost:
    """x (n,) -> out (bins,): each element is added to its bin."""
    return arithmetic(prod(x))


@rule("index_add", "index_reduce")
def index_add(x: Shape, dim: int, index: Shape, source: Shape, *, out: Shape) -> Cost:
    """x (*, k, *), index (m,), source (*, m, *) -> out like x: one operation per element of source."""
    return arithmetic(prod(source))


@rule("scatter_add", "scatter_reduce")
def scatter_add(x: Shape, dim: int, index: Shape, src: Any, *, out: Shape) -> Cost:
    """x (*), index (*i), src (*i) -> out like x: one operation per index."""
    return arithmetic(prod(index))


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(
    *,
    weight: Shape,
    input: Shape = (0,),
    indices: Shape | None = None,
    per_sample_weights: Shape | None = None,
    mode: str | int = "mean",
    out: Any,
) -> Cost:
    """weight (v, e), input or indices (b, l) or (l,) -> out (b, e).

    Looked-up rows are summed: e additions per index, less one row per bag; a mean divides each
    output element, and sample weights multiply every row. max compares in place of adding.
    """
    bags = prod(first(out))
    rows = prod(input if indices is None else indices) * weight[-1]
    return arithmetic(rows - (0 if mode in ("mean", 1) else bags) + (rows if per_sample_weights is not None else 0))
