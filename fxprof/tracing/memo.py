"""Remembers result shapes, so that a repeated block costs a dictionary look-up instead of a meta kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fxprof.tracing.values import storages


class _Layout(NamedTuple):
    """How to make one result: new memory, or a view of the tensor argument at ``base``."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    base: int | None  # position among the tensor arguments
    offset: int  # from the base's own


class Unhashable(Exception):
    """An argument that cannot be part of a key."""


class Memo:
    """Results of functions on meta tensors, by function, tensor layouts and plain arguments.

    A view is remembered as one, so that it goes on sharing its memory.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Callable[[list[Tensor]], Any], list[_Layout]]] = {}

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``func(*args, **kwargs)``, from memory where possible."""
        tensors: list[Tensor] = []
        try:
            key = (func, _key(args, tensors), _key(kwargs, tensors) if kwargs else None)
            known = self._known.get(key)
        except (Unhashable, TypeError):
            return func(*args, **kwargs)
        if known is not None:
            kind, layouts = known
            return kind([_made(layout, tensors) for layout in layouts])
        result = func(*args, **kwargs)
        self._remember(key, result, tensors)
        return result

    def _remember(self, key: Any, result: Any, tensors: list[Tensor]) -> None:
        kind = _KINDS.get(type(result))
        results = [result] if kind is _single else list(result) if kind else []
        if not results or not all(type(item) is Tensor and item.layout is torch.strided for item in results):
            return
        memory = [storages(tensor) for tensor in tensors]
        layouts = [_layout(item, tensors, memory) for item in results]
        new = [storages(item) for item, layout in zip(results, layouts) if layout is not None and layout.base is None]
        if all(layouts) and len(set(new)) == len(new):  # results that share new memory stay together
            self._known[key] = (kind, [layout for layout in layouts if layout is not None])  # type: ignore[assignment]


def _single(results: list[Tensor]) -> Tensor:
    return results[0]


_KINDS: dict[type, Callable[[list[Tensor]], Any]] = {Tensor: _single, tuple: tuple, list: list}


def _key(item: Any, tensors: list[Tensor]) -> Any:
    """A hashable form of an argument; its tensors are collected on the way."""
    kind = type(item)
    if isinstance(item, Tensor):
        if item.layout is not torch.strided or item.is_nested:
            raise Unhashable
        tensors.append(item)
        return (item.shape, item.stride(), item.dtype)
    if kind is tuple or kind is list or kind is torch.Size:
        return (kind, *[_key(x, tensors) for x in item])
    if kind is dict:
        return tuple([(key, _key(value, tensors)) for key, value in item.items()])
    if kind is slice:
        return (slice, _key(item.start, tensors), _key(item.stop, tensors), _key(item.step, tensors))
    return (kind, item)  # 1, 1.0 and True are equal, but not the same argument


def _layout(result: Tensor, tensors: list[Tensor], memory: list[Any]) -> _Layout | None:
    own = storages(result)
    if own not in memory:
        return _Layout(result.shape, result.stride(), result.dtype, None, 0)
    position = memory.index(own)
    base = tensors[position]
    if result is base or result.dtype is not base.dtype or result.is_conj() or result.is_neg():
        return None  # handed through, or a view that strides cannot say
    offset = int(result.storage_offset()) - int(base.storage_offset())
    return _Layout(result.shape, result.stride(), result.dtype, position, offset)


def _made(layout: _Layout, tensors: list[Tensor]) -> Tensor:
    if layout.base is None:
        return torch.empty_strided(layout.shape, layout.stride, dtype=layout.dtype, device="meta")
    base = tensors[layout.base]
    return base.as_strided(layout.shape, layout.stride, base.storage_offset() + layout.offset)
