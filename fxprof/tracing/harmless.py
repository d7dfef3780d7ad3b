"""What code may read and call without depending on more than its arguments: constants, torch's ops, some builtins."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Callable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from fxprof.errors import InputError
from fxprof.ops import classify
from fxprof.tracing.names import CHECKS, QUERIES

# Attributes that tell more of a tensor than its shape, strides and dtype, and ways around names.
TELLING = frozenset(
    """data_ptr _version grad grad_fn _base storage untyped_storage typed_storage _backward_hooks register_hook
    register_post_accumulate_grad_hook retain_grad is_shared is_pinned __dict__ __globals__ __closure__
    __code__ __func__ __self__ __getattribute__ __getattr__ __setattr__ __subclasses__ __builtins__
    __reduce_ex__ attrgetter methodcaller""".split()
)
FREE_BUILTINS = frozenset(
    """abs all any bool bytes callable complex dict divmod enumerate filter float format frozenset int isinstance
    issubclass len list map max min pow range repr reversed round set slice sorted str sum super tuple type zip
    property staticmethod classmethod object iter next""".split()
)
_PLAIN = frozenset([bool, int, float, complex, str, bytes, NoneType, torch.dtype, torch.device, torch.Size, type(...)])
MODULES = frozenset(
    [
        torch, torch._C, torch.nn, torch.nn.functional, torch.functional, torch.jit, torch.linalg, torch.special,
        torch.overrides, torch.compiler, torch.utils, torch.utils.checkpoint, nn.utils, torch.amp, math, operator,
        itertools, warnings,
    ]
)  # fmt: skip
PYTHONS = frozenset([math, operator, itertools, warnings])  # of their functions, none tells anything else
# Functions that tell what is the same in all traces, or change nothing.
_HARMLESS = frozenset(
    """torch.jit._script.is_scripting torch._jit_internal.is_scripting torch.jit._trace.is_tracing
    torch._C._get_tracing_state torch.compiler.is_compiling torch.compiler.is_dynamo_compiling
    torch.compiler.is_exporting torch._assert torch._log_api_usage_once torch.utils.checkpoint.checkpoint
    torch.overrides.has_torch_function torch.overrides.handle_torch_function torch.is_grad_enabled
    torch.is_autocast_enabled torch.get_autocast_dtype torch.jit.isinstance
    _warnings.warn typing.cast torch._C._log_api_usage_once torch._C._is_tracing
    torch._C._get_default_dtype torch.get_default_dtype""".split()
)
# Their classes keep nothing.
_HOMES = frozenset(["builtins", "typing", "itertools", "collections", "collections.abc", "numbers"])
_CLASSES = frozenset(
    [
        Tensor, nn.Parameter, torch.Size, torch.device, torch.dtype, nn.Module,
        torch.no_grad, torch.enable_grad, torch.set_grad_enabled, torch.inference_mode, torch.autocast,
    ]
)  # fmt: skip


def is_plain(value: Any) -> bool:
    """Whether it is a number, a text and the like, or a tuple of them."""
    return all(map(is_plain, value)) if type(value) is tuple else type(value) in _PLAIN


def is_torch_value(value: Any) -> bool:
    """A constant, one of torch's classes, or a function of torch's that becomes a node, or changes nothing."""
    if isinstance(value, type):
        own = issubclass(value, nn.Module) and value.__module__.startswith("torch.")
        made = _is_named_tuple(value) or is_plain_enum(value)
        return own or made or value in _CLASSES or value.__module__ in _HOMES
    if type(value) in (FunctionType, BuiltinFunctionType) or callable(value):
        if is_harmless(value) or getattr(value, "__module__", "") == "typing":
            return True
        name = getattr(value, "__name__", "")
        return (name in QUERIES or name in CHECKS or _is_op(value)) and name not in TELLING
    return is_plain(value)


def is_plain_enum(kind: type) -> bool:
    """Whether a class is an enumeration of plain values, without methods of its own."""
    return issubclass(kind, Enum) and not _methods(kind, "enum") and all(is_plain(member.value) for member in kind)


def _is_named_tuple(kind: type) -> bool:
    """Whether a class is a named tuple without methods of its own."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields") and _methods(kind, "collections") <= {"__new__"}


def _methods(kind: type, home: str) -> set[str]:
    """The names of a class's functions in Python, inherited ones included, that are not of its home."""
    found = [(name, held) for base in kind.__mro__ for name, held in vars(base).items()]
    functions = [(name, getattr(held, "fget", None) or getattr(held, "__func__", held)) for name, held in found]
    return {name for name, held in functions if type(held) is FunctionType and held.__module__ != home}


def is_harmless(function: Any) -> bool:
    """Whether a function is one of those that tell what is the same in all traces, or change nothing."""
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', '')}" in _HARMLESS


def _is_op(function: Callable[..., Any]) -> bool:
    try:
        return classify(function) != ""
    except InputError:
        return False
