"""Calls that cannot be seen into: custom ops, and autograd Functions that have a rule, are one node each.

The shape of what they return comes from the function that was taught with the rule, else from the op's own fake
(meta) kernel; an op without either is run once, on zeros, where it has a kernel for the CPU.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.autograd.function import BackwardCFunction, FunctionMeta

from fxprof import binding
from fxprof.errors import InputError, TraceError
from fxprof.ops import function_of, op_of, qualified_op
from fxprof.report import TensorSpec
from fxprof.rules.registry import SHAPES
from fxprof.tracing import quantized
from fxprof.tracing.choices import Assumed
from fxprof.tracing.values import CHOSEN_NUMEL, map_tensors, small_enough, tensors_in

_UNCOMPILED = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"  # calls the operator instead of compiling a call of it
_LOOKUP = "__getattribute__"
# Called with a Function's ``apply``, its forward, its arguments, and whether gradients were on.
FunctionCall = Callable[[Any, Callable[..., Any], tuple[Any, ...], bool], Any]


def opaque_name(func: Any) -> str | None:
    """The name that a call's rule has, for custom ops, Functions and higher-order operators; else None."""
    if isinstance(func, (OpOverload, OpOverloadPacket)):
        return qualified_op(func)
    if isinstance(func, HigherOrderOperator):
        return op_of(func)
    return op_of(func) if function_of(func) is not None else None


def is_opaque(name: str) -> bool:
    """Whether a name is one of those; torch's own have neither a namespace nor a module."""
    return "::" in name or "." in name or name == "flex_attention"


def written_arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a custom op writes to, by its schema."""
    overload = func if isinstance(func, OpOverload) else getattr(func, "default", None)
    if not isinstance(overload, OpOverload):
        return []
    written: list[Tensor] = []
    for position, argument in enumerate(overload._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            written.extend(tensors_in(given))
    return written


ZEROS = Assumed(
    "", "the shape of its result", "as it is on zeros",
    "its size, where that depends on data: it has no fake kernel and was run once, on zeros",
)  # fmt: skip
FLOATING = Assumed(
    "", "the size of quantized results", "4 bytes per element", "bytes and peak memory, which are up to 4 times less"
)


def run(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Assumed | None]:
    """What the call returns on meta tensors, and what had to be assumed to know."""
    if name in SHAPES:
        return _made(func, name, args, kwargs), None
    if name == "flex_attention":
        return _flex_attention(func, *args), None
    if name.startswith(quantized.NAMESPACE) and (result := quantized.run(name, args)) is not NotImplemented:
        return result, None if "dynamic" in name else FLOATING
    try:
        return func(*args, **kwargs), None
    except (NotImplementedError, RuntimeError) as err:
        if "Meta" not in str(err) and "fake impl" not in str(err):
            raise
        return _on_zeros(func, name, args, kwargs, err), ZEROS


def _made(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given, named = (map_tensors(item, lambda tensor: tuple(tensor.shape)) for item in (args, kwargs))
    found = binding.call(SHAPES[name], func, given, named, None)
    first = next(tensors_in((args, kwargs)), None)
    dtype = torch.get_default_dtype() if first is None else first.dtype

    def build(item: Any) -> Any:
        if item is None:
            return None
        if isinstance(item, TensorSpec):
            kind = dtype if item.dtype is None else getattr(torch, item.dtype)
            return torch.empty(item.shape, dtype=kind, device="meta")
        if isinstance(item, (tuple, list)) and all(type(size) is int and size >= 0 for size in item):
            return torch.empty(tuple(item), dtype=dtype, device="meta")
        if isinstance(item, (tuple, list)) and item and not isinstance(item[0], int):
            return tuple(map(build, item))
        raise InputError(
            f"the shape of {name!r} must be a tuple of sizes, a TensorSpec or several of them, got {item!r}"
        )

    return build(found)


def _flex_attention(func: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, ...]:
    """query (b, h, l, e), value (b, g, s, d) -> (b, h, l, d), and one or two statistics of (b, h, l)."""
    statistics = str(inspect.signature(type(func).__call__).return_annotation).count("Tensor") - 1
    rows = [torch.empty(query.shape[:-1], dtype=torch.float32, device="meta") for _ in range(statistics)]
    return (query.new_empty((*query.shape[:-1], value.shape[-1])), *rows)


def _on_zeros(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], err: Exception) -> Any:
    """Run the op once, on zeros, to learn the shape of its result."""
    advice = (
        f"{name} must have a fake kernel that tells the shape of its result (torch.library.register_fake), or be "
        f"taught one: fxprof.rule({name!r}, shape=...); it has none"
    )
    if not all(small_enough(tensor.shape, CHOSEN_NUMEL) for tensor in tensors_in((args, kwargs))):
        raise TraceError(f"{advice}, and its arguments are too large to try it on zeros") from err
    zeros = [map_tensors(item, lambda tensor: torch.zeros_like(tensor, device="cpu")) for item in (args, kwargs)]
    try:
        with torch.no_grad():
            result = func(*zeros[0], **zeros[1])
    except Exception as failure:
        said = " ".join(str(failure).split())[:200]
        raise TraceError(f"{advice}, and it does not run on the CPU: {type(failure).__name__}: {said}") from failure
    return map_tensors(result, lambda tensor: torch.empty_like(tensor, device="meta"))


class Functions:
    """Calls of ``torch.autograd.Function`` on the thread that traces, by whatever name code has kept ``apply``.

    torch takes a Function's ``forward`` from its class in each call, after the class of its context: so it is there
    that a call shows, and with it whether gradients were on. ``failed`` is the first Function whose forward did.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._begun: tuple[type, bool] | None = None  # a call whose forward was not asked for yet
        self.failed: str | None = None

    @contextmanager
    def intercepted(self, call: FunctionCall) -> Iterator[None]:
        """Route calls to ``call``; other threads do not notice."""

        def lookup(cls: type, name: str) -> Any:
            found = type.__getattribute__(cls, name)
            if name == "_backward_cls" and threading.get_ident() == self._thread:
                self._begun = cls, torch.is_grad_enabled()
            elif name == "forward" and self._begun is not None and threading.get_ident() == self._thread:
                (begun, gradients), self._begun = self._begun, None
                if begun is cls:
                    return partial(self._run, call, cls, found, gradients)
            return found

        flex = sys.modules.get("torch.nn.attention.flex_attention")
        compiles = vars(flex).get(_UNCOMPILED) if flex is not None else None
        if compiles is False:
            setattr(flex, _UNCOMPILED, True)
        setattr(FunctionMeta, _LOOKUP, lookup)
        try:
            yield
        finally:
            delattr(FunctionMeta, _LOOKUP)
            if compiles is False:
                setattr(flex, _UNCOMPILED, False)

    def _run(self, call: FunctionCall, cls: Any, forward: Callable[..., Any], gradients: bool, *args: Any) -> Any:
        context = args[:1] if args and isinstance(args[0], BackwardCFunction) else ()
        try:
            return call(cls.apply, partial(forward, *context), args[len(context) :], gradients)
        except Exception:
            self.failed = self.failed or f"{cls.__module__}.{cls.__qualname__}"
            raise
