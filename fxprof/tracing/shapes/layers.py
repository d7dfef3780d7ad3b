"""Layers: convolutions, normalizations, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fxprof.tracing.shapes.strides import empty, empty_like, is_ambiguous, is_dense, is_plain

_INTEGERS = frozenset([int])


@cache
def _conv_keeps_channels_last() -> bool:
    """Whether this version's meta kernel answers a channels-last input in kind."""
    x = torch.empty(1, 2, 4, 4, device="meta").to(memory_format=torch.channels_last)
    return not torch.conv2d(x, torch.empty(2, 2, 1, 1, device="meta")).is_contiguous()


def _conv(dims: int) -> Callable[..., Any]:
    def conv(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Any:  # fmt: skip
        """x (b, i, s...), weight (o, i/g, k...) -> (b, o, (s + 2 padding - dilation (k - 1) - 1) // stride + 1...)."""
        given, held, dtype = input.shape, weight.shape, weight.dtype
        if len(given) != dims + 2 or len(held) != dims + 2 or isinstance(padding, str):
            return NotImplemented
        batch, channels, *sizes = given
        out, inner, *kernel = held
        fits = channels == inner * groups and channels and out % groups == 0 and input.dtype is dtype
        if not fits or (bias is not None and (bias.shape != (out,) or bias.dtype is not dtype)):
            return NotImplemented
        if _conv_keeps_channels_last() and (not is_plain(input) or is_ambiguous(input) or not is_plain(weight)):
            return NotImplemented
        found = _window(sizes, kernel, stride, padding, dilation)
        return NotImplemented if found is None else empty((batch, out, *found), dtype)

    return conv


def _window(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[int] | None:
    """Positions of a sliding window in each dimension; None where it does not fit or a number is odd."""
    found = []
    count = len(kernel)
    strides, paddings, dilations = each(stride, count), each(padding, count), each(dilation, count)
    if strides is None or paddings is None or dilations is None:
        return None
    for size, k, s, p, d in zip(sizes, kernel, strides, paddings, dilations):
        room = size + 2 * p - d * (k - 1) - 1
        if room < 0 or s < 1 or p < 0 or d < 1:
            return None
        found.append(room // s + 1)
    return found


def each(value: Any, count: int) -> Any:
    """One number per dimension, from one or from as many."""
    if isinstance(value, int):
        return (value,) * count
    items = tuple(value)
    if not _INTEGERS.issuperset(map(type, items)):
        return None
    return items * count if len(items) == 1 else items if len(items) == count else None


def _normalized(
    input: Any = None, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    *_: Any, **__: Any,
) -> Any:  # fmt: skip
    """x (b, c, *), the others (c,) -> like x.

    Without torch's check that a channel has two values to train on: costs do not need it.
    """
    if not isinstance(input, Tensor) or input.dim() < 2:
        return NotImplemented
    channels = input.shape[1:2]
    for own in (running_mean, running_var, weight, bias):
        if own is not None and own.shape != channels:
            return NotImplemented
    if is_plain(input) or is_ambiguous(input) or is_dense(input):
        return empty_like(input)
    return empty(input.shape, input.dtype)


def _layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    """x (*, n...) -> the same, contiguous."""
    tail = tuple(normalized_shape)
    if not tail or tuple(input.shape[-len(tail) :]) != tail or (weight is not None and tuple(weight.shape) != tail):
        return NotImplemented
    return empty(input.shape, input.dtype)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    """A contiguous x (b, c, *) -> another; weight and bias (c,)."""
    if input.dim() < 2 or not input.dtype.is_floating_point or 0 in input.shape:
        return NotImplemented
    channels = input.shape[1]
    if type(num_groups) is not int or num_groups < 1 or channels % num_groups:
        return NotImplemented
    if any(
        given is not None and (given.shape != (channels,) or given.dtype is not input.dtype) for given in (weight, bias)
    ):
        return NotImplemented
    if not is_plain(input) or is_ambiguous(input) or input.numel() == input.shape[0] * num_groups:
        return NotImplemented
    return empty(input.shape, input.dtype)


def _embedding(input: Any = None, weight: Any = None, *_: Any, **__: Any) -> Any:
    """ids (*), weight (n, d) -> (*, d)."""
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor) or weight.dim() != 2:
        return NotImplemented
    return empty((*input.shape, weight.shape[1]), weight.dtype)


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.conv1d: _conv(1),
    torch.conv2d: _conv(2),
    torch.conv3d: _conv(3),
    F.batch_norm: _normalized,
    F.instance_norm: _normalized,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.embedding: _embedding,
}
