"""Matrix products: everything that multiplies and accumulates over one shared dimension."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, contraction, is_shape, rule


@rule("linear", "mkldnn_linear", "fbgemm_linear_fp16_weight", "fbgemm_linear_fp16_weight_fp32_activation")
def linear(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """x (*, n), weight (m, n), bias (m,) -> out (*, m).

    Each output element is a dot product over n, plus one addition of the bias.
    """
    return contraction(prod(out) * x[-1], prod(out) if bias is not None else 0)


@rule("bilinear", "_trilinear")
def bilinear(x: Shape, y: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """x (*, i), y (*, j), weight (m, i, j), bias (m,) -> out (*, m).

    Contracted in two steps, as ``einsum("ni,mij,nj->nm")`` is: i first, which leaves j sums per
    output element, then j.
    """
    macs = prod(out) * x[-1] * y[-1] + prod(out) * y[-1]
    return contraction(macs, prod(out) if bias is not None else 0)


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot", "_int_mm", "_weight_int8pack_mm", "_weight_int4pack_mm")
def matmul(a: Shape, b: Shape, *, out: Shape) -> Cost:
    """a (*, i, k), b (*, k, j) -> out (*, i, j); vectors as torch.matmul takes them.

    Each output element is a dot product over k; broadcast batches multiply because ``out`` has them.
    """
    return contraction(prod(out) * a[-1])


@rule("inner")
def inner(a: Shape, b: Shape, *, out: Shape) -> Cost:
    """a (*s, k), b (*t, k) -> out (*s, *t).

    Each output element is a dot product over k; with a scalar operand it is a plain multiplication.
    """
    return contraction(prod(out) * a[-1]) if a and b else arithmetic(prod(out))


@rule("linalg_vecdot")
def vecdot(a: Shape, b: Shape, *, dim: int = -1, out: Shape) -> Cost:
    """a (*, k), b (*, k) -> out (*), contracted over ``dim``.

    Each output element is a dot product over k; the operands broadcast against each other.
    """
    return contraction(prod(out) * max(a[dim] if a else 1, b[dim] if b else 1))


@rule("addmm", "baddbmm", "addmv", "_sparse_addmm")
def addmm(bias: Shape, a: Shape, b: Shape, *, out: Shape) -> Cost:
    """bias (*, i, j) or broadcast to it, a (*, i, k), b (*, k, j) -> out (*, i, j).

    A matrix product and one addition per output element; scaling by alpha and beta is not counted.
    """
    return contraction(prod(out) * a[-1], prod(out))


@rule("_addmm_activation")
def addmm_activation(bias: Shape, a: Shape, b: Shape, *, out: Shape) -> Cost:
    """bias (j,), a (i, k), b (k, j) -> out (i, j): addmm, then an activation at 1 per element."""
    return addmm(bias, a, b, out=out) + arithmetic(prod(out))


@rule("addbmm")
def addbmm(bias: Shape, a: Shape, b: Shape, *, out: Shape) -> Cost:
    """bias (i, j), a (n, i, k), b (n, k, j) -> out (i, j).

    Each output element accumulates n * k products, then adds the bias.
    """
    return contraction(prod(out) * a[0] * a[-1], prod(out))


@rule("_scaled_mm", "scaled_mm", "_scaled_mm_v2")
def scaled_mm(a: Shape, b: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """a (i, k), b (k, j), bias (j,) -> out (i, j).

    A matrix product; the scales are applied by the accumulator and not counted.
    """
    return contraction(prod(out) * a[-1], prod(out) if bias is not None else 0)


@rule("_grouped_mm", "grouped_mm", "_scaled_grouped_mm", "scaled_grouped_mm", "_scaled_grouped_mm_v2")
def grouped_mm(a: Shape, b: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """a (i, k), b (g, k, j) -> out (i, j), the rows of a dealt to g groups; likewise 3-D by 2-D and 3-D by 3-D.

    Each output element is a dot product over k. Two matrices, a (i, k) and b (k, j), are split along
    k instead: out (g, i, j) whose groups share the k products among them.
    """
    split = len(a) == len(b) == 2
    return contraction(prod(out[1:] if split else out) * a[-1], prod(out) if bias is not None else 0)


@rule("addr")
def addr(bias: Shape, a: Shape, b: Shape, *, out: Shape) -> Cost:
    """bias (i, j), a (i,), b (j,) -> out (i, j).

    One multiplication and one addition per element: an outer product accumulates nothing, so no MACs.
    """
    return arithmetic(2 * prod(out))


@rule("tensordot")
def tensordot(a: Shape, b: Shape, *, dims: Any = 2, dims_self: Sequence[int] | None = None, out: Shape) -> Cost:
    """a (*s, *k), b (*k, *t) -> out (*s, *t), contracted over the dimensions ``dims``.

    Each output element is a dot product over all contracted dimensions; with none it is a matrix
    product over one column, as torch computes it.
    """
    if dims_self is not None:
        contracted = [a[d] for d in dims_self]
    elif isinstance(dims, int):
        contracted = list(a[len(a) - dims :])
    else:
        contracted = [a[d] for d in ((dims[0],) if isinstance(dims[0], int) else dims[0])]
    return contraction(prod(out) * prod(contracted))


def chain_order(sizes: Sequence[int]) -> dict[tuple[int, int], tuple[int, int]]:
    """Least MACs and first split of every sub-chain of matrices (sizes[i], sizes[i + 1])."""
    count = len(sizes) - 1
    best = {(i, i): (0, i) for i in range(count)}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length - 1
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return best


def chain_sizes(matrices: Sequence[Shape]) -> list[int]:
    """(a, b), (b, c), (c, d) -> [a, b, c, d]; a leading vector is a row, a trailing one a column."""
    head, *_, tail = matrices
    rows = head if len(head) == 2 else (1, *head)
    return [rows[0], rows[1], *(m[1] for m in matrices[1:-1]), tail[1] if len(tail) == 2 else 1]


@rule("chain_matmul", "linalg_multi_dot")
def chain_matmul(*matrices: Any, out: Shape) -> Cost:
    """(a, b), (b, c), ..., (y, z) -> out (a, z).

    The cheapest order of multiplication, which is the one torch takes.
    """
    shapes = matrices if is_shape(matrices[0]) else matrices[0]
    if len(shapes) < 2:
        return Cost()
    return contraction(chain_order(chain_sizes(shapes))[0, len(shapes) - 1][0])


@rule("cov")
def cov(x: Shape, *, out: Shape) -> Cost:
    """x (v, n) or (n,) -> out (v, v) or ().

    Mean and centring, 1 per element each, the product of the v rows with each other, and a
    division per output element.
    """
    return contraction(prod(out) * (x[-1] if x else 1), 2 * prod(x) + prod(out))


@rule("corrcoef")
def corrcoef(x: Shape, *, out: Shape) -> Cost:
    """x (v, n) or (n,) -> out (v, v) or ().

    The covariance, a root per row, and two divisions per output element.
    """
    return cov(x, out=out) + arithmetic(prod(x[:-1]) + 2 * prod(out))


@rule("foreach_mm")
def foreach_mm(a: Any, b: Any, *, out: Any) -> Cost:
    """Lists a of (i, k), b of (k, j) -> list of (i, j): a matrix product each."""
    return sum((matmul(x, y, out=z) for x, y, z in zip(a, b, out)), Cost())


@rule("linalg_solve_triangular")
def solve_triangular(a: Shape, b: Shape, *, left: bool = True, unitriangular: bool = False, out: Shape) -> Cost:
    """a (*, n, n), b (*, n, k) -> out (*, n, k); with ``left=False`` b and out (*, k, n).

    By substitution: the i-th of n unknowns subtracts i products with those before it, and is divided by its
    own coefficient unless that is one. No contraction, so no MACs: each unknown waits for the one before.
    """
    return arithmetic(prod(out) * (a[-1] - 1 if unitriangular else a[-1]))
