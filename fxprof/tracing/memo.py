"""Remembers result shapes, so that a repeated block costs a dictionary look-up instead of a meta kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import storages, tensors_in

_Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]


class Unhashable(Exception):
    """An argument that cannot be part of a key."""


class Memo:
    """Results of functions on meta tensors, by function, tensor layouts and plain arguments.

    Only calls whose results take new memory are remembered: a view must go on sharing its memory.
    """

    def __init__(self) -> None:
        self._known: dict[Any, _Layout | tuple[_Layout, ...]] = {}

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``func(*args, **kwargs)``, from memory where possible."""
        try:
            key = (func, _key(args), _key(kwargs))
            known = self._known.get(key)
        except (Unhashable, TypeError):
            return func(*args, **kwargs)
        if known is not None:
            return _made(known) if isinstance(known[0], torch.Size) else tuple([_made(layout) for layout in known])
        result = func(*args, **kwargs)
        if (layout := _layout(result)) is not None and not _shares_memory(result, (args, kwargs)):
            self._known[key] = layout
        return result


def _key(item: Any) -> Any:
    if isinstance(item, Tensor):
        if item.layout is not torch.strided or item.is_nested:
            raise Unhashable
        return (item.shape, item.stride(), item.dtype)
    kind = type(item)
    if kind is tuple or kind is list or kind is torch.Size:
        return (kind, *[_key(x) for x in item])
    if kind is dict:
        return tuple([(key, _key(value)) for key, value in item.items()])
    if kind is slice:
        return (slice, _key(item.start), _key(item.stop), _key(item.step))
    return (kind, item)  # 1, 1.0 and True are equal, but not the same argument


def _layout(result: Any) -> _Layout | tuple[_Layout, ...] | None:
    if type(result) is Tensor:
        return (result.shape, result.stride(), result.dtype) if result.layout is torch.strided else None
    if type(result) is tuple and result and all(type(item) is Tensor for item in result):
        return tuple([(item.shape, item.stride(), item.dtype) for item in result])
    return None


def _made(layout: _Layout) -> Tensor:
    shape, stride, dtype = layout
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _shares_memory(result: Any, arguments: Any) -> bool:
    results = [storages(tensor) for tensor in tensors_in(result)]
    return len(set(results)) < len(results) or not set(results).isdisjoint(map(storages, tensors_in(arguments)))
