"""Element by element, at more than one operation per element."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, numel, rule


@rule("addcmul", "addcdiv")
def addcmul(x: Shape, a: Shape, b: Shape, *, value: float = 1, out: Any) -> Cost:
    """x (*), a (*), b (*) -> out (*).

    A product (or quotient) and an addition per element, and one more product where ``value`` is not 1.
    """
    return arithmetic((2 if isinstance(value, (int, float)) and value == 1 else 3) * prod(out))


@rule("lerp")
def lerp(start: Shape, end: Shape, weight: Any = None, *, out: Any) -> Cost:
    """start (*), end (*), weight (*) -> out (*): a difference, a product and a sum per element."""
    return arithmetic(3 * prod(out))


@rule("isclose")
def isclose(a: Shape, b: Shape, *, out: Shape) -> Cost:
    """a (*), b (*) -> out (*): abs(a - b) <= atol + rtol * abs(b) is 6 operations per element."""
    return arithmetic(6 * prod(out))


@rule("allclose")
def allclose(a: Shape, b: Shape, *, out: Any = None) -> Cost:
    """a (*), b (*) -> one truth value: isclose, and an operation per element to gather the answers."""
    return arithmetic(7 * max(prod(a), prod(b)))


@rule("foreach_addcmul", "foreach_addcdiv")
def foreach_addcmul(x: Any, a: Any, b: Any, *, value: Any = 1, out: Any = None) -> Cost:
    """Lists x, a, b of shapes (*) -> list of shapes (*): addcmul of each."""
    scaled = not (isinstance(value, (int, float)) and value == 1)
    return arithmetic((3 if scaled else 2) * numel(x))


@rule("foreach_lerp")
def foreach_lerp(start: Any, end: Any, weight: Any = None, *, out: Any = None) -> Cost:
    """Lists start, end of shapes (*) -> list of shapes (*): lerp of each."""
    return arithmetic(3 * numel(start))


@rule("cross")
def cross(a: Shape, b: Shape, *, out: Shape) -> Cost:
    """a (*, 3), b (*, 3) -> out (*, 3): two products and a difference per element."""
    return arithmetic(3 * prod(out))


@rule("polar")
def polar(radius: Shape, angle: Shape, *, out: Shape) -> Cost:
    """radius (*), angle (*) -> out (*), complex: a sine, a cosine and two products per element."""
    return arithmetic(4 * prod(out))


@rule("quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic")
def quantize(x: Shape, *, out: Any) -> Cost:
    """x (*) -> out (*): a division, a rounding, an offset and a clamp per element."""
    return arithmetic(4 * prod(x))


@rule("dequantize")
def dequantize(x: Any, *, out: Any) -> Cost:
    """x (*) -> out (*): an offset and a product per element."""
    return arithmetic(2 * numel(x))


@rule("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")
def fake_quantize(x: Shape, *, out: Any) -> Cost:
    """x (*) -> out (*): quantize (4 per element), then dequantize (2)."""
    return arithmetic(6 * prod(x))


@rule("fused_moving_avg_obs_fake_quant")
def observed_fake_quantize(x: Shape, *, out: Any) -> Cost:
    """x (*) -> out (*): the minimum and the maximum (2 comparisons per element), then fake quantization (6)."""
    return arithmetic(8 * prod(x))
