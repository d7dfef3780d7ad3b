"""The state of a model: all that closed code (``closed.py``), and an analysis itself, can read of its modules."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from enum import Enum
from functools import lru_cache, partial
from hashlib import blake2b
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fxprof.tracing.closed import CALLING, Closed, is_torchs
from fxprof.tracing.harmless import is_plain_enum, is_torch_value
from fxprof.tracing.inventory import Inventory

_LARGEST = 1 << 16  # elements of a tensor of control data; to read larger ones takes as long as an analysis
_LONGEST = 1 << 10  # elements of a list or a dict
_NESTED = frozenset([tuple, list, dict])
_SCALARS = frozenset([bool, int, float, complex, str, type(None), torch.dtype, torch.device, torch.Size])
_INTEGER = frozenset([int])
_KEPT = frozenset([FunctionType, BuiltinFunctionType, partial])
_TENSORS = frozenset([Tensor, Parameter])
_FLOATING = frozenset(d for d in vars(torch).values() if isinstance(d, torch.dtype) and d.is_floating_point)
_CONTAINERS = frozenset([nn.Sequential, nn.ModuleList, nn.ModuleDict])
_STANDARD = frozenset(vars(nn.Module())) - {"training"}
_parts = itemgetter("_parameters", "_buffers", "_modules")
_hooks = itemgetter("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class NoStateError(Exception):
    """A module, or an argument, keeps something that cannot be told from another."""


def state_of(model: Inventory, code: Closed, read: Collection[str]) -> Hashable:
    """What is equal where modules of this code have equal attributes, tensors laid out alike, and the same names.

    ``read`` are attributes that others read beside the code.

    Raises NoStateError where a module keeps something that is not compared: an object of the user's that the code
    reads, a hook, a subclass of Tensor, a large table of integers.
    """
    device = next((str(tensor.device) for tensor in model.tensors), None)
    return device, tuple([(*names, *_own(module, code, read, model.names)) for module, names in model.paths.items()])


def tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    """What a trace can read of a tensor: shape, strides, dtype, and, unless it is a weight, the numbers."""
    kind = type(tensor)
    if kind not in _TENSORS or tensor.__dict__:
        raise NoStateError
    try:
        shape, stride, dtype = tensor.shape, tensor.stride(), tensor.dtype
    except RuntimeError as err:  # sparse and nested ones have no strides
        raise NoStateError from err
    known = (kind, shape, stride, dtype, tensor.requires_grad)
    return known if dtype in _FLOATING and shape.numel() > 1 else (*known, _contents(tensor))


def _contents(tensor: Tensor) -> Hashable:
    if tensor.is_meta:
        return None
    if tensor.is_quantized or tensor.is_complex() or tensor.numel() > _LARGEST:
        raise NoStateError
    if tensor.numel() == 1:
        return repr(tensor.item())
    data = tensor.detach().cpu().contiguous()
    return blake2b(data.view(-1).view(torch.uint8).numpy().tobytes()).digest()


def told(value: Any) -> Hashable:
    """A plain value, or lists, tuples and dicts of them; told from equal ones of another type (1, 1.0 and True)."""
    kind = type(value)
    if kind in _SCALARS:
        return kind, value
    if kind in _NESTED and len(value) > _LONGEST:
        raise NoStateError
    if kind is tuple or kind is list:
        return kind, tuple([told(item) for item in value])
    if kind is dict:
        return kind, tuple([(told(key), told(item)) for key, item in value.items()])
    if isinstance(value, Enum) and is_plain_enum(kind):
        return value
    raise NoStateError


def _own(module: nn.Module, code: Closed, also: Collection[str], names: dict[int, str]) -> tuple[Any, ...]:
    held = vars(module)
    if any(_hooks(held)) or held.get("_compiled_call_impl") is not None:
        raise NoStateError
    read, own = _reader(tuple(held))
    values = read(held)
    types = tuple(map(type, values))
    others = [place for place, kind in enumerate(types) if kind not in _SCALARS and not _is_sizes(values[place])]
    if others:
        told_of = list(values)
        for place in others:
            told_of[place] = _told(module, own[place], values[place], code, also)
        values = tuple(told_of)
    parameters, buffers, children = _parts(held)
    found: list[Any] = [type(module), own, values, types, *children]
    for table in (parameters, buffers):
        found.append(len(table))
        for name, tensor in table.items():
            found.append(name)
            if tensor is not None:
                found.append(names[id(tensor)])
                found += tensor_state(tensor)
    return tuple(found)


def _is_sizes(value: Any) -> bool:
    return type(value) is tuple and _INTEGER.issuperset(map(type, value))


def _told(module: nn.Module, name: str, value: Any, code: Closed, also: Collection[str]) -> Any:
    """What an attribute tells; None where nothing reads it."""
    kind, is_read = type(value), name in code.names or _has_torchs_code(cast(Any, type(module)))
    if kind in _KEPT:  # a report names those of torch's
        called = value.func if kind is partial else value
        own = (getattr(called, "__module__", None) or "").startswith("torch.")
        if is_read and (kind is partial or not own or not is_torch_value(called)):
            raise NoStateError
        if own:
            return (called, told(value.args), told(value.keywords)) if kind is partial else value
        return None
    if not is_read and name not in also:
        return None
    return told(value)


@lru_cache(maxsize=4096)
def _reader(names: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """What takes a module's own attributes out of all of these, and their names."""
    if not CALLING.isdisjoint(names):
        raise NoStateError
    own = tuple([name for name in names if name not in _STANDARD])
    return itemgetter(own[0], *own), (own[0], *own)  # gives a tuple at any length


@lru_cache(maxsize=4096)
def _has_torchs_code(kind: Any) -> bool:
    """Whether a class has code of torch.nn's, whose names are not known, other than that of containers."""
    return any(is_torchs(base) and base not in _CONTAINERS for base in kind.__mro__[: kind.__mro__.index(nn.Module)])
