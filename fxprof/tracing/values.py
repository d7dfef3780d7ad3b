"""What the tracer knows about each tensor that the model's code holds.

The code holds ordinary tensors ("handles"). A value is *concrete* when its data is known (control
data: ids, masks, position and window tables) and *abstract* when it is not (anything computed from
floating inputs or weights): an abstract handle lives on the meta device and has a shape only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.choices import Assumed
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import Layout
from fxprof.tracing.spans import Span

# Control data keeps its values up to so many elements (a mask of 1,024 x 1,024); above, only shapes are propagated.
CONTROL_NUMEL = 1 << 20
# What follows from an assumed choice may be larger: one-hot encodings of 16,384 tokens x 8 choices x 256 experts.
CHOSEN_NUMEL = 1 << 25
# A view of control data takes no memory of its own: a mask of tokens expanded over the numbers of each.
VIEWED_NUMEL = 1 << 26
_SPARSE = frozenset([torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc])


def small_enough(shape: torch.Size, limit: int = CONTROL_NUMEL) -> bool:
    """Whether a tensor of control data is small enough to keep its values."""
    return shape.numel() <= limit


class Value:
    """One tensor of the traced program.

    ``real`` is its data, or None when abstract; ``node`` the graph node that makes it, created on
    first use for the elements of a tuple (``make_node``); ``span`` bounds the numbers in it.
    ``assumed`` says what of its data fxprof made up: inputs given without values, choices that depend on data.
    ``layout`` is None where shape, strides and dtype do not say all there is to know. ``twinned`` hears of the
    meta twin when it is made.
    """

    __slots__ = (
        "_meta", "assumed", "handle", "layout", "make_node", "node", "real", "span", "support", "twinned",
    )  # fmt: skip

    def __init__(
        self,
        handle: Tensor,
        real: Tensor | None = None,
        node: Node | None = None,
        make_node: Callable[[], Node] | None = None,
        assumed: tuple[Assumed, ...] = (),
        span: Span | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.handle = handle
        self.layout = layout
        self.real = real
        self.node = node
        self.make_node = make_node
        self.assumed = assumed
        self.span = span
        self.support: Tensor | None = None  # where an abstract one can be other than zero
        self.twinned: Callable[[Value], None] | None = None
        self._meta: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        """Whether its layout is all there is to know."""
        return self.layout is not None and self.real is None and self.span is None and self.support is None

    @property
    def meta(self) -> Tensor:
        """The same tensor without data."""
        if self._meta is None:
            if self.handle.is_meta and self.twinned is None:
                return self.handle
            self._meta = meta_twin(self.handle)
            if self.twinned is not None:
                self.twinned(self)
        return self._meta

    @meta.setter
    def meta(self, tensor: Tensor) -> None:
        self._meta = tensor

    @property
    def made_meta(self) -> Tensor | None:
        """The same, but None for a weight that nobody has needed it of."""
        return self.handle if self._meta is None and self.handle.is_meta and self.twinned is None else self._meta

    def graph_node(self) -> Node:
        """The node that stands for this tensor."""
        if self.node is None:
            assert self.make_node is not None
            self.node = self.make_node()
        return self.node

    def known_span(self) -> Span | None:
        """Smallest and largest number in it, where that is known."""
        if self.handle.dtype is torch.bool:
            return (0, 1)
        if self.span is None and self.real is not None and self.real.numel() and not self.real.is_complex():
            self.span = (self.real.min().item(), self.real.max().item())
        return self.span


def is_sparse(tensor: Tensor) -> bool:
    """Whether a tensor stores few of its elements."""
    return tensor.layout in _SPARSE


def meta_twin(tensor: Tensor) -> Tensor:
    """A meta tensor with the shape, strides, dtype of ``tensor``; no data is read or copied."""
    if tensor.layout is not torch.strided:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


@lru_cache(maxsize=512)
def has_a_say(kind: type) -> bool:
    """Whether a class says itself what torch's functions do to it.

    It is no tensor, or one that is more than its numbers: an attention mask without rows, an image and its place.
    """
    own = kind.__torch_function__  # type: ignore[attr-defined]
    return own != Tensor.__torch_function__ and own is not torch._C._disabled_torch_function_impl


def kept_in_kind(tensor: Tensor, twin: Tensor) -> Tensor:
    """``twin`` as of the class of ``tensor``, with its attributes, where that class has a say."""
    kind = type(tensor)
    if not has_a_say(kind) or kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:  # those wrap other tensors
        return twin
    made: Tensor = Tensor._make_subclass(kind, twin)
    made.__dict__.update(tensor.__dict__)
    return made


def map_tensors(item: Any, function: Callable[[Tensor], Any]) -> Any:
    """Replace every tensor in nested tuples, lists, dicts and slices; other objects stay as they are."""
    if isinstance(item, Tensor):
        return function(item)
    kind = type(item)
    if kind is tuple or kind is list:
        return kind([map_tensors(x, function) for x in item])
    if isinstance(item, dict):
        return {key: map_tensors(x, function) for key, x in item.items()}
    if kind is slice:
        return slice(*(map_tensors(x, function) for x in (item.start, item.stop, item.step)))
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return kind(*(map_tensors(x, function) for x in item))
    if isinstance(item, (tuple, list)) and kind is not torch.Size:
        return [map_tensors(x, function) for x in item]
    return item


def nested(number: float, shape: tuple[int, ...]) -> Any:
    """Lists of this shape, of one number."""
    return [nested(number, shape[1:]) for _ in range(shape[0])] if shape else number


def tensors_in(item: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dicts and slices."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, dict):
        for value in item.values():
            yield from tensors_in(value)
    elif isinstance(item, (tuple, list)):
        for value in item:
            yield from tensors_in(value)
    elif isinstance(item, slice):
        yield from tensors_in((item.start, item.stop, item.step))


def storages(result: Any) -> Any:
    """Identities of the memory that a result lives in, in the same nesting; views share one."""
    if isinstance(result, Tensor):
        return result.untyped_storage()._cdata if result.layout is torch.strided else id(result)
    if isinstance(result, (tuple, list)):
        return tuple([storages(item) for item in result])
    if isinstance(result, dict):
        return tuple([storages(item) for item in result.values()])
    return None


def meta_of(value: Value) -> Tensor:
    """Its shape only."""
    return value.meta


def data_of(value: Value) -> Tensor:
    """Its data, where that is known."""
    return value.meta if value.real is None else value.real


def zeros_of(value: Value) -> Tensor:
    """Its data, or zeros."""
    return torch.zeros_like(value.meta, device="cpu") if value.real is None else value.real


def integers_of(value: Value) -> Tensor:
    """Its data where that is a row of integers, which some functions read on the CPU whatever else they are given."""
    one_dimensional = value.handle.dim() == 1 and value.handle.dtype in (torch.int64, torch.int32)
    return value.real if one_dimensional and value.real is not None else value.meta
