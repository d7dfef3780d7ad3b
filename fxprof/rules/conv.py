"""Convolutions of any rank, their transposes, and deformable ones."""

from __future__ import annotations

from math import prod

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, contraction, rule


@rule(
    "conv1d", "conv2d", "conv3d", "convolution", "_convolution", "_convolution_mode", "convolution_overrideable",
    "mkldnn_convolution", "miopen_convolution", "miopen_depthwise_convolution",
)  # fmt: skip
def conv(x: Shape, weight: Shape, bias: Shape | None = None, *, transposed: bool = False, out: Shape) -> Cost:
    """x (n, c, *s), weight (m, c // groups, *k), bias (m,) -> out (n, m, *t); also without n.

    Each output element is a dot product over one (c // groups, *k) window, padding included.
    """
    if transposed:
        return conv_transpose(x, weight, bias, out=out)
    _, *window = weight
    return contraction(prod(out) * prod(window), prod(out) if bias is not None else 0)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "miopen_convolution_transpose")
def conv_transpose(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """x (n, c, *s), weight (c, m // groups, *k), bias (m,) -> out (n, m, *t); also without n.

    Each input element is multiplied into one (m // groups, *k) window of the output: the input,
    not the output, says how many windows there are.
    """
    _, *window = weight
    return contraction(prod(x) * prod(window), prod(out) if bias is not None else 0)


@rule(
    "cudnn_convolution", "_conv_depthwise2d", "thnn_conv2d", "_slow_conv2d_forward", "slow_conv3d",
    "slow_conv3d_forward", "conv_depthwise3d", "slow_conv_dilated2d", "slow_conv_dilated3d",
)  # fmt: skip
def conv_by_name(x: Shape, weight: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """x (n, c, *s), weight (m, c // groups, *k), bias (m,) -> out (n, m, *t).

    A convolution whose third argument is not the bias.
    """
    return conv(x, weight, bias, out=out)


@rule("cudnn_convolution_transpose", "slow_conv_transpose2d", "slow_conv_transpose3d")
def conv_transpose_by_name(x: Shape, weight: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """x (n, c, *s), weight (c, m // groups, *k), bias (m,) -> out (n, m, *t).

    A transposed convolution whose third argument is not the bias.
    """
    return conv_transpose(x, weight, bias, out=out)


@rule("cudnn_convolution_relu", "miopen_convolution_relu")
def conv_relu(x: Shape, weight: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """x (n, c, *s), weight (m, c // groups, *k), bias (m,) -> out (n, m, *t): convolution, then relu."""
    return conv(x, weight, bias, out=out) + arithmetic(prod(out))


@rule("cudnn_convolution_add_relu", "miopen_convolution_add_relu")
def conv_add_relu(x: Shape, weight: Shape, *, bias: Shape | None = None, out: Shape) -> Cost:
    """x (n, c, *s), weight (m, c // groups, *k), bias (m,) -> out (n, m, *t): convolution, addition, relu."""
    return conv(x, weight, bias, out=out) + arithmetic(2 * prod(out))


@rule("conv_tbc")
def conv_tbc(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """x (t, n, c), weight (k, c, m), bias (m,) -> out (u, n, m).

    A 1-D convolution with time first: each output element is a dot product over (k, c).
    """
    return contraction(prod(out) * prod(weight[:2]), prod(out) if bias is not None else 0)


@rule("deform_conv2d")
def deform_conv2d(
    x: Shape,
    *,
    weight: Shape,
    offset: Shape,
    mask: Shape | None = None,
    bias: Shape | None = None,
    use_mask: bool = True,
    out: Shape,
) -> Cost:
    """x (n, c, h, w), weight (m, c // groups, p, q), offset (n, 2 * d * p * q, y, z) -> out (n, m, y, z).

    The MACs are those of conv2d. Each of the n * c * p * q * y * z samples is bilinear: 4
    multiplications and 3 additions, and one more multiplication by the mask; each offset moves a
    coordinate (1) and each pair of offsets makes four weights (2 floors, 4 subtractions, 4
    products), which the c // d channels of a deformable group share.
    """
    n, c = x[0], x[1]
    samples = n * c * prod(weight[2:]) * prod(out[2:])
    masked = mask is not None and use_mask and prod(mask) > 0
    # 1 move per offset and 10 per pair of them: 6 per offset.
    flops = samples * (8 if masked else 7) + 6 * prod(offset)
    return contraction(prod(out) * prod(weight[1:]), flops + (prod(out) if bias is not None else 0))
