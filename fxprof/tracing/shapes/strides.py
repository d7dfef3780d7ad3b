"""Strides: which tensors are laid out plainly, and new tensors beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_META = torch.device("meta")  # as text it is read anew each time
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@lru_cache(maxsize=1 << 14)
def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor, as torch gives them to a new one."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has exactly the strides of a new contiguous one."""
    return tensor.stride() == contiguous(tensor.shape)


def is_ambiguous(tensor: Tensor) -> bool:
    """Whether a tensor is channels-last, perhaps beside being contiguous: then kernels choose."""
    last = _LAST.get(tensor.dim())
    return last is not None and tensor.is_contiguous(memory_format=last)


def is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory without holes, in whatever order of the dimensions."""
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size != 1:  # else its stride says nothing
            if stride != step or size == 0:
                return False
            step *= size
    return True


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A new contiguous meta tensor."""
    return torch.empty_strided(shape, contiguous(tuple(shape)), dtype=dtype, device=_META)


def empty_like(tensor: Tensor) -> Tensor:
    """A new meta tensor with the same strides."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


def ordered_like(tensor: Tensor) -> Tensor | None:
    """A new meta tensor without holes, its dimensions in the same order in memory; None where that is not certain."""
    shape, strides = tensor.shape, tensor.stride()
    ascending = sorted(range(len(shape)), key=strides.__getitem__)
    counted = [strides[i] for i in ascending if shape[i] != 1]
    if 0 in strides or 0 in shape or len(set(counted)) < len(counted):
        return None
    made = [0] * len(shape)
    step = 1
    for i in ascending:
        made[i] = step
        step *= shape[i]
    return torch.empty_strided(shape, made, dtype=tensor.dtype, device=_META)
