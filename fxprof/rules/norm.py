"""Normalization. Per-channel terms that do not grow with the input (1 / sqrt(var + eps)) are not counted."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, lines, rule


def standardize(n: int, rows: int, *, affine: int) -> Cost:
    """n elements in ``rows`` groups, each less its mean, over its deviation.

    Mean n (n - rows additions, rows divisions), centring n, squares n, variance n, scaling n; eps
    and the root are 2 per row; weight and bias (``affine``) n each.
    """
    return arithmetic((5 + affine) * n + 2 * rows) if n else Cost()


def given(*shapes: Shape | None) -> int:
    """How many of the optional tensors are there."""
    return sum(shape is not None for shape in shapes)


@rule(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional",
    "_native_batch_norm_legit_no_training", "_batch_norm_impl_index", "cudnn_batch_norm", "miopen_batch_norm",
    "quantized_batch_norm", "_batch_norm_no_update",
)  # fmt: skip
def batch_norm(
    x: Shape, *, weight: Shape | None = None, bias: Shape | None = None, training: bool = False, out: Any
) -> Cost:
    """x (n, c, *s), weight (c,), bias (c,) -> out (n, c, *s).

    With running statistics: subtract, scale, and one each for weight and bias. In training 3 more
    per element for mean and variance. Work per channel (the root, the running statistics) is not
    counted: a channel's cost is proportional to its elements.
    """
    return arithmetic(((5 if training else 2) + given(weight, bias)) * prod(x))


@rule("_batch_norm_with_update")
def batch_norm_training(x: Shape, *, weight: Shape | None = None, bias: Shape | None = None, out: Any) -> Cost:
    """x (n, c, *s), weight (c,), bias (c,) -> out (n, c, *s): batch_norm in training."""
    return batch_norm(x, weight=weight, bias=bias, training=True, out=out)


@rule("batch_norm_elemt")
def batch_norm_apply(x: Shape, weight: Shape | None = None, bias: Shape | None = None, *, out: Any) -> Cost:
    """x (n, c, *s), weight (c,), bias (c,) -> out (n, c, *s): batch_norm with statistics given."""
    return batch_norm(x, weight=weight, bias=bias, out=out)


@rule("batch_norm_stats", "batch_norm_update_stats")
def batch_norm_stats(x: Shape, *, out: Any) -> Cost:
    """x (n, c, *s) -> mean (c,) and variance (c,): mean 1, centring 1, squares 1, variance 1 per element."""
    return arithmetic(4 * prod(x))


@rule("layer_norm", "native_layer_norm")
def layer_norm(
    x: Shape, normalized_shape: Sequence[int], weight: Shape | None = None, bias: Shape | None = None, *, out: Any
) -> Cost:
    """x (*r, *normalized_shape), weight and bias normalized_shape -> out like x.

    Each of the r rows is standardized: 5 per element and 2 per row, and one each for weight and bias.
    """
    return standardize(prod(x), prod(x[: len(x) - len(normalized_shape)]), affine=given(weight, bias))


@rule("group_norm", "native_group_norm")
def group_norm(
    x: Shape,
    *,
    num_groups: int = 0,
    group: int = 0,
    weight: Shape | None = None,
    bias: Shape | None = None,
    out: Any,
) -> Cost:
    """x (n, c, *s), weight (c,), bias (c,) -> out like x.

    Each of the n * num_groups groups is standardized: 5 per element and 2 per group, and one each
    for weight and bias.
    """
    return standardize(prod(x), x[0] * (num_groups or group), affine=given(weight, bias))


@rule("instance_norm")
def instance_norm(
    x: Shape, *, weight: Shape | None = None, bias: Shape | None = None, use_input_stats: bool = True, out: Any
) -> Cost:
    """x (n, c, *s), weight (c,), bias (c,) -> out like x.

    Each of the n * c instances is standardized; with running statistics it is batch_norm.
    """
    if not use_input_stats:
        return batch_norm(x, weight=weight, bias=bias, out=out)
    return standardize(prod(x), prod(x[:2]), affine=given(weight, bias))


@rule("rms_norm", "_fused_rms_norm")
def rms_norm(x: Shape, normalized_shape: Sequence[int], weight: Shape | None = None, *, out: Any) -> Cost:
    """x (*r, *normalized_shape), weight normalized_shape -> out like x.

    Square, mean and scaling per element, eps and root per row, and one for weight.
    """
    rows = prod(x[: len(x) - len(normalized_shape)])
    return arithmetic((3 + given(weight)) * prod(x) + 2 * rows) if prod(x) else Cost()


@rule("local_response_norm")
def local_response_norm(x: Shape, size: int, *, out: Any) -> Cost:
    """x (n, c, *s) -> out like x.

    Per element: a square, the mean of ``size`` squares (size), times alpha, plus k, to the power
    beta, and the division.
    """
    return arithmetic((5 + size) * prod(x))


@rule("normalize")
def normalize(x: Shape, p: float = 2.0, dim: int | Sequence[int] = 1, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x.

    Per element a power, an addition and the division; per line the root and the clamp, less the
    addition that the first element of a line does not need.
    """
    return arithmetic(3 * prod(x) + lines(x, dim)) if prod(x) else Cost()


@rule("_weight_norm", "_weight_norm_interface")
def weight_norm(v: Shape, g: Shape, *, out: Any) -> Cost:
    """v (m, *), g (m, 1, ...) -> out (m, *).

    The norm of v per slice (a power and an addition per element, a root in place of one addition),
    a quotient per slice, and a product per element.
    """
    return arithmetic(3 * prod(v) + prod(g))


@rule("renorm")
def renorm(x: Shape, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x: a power and an addition for the norm, and the scaling, per element."""
    return arithmetic(3 * prod(x))
