"""Layers: convolutions, normalizations, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fxprof.tracing.shapes.strides import empty, empty_like, is_ambiguous, is_dense, is_plain


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
        if input.dim() != dims + 2 or weight.dim() != dims + 2 or isinstance(padding, str):
            return NotImplemented
        out, inner, *kernel = weight.shape
        fits = input.shape[1] == inner * groups and input.shape[1] and out % groups == 0 and input.dtype is weight.dtype
        if not fits or (bias is not None and (bias.shape != (out,) or bias.dtype is not weight.dtype)):
            return NotImplemented
        if _conv_keeps_channels_last() and (not is_plain(input) or is_ambiguous(input) or not is_plain(weight)):
            return NotImplemented
        sizes = _window(input.shape[2:], kernel, stride, padding, dilation)
        return NotImplemented if sizes is None else empty((input.shape[0], out, *sizes), input.dtype)

    return conv


def _window(sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[int] | None:
    """Positions of a sliding window in each dimension; None where it does not fit or a number is odd."""
    found = []
    given = [each(value, len(kernel)) for value in (stride, padding, dilation)]
    if None in given:
        return None
    for size, k, s, p, d in zip(sizes, kernel, *given):
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
    if not all(type(item) is int for item in items):
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
    if any(x is not None and x.shape != channels for x in (running_mean, running_var, weight, bias)):
        return NotImplemented
    return empty_like(input) if is_ambiguous(input) or is_dense(input) else empty(input.shape, input.dtype)


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
