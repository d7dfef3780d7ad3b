"""Torch's own backward ops, which a forward runs where it differentiates (torch.func): counted as ``backward`` says.

A contraction costs itself once more per gradient it makes; other arithmetic costs its forward's FLOPs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.activation import log_softmax, softmax
from fxprof.rules.conv import conv
from fxprof.rules.norm import batch_norm, group_norm, layer_norm
from fxprof.rules.registry import arithmetic, contraction, names, numel, rule

MOVED = names("select_backward slice_backward diagonal_backward masked_scatter_backward _efficientzerotensor")
ELEMENTWISE = names("""
    tanh_backward sigmoid_backward threshold_backward gelu_backward silu_backward mish_backward elu_backward
    leaky_relu_backward hardtanh_backward hardsigmoid_backward hardswish_backward softplus_backward logit_backward
    log_sigmoid_backward rrelu_with_noise_backward _prelu_kernel_backward glu_backward native_dropout_backward
    mse_loss_backward huber_loss_backward smooth_l1_loss_backward soft_margin_loss_backward
    binary_cross_entropy_backward nll_loss_backward nll_loss2d_backward avg_pool2d_backward avg_pool3d_backward
    _adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward
""")
SUMMED = names("""
    embedding_dense_backward unfold_backward max_pool2d_with_indices_backward max_pool3d_with_indices_backward
    adaptive_max_pool2d_backward adaptive_max_pool3d_backward upsample_nearest2d_backward
    reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
    replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
""")


@rule(*MOVED)
def moved(*_: Any, **__: Any) -> Cost:
    """Any arguments -> any outputs: puts a gradient into its place among zeros."""
    return Cost()


@rule(*ELEMENTWISE)
def each(*_: Any, out: Any = None) -> Cost:
    """Any shapes -> out (*), or several: one FLOP per element of a gradient."""
    return arithmetic(numel(out))


@rule(*SUMMED)
def summed(grad: Shape, *_: Any, out: Any = None) -> Cost:
    """The gradient of a result (*) -> that of the input: each element is added to where it came from."""
    return arithmetic(prod(grad))


@rule("_softmax_backward_data")
def softmax_backward(grad: Shape, output: Shape, dim: int, *, out: Any) -> Cost:
    """The gradient of a result (*, k, *), the result -> out like them: what softmax costs."""
    return softmax(grad, dim, out=out)


@rule("_log_softmax_backward_data")
def log_softmax_backward(grad: Shape, output: Shape, dim: int, *, out: Any) -> Cost:
    """The gradient of a result (*, k, *), the result -> out like them: what log_softmax costs."""
    return log_softmax(grad, dim, out=out)


@rule("native_layer_norm_backward")
def layer_norm_backward(
    grad: Shape, x: Shape, normalized_shape: Sequence[int], *, weight: Shape | None = None, bias: Shape | None = None,
    out: Any,
) -> Cost:  # fmt: skip
    """The gradient of a result (*r, *normalized_shape) -> those of input, weight, bias: what layer_norm costs."""
    return layer_norm(x, normalized_shape, weight, bias, out=out)


@rule("native_group_norm_backward")
def group_norm_backward(grad: Shape, x: Shape, *, weight: Shape | None = None, group: int, out: Any) -> Cost:
    """The gradient of a result (n, c, *s) -> those of input, weight, bias: what group_norm costs."""
    return group_norm(x, group=group, weight=weight, out=out)


@rule("native_batch_norm_backward")
def batch_norm_backward(grad: Shape, x: Shape, weight: Shape | None = None, *, train: bool = False, out: Any) -> Cost:
    """The gradient of a result (n, c, *s) -> those of input, weight, bias: what batch_norm costs."""
    return batch_norm(x, weight=weight, training=train, out=out)


@rule("convolution_backward")
def conv_backward(
    grad: Shape, x: Shape, weight: Shape, *, transposed: bool = False, output_mask: Sequence[bool], out: Any
) -> Cost:
    """The gradient of a result (n, m, *t) -> those of x (n, c, *s), weight and bias, as ``output_mask`` asks.

    The convolution again for each of the first two, and a sum for the bias.
    """
    macs = conv(x, weight, transposed=transposed, out=grad).macs
    into_bias = prod(grad) - grad[1] if output_mask[2] else 0
    return contraction(macs * (output_mask[0] + output_mask[1]), into_bias)
