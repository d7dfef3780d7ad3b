"""Quantized ops, whose weight and bias come packed: they cost what they cost in floating point.

Rescaling the integers of a result is not counted, as the scales of other products are not.
"""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules import contraction, conv
from fxprof.rules.recurrent import GRU, LSTM
from fxprof.rules.registry import arithmetic, rule
from fxprof.rules.registry import contraction as products
from fxprof.rules.tables import elementwise, free

_LINEAR = ("linear", "linear_dynamic", "linear_dynamic_fp16", "linear_leaky_relu", "linear_tanh")
_LINEAR_RELU = ("linear_relu", "linear_relu_dynamic", "linear_relu_dynamic_fp16")


@rule(*(f"quantized::{name}" for name in _LINEAR))
def linear(x: Shape, packed: Any, *, out: Shape) -> Cost:
    """x (*, n), packed ((m, n), (m,)) -> out (*, m): linear."""
    weight, bias = packed
    return contraction.linear(x, weight, bias, out=out)


@rule(*(f"quantized::{name}" for name in _LINEAR_RELU))
def linear_relu(x: Shape, packed: Any, *, out: Shape) -> Cost:
    """x (*, n), packed ((m, n), (m,)) -> out (*, m): linear, then relu."""
    return linear(x, packed, out=out) + arithmetic(prod(out))


@rule(*(f"quantized::conv{rank}d{dynamic}" for rank in (1, 2, 3) for dynamic in ("", "_dynamic")))
def convolution(x: Shape, packed: Any, *, out: Shape) -> Cost:
    """x (n, c, *s), packed ((m, c // groups, *k), (m,)) -> out (n, m, *t): a convolution."""
    weight, bias = packed
    return conv.conv(x, weight, bias, out=out)


@rule(*(f"quantized::conv{rank}d_relu" for rank in (1, 2, 3)))
def convolution_relu(x: Shape, packed: Any, *, out: Shape) -> Cost:
    """x (n, c, *s), packed ((m, c // groups, *k), (m,)) -> out (n, m, *t): a convolution, then relu."""
    return convolution(x, packed, out=out) + arithmetic(prod(out))


@rule(*(f"quantized::conv_transpose{rank}d{dynamic}" for rank in (1, 2, 3) for dynamic in ("", "_dynamic")))
def transposed(x: Shape, packed: Any, *, out: Shape) -> Cost:
    """x (n, c, *s), packed ((c, m // groups, *k), (m,)) -> out (n, m, *t): a transposed convolution."""
    weight, bias = packed
    return conv.conv_transpose(x, weight, bias, out=out)


@rule("quantized_lstm")
def lstm(x: Shape, hx: Any, *, num_layers: int, bidirectional: bool = False, has_biases: bool = True, out: Any) -> Cost:
    """x (t, n, i), hx ((l * d, n, h), (l * d, n, h)) -> out (t, n, d * h): see lstm; the parameters are packed."""
    return _recurrent(x, hx[0][-1], 4, num_layers, 1 + bidirectional, has_biases, LSTM)


@rule("quantized_gru")
def gru(
    x: Shape, hx: Shape, *, num_layers: int, bidirectional: bool = False, has_biases: bool = True, out: Any
) -> Cost:
    """x (t, n, i), hx (l * d, n, h) -> out (t, n, d * h): see gru; the parameters are packed."""
    return _recurrent(x, hx[-1], 3, num_layers, 1 + bidirectional, has_biases, GRU)


def _recurrent(x: Shape, h: int, gates: int, layers: int, directions: int, biased: bool, update: int) -> Cost:
    """Per token, layer and direction: the gates' products with the input and the state, two biases, the update."""
    cells = prod(x[:-1]) * directions
    inputs = x[-1] + (layers - 1) * directions * h  # of all layers
    macs = cells * gates * h * (inputs + layers * h)
    return products(macs, cells * layers * h * (update + 2 * gates * bool(biased)))


rule(*(f"quantized::{name}" for name in ("add", "sub", "mul", "add_scalar", "mul_scalar", "hardswish", "relu6")))(
    elementwise
)
rule(*(f"quantized::{name}" for name in ("sigmoid", "leaky_relu", "elu", "celu", "prelu")))(elementwise)
rule("quantized::cat")(free)


@rule("quantized::add_relu", "quantized::mul_relu", "quantized::add_scalar_relu", "quantized::mul_scalar_relu")
def with_relu(*_: Any, out: Any) -> Cost:
    """a (*), b (*) -> out (*): one operation per element, then relu."""
    return arithmetic(2 * prod(out))


@rule("quantized::batch_norm", "quantized::batch_norm1d", "quantized::batch_norm2d", "quantized::batch_norm3d")
def batch_norm(x: Shape, *_: Any, out: Shape) -> Cost:
    """x (n, c, *) -> out like x: a product and an addition per element, the statistics folded in."""
    return arithmetic(2 * prod(out))
