"""What the user passes for an argument of forward, turned into abstract tensors and placeholders.

An argument is any nesting of tuples, lists, dicts, dataclasses and named tuples over shapes (tuples or
lists of ints: a tensor in the model's floating dtype), TensorSpecs, tensors, and plain Python values. Ints for a
parameter whose annotation or default says so (``size: tuple[int, int]``, ``size=(8, 8)``) are what they are.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from fxprof.errors import InputError
from fxprof.report import InputProfile, TensorSpec
from fxprof.tracing.choices import INPUT
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import layout_of
from fxprof.tracing.nodes import describe
from fxprof.tracing.tracer import Tracer
from fxprof.tracing.values import Value, is_sparse, kept_in_kind, meta_twin, small_enough


@dataclasses.dataclass(frozen=True)
class GivenShape:
    """Remembers that an input was given as a bare shape, for the message when integers were needed."""

    name: str
    shape: tuple[int, ...]


class InputReader:
    """Creates the placeholders of one trace, in the order of the arguments."""

    def __init__(self, tracer: Tracer, dtype: torch.dtype, model: nn.Module) -> None:
        self._tracer = tracer
        self._dtype = dtype
        self._forward = model.forward
        self.profiles: list[InputProfile] = []
        self.shapes: dict[Node, GivenShape] = {}

    def read(self, name: str, argument: Any) -> Any:
        """Make the placeholder ``name`` and return what forward is to be called with."""
        node = self._tracer.nodes.placeholder(name)
        if is_shape(argument) and (parameter := _parameter(self._forward, name)) and _takes_numbers(parameter):
            return argument
        return self._abstract(name, argument, lambda: node)

    def _abstract(self, name: str, item: Any, node: Callable[[], Node]) -> Any:
        if is_shape(item):
            self.shapes[node()] = GivenShape(name, tuple(item))
            return self._tensor(name, TensorSpec(tuple(item)), node())
        if isinstance(item, TensorSpec):
            if item.dtype is None:
                self.shapes[node()] = GivenShape(name, item.shape)
            return self._tensor(name, item, node())
        if isinstance(item, Tensor):
            return self._given(name, item, node())
        if isinstance(item, Mapping) and not isinstance(item, type):
            return _rebuilt(
                item, {k: self._abstract(f"{name}[{k!r}]", v, self._item(node, k)) for k, v in item.items()}
            )
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return type(item)(*(self._abstract(f"{name}[{i}]", v, self._item(node, i)) for i, v in enumerate(item)))
        if isinstance(item, (tuple, list)):
            return type(item)([self._abstract(f"{name}[{i}]", v, self._item(node, i)) for i, v in enumerate(item)])
        if hasattr(item, "__dict__") and not isinstance(item, (type, nn.Module)) and not callable(item):
            return self._object(name, item, node)
        return item

    def _object(self, name: str, item: Any, node: Callable[[], Node]) -> Any:
        """A dataclass or another plain object that holds tensors: a copy with abstract ones."""
        new = {key: self._abstract(f"{name}.{key}", v, self._attribute(node, key)) for key, v in vars(item).items()}
        if all(new[key] is value for key, value in vars(item).items()):
            return item
        twin = copy.copy(item)
        for key, value in new.items():
            object.__setattr__(twin, key, value)
        return twin

    def _item(self, node: Callable[[], Node], key: Any) -> Callable[[], Node]:
        return _once(lambda: self._tracer.nodes.call(operator.getitem, "getitem", (node(), key), {}))

    def _attribute(self, node: Callable[[], Node], key: str) -> Callable[[], Node]:
        return _once(lambda: self._tracer.nodes.call(getattr, "getattr", (node(), key), {}))

    def _tensor(self, name: str, spec: TensorSpec, node: Node) -> Tensor:
        node.input = name
        dtype = self._dtype if spec.dtype is None else getattr(torch, spec.dtype)
        self.profiles.append(InputProfile(name, TensorSpec(spec.shape, dtype)))
        if not dtype.is_floating_point and not dtype.is_complex and small_enough(torch.Size(spec.shape)):
            real = torch.ones(spec.shape, dtype=dtype, device="cpu")
            return self._introduced(Value(real, real=real, node=node, assumed=(INPUT,)), node)
        return self._introduced(Value(torch.empty(spec.shape, dtype=dtype, device="meta"), node=node), node)

    def _given(self, name: str, tensor: Tensor, node: Node) -> Tensor:
        node.input = name
        self.profiles.append(InputProfile(name, TensorSpec(tensor.shape, tensor.dtype)))
        self._tracer.nodes.note_sparse(node, tensor)
        integers = not tensor.dtype.is_floating_point and not tensor.dtype.is_complex
        if integers and not tensor.is_meta and small_enough(tensor.shape):
            real = tensor.detach().to("cpu", copy=True)
            return self._introduced(Value(real, real=real, node=node), node)
        if is_sparse(tensor):  # itself, which code asks for its layout and for what it stores
            return self._tracer.values.add_given(tensor, node)
        return self._introduced(Value(kept_in_kind(tensor, meta_twin(tensor)), node=node), node)

    def _introduced(self, value: Value, node: Node) -> Tensor:
        self._tracer.values.add(value)
        describe(node, value.handle)
        if value.real is None and not value.handle.requires_grad:
            value.layout = layout_of(value.handle)
        return value.handle


_INTS = re.compile(r"(tuple|list|sequence|iterable)\[.*\bint\b|\bSize\b", re.IGNORECASE)


def _takes_numbers(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is annotated as several ints, and not as a tensor; or has some for a default."""
    if parameter.annotation is parameter.empty:
        return is_shape(parameter.default)
    text = str(parameter.annotation)
    return "Tensor" not in text and _INTS.search(text) is not None


def is_shape(item: Any) -> bool:
    """Whether an argument is a bare shape: a non-empty tuple or list of ints."""
    return (
        isinstance(item, (tuple, list))
        and len(item) > 0
        and all(isinstance(size, int) and not isinstance(size, bool) for size in item)
        and not hasattr(item, "_fields")
    )


def bind(model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    """Names for the positional inputs, after checking that forward takes what is given.

    Raises InputError naming the argument that is missing or not taken.
    """
    try:
        signature = _signature(model.forward)
    except (TypeError, ValueError):  # compiled code without a signature
        return [f"input_{i}" for i in range(len(inputs))]
    try:
        signature.bind(*inputs, **kwargs)
    except TypeError as err:
        wanted = f"{type(model).__name__}.forward{signature}"
        got = f"{len(inputs)} input{'' if len(inputs) == 1 else 's'}"
        named = f" and {', '.join(map(repr, kwargs))}" if kwargs else ""
        raise InputError(f"the inputs must fit {_short(wanted)}: {err}, got {got}{named}") from err
    names: list[str] = []
    parameters = list(signature.parameters.values())
    for position in range(len(inputs)):
        parameter = parameters[min(position, len(parameters) - 1)]
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL or position >= len(parameters):
            names.append(f"{parameter.name}_{position}")
        else:
            names.append(parameter.name)
    return names


def _parameter(forward: Callable[..., Any], name: str) -> inspect.Parameter | None:
    try:
        return _signature(forward).parameters.get(name)
    except (TypeError, ValueError):  # compiled code without a signature
        return None


def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    if isinstance(forward, MethodType) and isinstance(forward.__func__, FunctionType):
        return _signature_of(forward.__func__)
    return inspect.signature(forward)


@lru_cache(maxsize=512)
def _signature_of(function: FunctionType) -> inspect.Signature:
    """That of a method, without the parameter that it is bound by."""
    return inspect.signature(MethodType(function, _signature_of))


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


def _once(make: Callable[[], Node]) -> Callable[[], Node]:
    made: list[Node] = []

    def get() -> Node:
        if not made:
            made.append(make())
        return made[0]

    return get


def _rebuilt(original: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """The same kind of mapping with new values."""
    if type(original) is dict:
        return items
    twin = copy.copy(original)
    for key, value in items.items():
        twin[key] = value  # type: ignore[index]
    return twin
