"""Functions that move elements: joining, and new shapes for them; and means and sums, which drop dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.shapes.strides import empty, is_ambiguous, is_plain


def _cat(tensors: Any, dim: int = 0) -> Any:
    """Contiguous tensors of one dtype that differ in ``dim`` at most -> their sizes there added up."""
    if not tensors or not isinstance(dim, int):
        return NotImplemented
    for x in tensors:
        if type(x) is not Tensor or not is_plain(x) or is_ambiguous(x):
            return NotImplemented
    first = tensors[0]
    sizes = list(first.shape)
    if not -len(sizes) <= dim < len(sizes):
        return NotImplemented
    dim %= len(sizes)
    for x in tensors[1:]:
        others = list(x.shape)
        if len(others) != len(sizes) or x.dtype is not first.dtype:
            return NotImplemented
        sizes[dim] += others[dim]
        others[dim] = sizes[dim]
        if others != sizes:
            return NotImplemented
    return empty(sizes, first.dtype)


def _reshape(input: Any = None, *shape: Any, **rest: Any) -> Any:
    """A view where strides allow one, else new memory."""
    if rest or not shape:
        return NotImplemented
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if not all(type(size) is int for size in sizes):
        return NotImplemented
    found = _without_unknown(input, sizes)
    if found is None:
        return NotImplemented
    return input.view(found) if _is_view(input, found) else empty(found, input.dtype)


def _without_unknown(input: Tensor, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sizes with a number for -1; None where they do not hold as many elements, or there are none."""
    known = 1
    for size in sizes:
        known *= size if size >= 0 else 1
    whole = input.numel()
    if sizes.count(-1) == 1 and known and whole % known == 0:
        sizes = tuple([whole // known if size == -1 else size for size in sizes])
    elif known != whole:
        return None
    return sizes if whole and min(sizes, default=0) >= 0 else None


def _is_view(input: Tensor, sizes: tuple[int, ...]) -> bool:
    """Whether each run of dimensions that can be walked with one stride is split into sizes of its own."""
    if input.is_contiguous():
        return True
    kept = [(size, stride) for size, stride in zip(input.shape, input.stride()) if size != 1]
    left = [size for size in sizes if size != 1]
    run = 1
    for i in reversed(range(len(kept))):
        size, stride = kept[i]
        run *= size
        if i and kept[i - 1][1] == size * stride:
            continue
        while run > 1:
            if run % left[-1]:
                return False
            run //= left.pop()
    return True


def _roll(input: Tensor, shifts: Any, dims: Any = ()) -> Any:
    """A contiguous tensor -> another."""
    turned = (dims,) if type(dims) is int else dims
    steps = (shifts,) if type(shifts) is int else shifts
    if not all(type(items) in (tuple, list) and all(type(i) is int for i in items) for items in (turned, steps)):
        return NotImplemented
    if len(turned) != len(steps) or not all(-input.dim() <= dim < input.dim() for dim in turned):
        return NotImplemented
    if not is_plain(input) or is_ambiguous(input) or 0 in input.shape:
        return NotImplemented
    return empty(input.shape, input.dtype)


def _stack(tensors: Any, dim: int = 0) -> Any:
    """Contiguous tensors of one shape and dtype -> theirs, with a dimension for their number."""
    if (
        not tensors
        or type(dim) is not int
        or not all(type(x) is Tensor and is_plain(x) and not is_ambiguous(x) for x in tensors)
    ):
        return NotImplemented
    first, *others = tensors
    rank = first.dim() + 1
    if not -rank <= dim < rank or any(x.shape != first.shape or x.dtype is not first.dtype for x in others):
        return NotImplemented
    dim %= rank
    return empty((*first.shape[:dim], len(tensors), *first.shape[dim:]), first.dtype)


def _mean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Means and sums: x -> without the dimensions ``dim``, or with sizes of 1 there."""
    if dim is None or not input.dtype.is_floating_point or not is_plain(input) or is_ambiguous(input):
        return NotImplemented
    dims = (dim,) if type(dim) is int else tuple(dim)
    if not dims or not input.dim() or not all(type(d) is int and -input.dim() <= d < input.dim() for d in dims):
        return NotImplemented
    gone = {d % input.dim() for d in dims}
    if len(gone) != len(dims):
        return NotImplemented
    kept = [1 if i in gone else size for i, size in enumerate(input.shape) if keepdim or i not in gone]
    return empty(kept, input.dtype)


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.cat: _cat,
    torch.concat: _cat,
    Tensor.mean: _mean,
    torch.mean: _mean,
    Tensor.sum: _mean,
    torch.sum: _mean,
    torch.roll: _roll,
    Tensor.roll: _roll,
    torch.stack: _stack,
}
_KERNELS: tuple[Any, ...] = (
    Tensor.view, Tensor.permute, torch.permute, Tensor.transpose, torch.transpose, Tensor.swapaxes, torch.swapaxes,
    Tensor.unsqueeze, torch.unsqueeze, Tensor.squeeze, torch.squeeze, Tensor.flatten, torch.flatten, Tensor.expand,
    Tensor.contiguous,
)  # fmt: skip
# What they return may be a view; most are quick as they are.
VIEWS: dict[Any, Callable[..., Any]] = {
    Tensor.reshape: _reshape,
    torch.reshape: _reshape,
    **{kernel: kernel for kernel in _KERNELS},
}
