"""Layouts of tensors: one object for all tensors laid out alike, so that it hashes and compares at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof.records import TensorSpec

_LIMIT = 1 << 16  # layouts kept; a long sweep over sizes must not fill the memory


class Layout:
    """Shape, strides and dtype of a strided tensor, and the ``tensor_meta`` that says so."""

    __slots__ = ("dtype", "floating", "metadata", "numel", "shape", "stride")

    def __init__(self, shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape = shape
        self.stride = stride
        self.dtype = dtype
        self.numel = shape.numel()
        self.floating = dtype.is_floating_point
        self.metadata = TensorMetadata(shape, dtype, False, stride, None, False, {})

    def empty(self) -> Tensor:
        """A meta tensor of this layout, in new memory."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=_META)


@lru_cache(maxsize=1 << 16)
def spec_of(shape: torch.Size, dtype: torch.dtype) -> TensorSpec:
    """The report's description of a tensor."""
    return TensorSpec(shape, dtype)


_META = torch.device("meta")
_STRIDED = torch.strided
_known: dict[Any, Layout] = {}


def layout_of(tensor: Tensor) -> Layout | None:
    """The layout of a tensor; None for one that shape, strides and dtype do not describe."""
    if tensor.layout is not _STRIDED:
        return None
    try:
        key = (tensor.shape, tensor.stride(), tensor.dtype)
    except RuntimeError:  # nested tensors have no one shape
        return None
    return _known.get(key) or _new_layout(tensor, key)


def _new_layout(tensor: Tensor, key: tuple[torch.Size, tuple[int, ...], torch.dtype]) -> Layout | None:
    if tensor.is_nested or tensor.is_quantized or tensor.dtype.is_complex:  # a complex one may be a conjugate
        return None
    if len(_known) >= _LIMIT:
        _known.clear()
    layout = _known[key] = Layout(*key)
    return layout
