"""Functions of sparse tensors: in a trace those are dense ones, or the model's own, which know what they store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import is_sparse


def _coalesced(input: Tensor) -> Any:
    """x (*) -> x."""
    return _unless_abstract(input, lambda: input)


def _stored(input: Tensor) -> Any:
    """x (*) -> how many elements it stores: all, of what is taken to be dense."""
    return _unless_abstract(input, lambda: input._nnz() if is_sparse(input) else input.numel())


def _values(input: Tensor) -> Any:
    """x (*), or x (*, d...) that stores rows -> (elements stored, d...)."""

    def shape() -> Any:
        if not is_sparse(input):
            return (input.numel(),)
        return (input._values() if input.layout is torch.sparse_coo else input.values()).shape

    return _unless_abstract(input, lambda: torch.empty(shape(), dtype=input.dtype, device="meta"))


def _indices(input: Tensor) -> Any:
    """x (*) -> (dimensions, elements stored)."""

    def shape() -> Any:
        return input._indices().shape if is_sparse(input) else (input.dim(), input.numel())

    return _unless_abstract(input, lambda: torch.empty(shape(), dtype=torch.int64, device="meta"))


def _unless_abstract(input: Tensor, found: Callable[[], Any]) -> Any:
    """What is found, unless a tensor is sparse and has no numbers: torch is asked about one of zeros."""
    return NotImplemented if is_sparse(input) and input.is_meta else found()


def _softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """x (*) -> (*)."""
    return torch.empty(input.shape, dtype=dtype or input.dtype, device="meta")


def _sum(input: Tensor, dim: Any = None, dtype: torch.dtype | None = None) -> Any:
    """x (*) -> a scalar, or (*) less the dimensions that are summed over."""
    if isinstance(dim, torch.dtype):
        dim, dtype = None, dim
    over = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {axis % input.dim() for axis in over}
    kept = [size for axis, size in enumerate(input.shape) if axis not in gone]
    return torch.empty(kept, dtype=dtype or input.dtype, device="meta")


def _product(input: Tensor, mat2: Tensor) -> Any:
    """(m, k) x (k, n) -> (m, n)."""
    if input.dim() != 2 or mat2.dim() != 2 or input.shape[1] != mat2.shape[0]:
        return NotImplemented
    return torch.empty((input.shape[0], mat2.shape[1]), dtype=input.dtype, device="meta")


def _masked(input: Tensor, mask: Tensor) -> Any:
    """x (*), mask (*) -> (*)."""
    return torch.empty(input.shape, dtype=input.dtype, device="meta") if input.shape == mask.shape else NotImplemented


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.sparse.softmax: _softmax,
    torch.sparse.log_softmax: _softmax,
    torch._sparse_sum: _sum,
    torch.smm: _product,
    torch.hspmm: _product,
    Tensor.smm: _product,
    Tensor.coalesce: _coalesced,
    Tensor._nnz: _stored,
    Tensor.values: _values,
    Tensor._values: _values,
    Tensor.indices: _indices,
    Tensor._indices: _indices,
    Tensor.sparse_mask: _masked,
}
