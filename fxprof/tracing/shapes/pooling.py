"""Pooling: average and maximum, over windows and to a size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fxprof.tracing.shapes.layers import each
from fxprof.tracing.shapes.strides import empty, is_ambiguous, is_plain


def _pooled(dims: int, input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """x (b, c, s...) or (c, s...), contiguous -> the positions of the window instead of s."""
    if input.dim() not in (dims + 1, dims + 2) or not input.dtype.is_floating_point or 0 in input.shape:
        return NotImplemented
    if not is_plain(input) or is_ambiguous(input):
        return NotImplemented
    stride = kernel if stride is None or stride == [] else stride
    given = [each(value, dims) for value in (kernel, stride, padding, dilation)]
    if None in given:
        return NotImplemented
    found = []
    for size, k, s, p, d in zip(input.shape[-dims:], *given):
        room = size + 2 * p - d * (k - 1) - 1
        if k < 1 or s < 1 or d < 1 or room < 0 or not 0 <= p <= k // 2:
            return NotImplemented
        count = (-(-room // s) if ceil else room // s) + 1
        # A window that starts in the padding at the end is left out.
        found.append(count - 1 if ceil and (count - 1) * s >= size + p else count)
    return empty((*input.shape[:-dims], *found), input.dtype)


def _avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    return _pooled(1, input, kernel_size, stride, padding, 1, ceil_mode)


def _avg_pool(dims: int) -> Callable[..., Any]:
    def pool(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Any:  # fmt: skip
        if divisor_override == 0:
            return NotImplemented
        return _pooled(dims, input, kernel_size, stride, padding, 1, ceil_mode)

    return pool


def _max_pool(dims: int) -> Callable[..., Any]:
    def native(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:  # fmt: skip
        return _pooled(dims, input, kernel_size, stride, padding, dilation, ceil_mode)

    return native


def _functional_max_pool(dims: int) -> Callable[..., Any]:
    def functional(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        if return_indices:
            return NotImplemented
        return _pooled(dims, input, kernel_size, stride, padding, dilation, ceil_mode)

    return functional


def _adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Any:
    """x (b, c, h, w) -> (b, c, *output_size), where an output size of None is the input's."""
    given = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if input.dim() != 4 or len(given) != 2 or not is_plain(input) or is_ambiguous(input) or 0 in input.shape:
        return NotImplemented
    return empty((*input.shape[:2], *[n if o is None else o for n, o in zip(input.shape[2:], given)]), input.dtype)


SHAPES: dict[Any, Callable[..., Any]] = {
    F.avg_pool1d: _avg_pool1d,
    F.avg_pool2d: _avg_pool(2),
    F.avg_pool3d: _avg_pool(3),
    **{
        getattr(F, name): _functional_max_pool(dims)
        for dims in (1, 2, 3)
        for name in (f"max_pool{dims}d", f"_max_pool{dims}d")  # the second is what the first calls without indices
    },
    torch.max_pool1d: _max_pool(1),
    torch.max_pool2d: _max_pool(2),
    torch.max_pool3d: _max_pool(3),
    F.adaptive_avg_pool2d: _adaptive_avg_pool2d,
}
