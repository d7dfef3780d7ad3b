"""Graph nodes with their metadata: shape, module, source line, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from types import MethodDescriptorType, WrapperDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof.tracing.graph import Graph, Node, outside, snake_case
from fxprof.tracing.layouts import layout_of
from fxprof.tracing.location import code_kind, source_of, user_frame
from fxprof.tracing.modules import ModuleStack
from fxprof.tracing.names import OPERATORS, REFLECTED
from fxprof.tracing.quantized import packed
from fxprof.tracing.values import is_sparse, storages

_NOWHERE = ("", 0)  # no line of the model's code
_CONSTANTS = frozenset([bool, int, float, str, type(None), complex, torch.dtype, torch.device, type(...)])


class HiddenCall(Exception):
    """Something made a tensor below the torch-function level; trace again with ``see_dispatch``.

    ``transformed`` says that it was torch.func, which may differentiate, ``compiled`` that it was torch.compile.
    """

    def __init__(self, *, transformed: bool = False, compiled: bool = False) -> None:
        super().__init__()
        self.transformed = transformed
        self.compiled = compiled


class Nodes:
    """Adds nodes to the graph; ``attributes`` maps each get_attr target to its object.

    That is the one ``behind`` its name, where another stands in for it.
    """

    def __init__(self, modules: ModuleStack, behind: Mapping[str, Tensor], *, all_seen: bool) -> None:
        self._behind = behind
        self._all_seen = all_seen  # also the calls below the torch-function level
        self.graph = Graph()
        self.attributes: dict[str, Any] = {}
        self.missed: HiddenCall | None = None
        self.sparse: dict[str, tuple[Node, Tensor]] = {}  # by name, what does not store all of its elements
        self.source: tuple[str, int] | None = None  # of the call being recorded, where its forward is not run
        self._modules = modules
        self._in_function = False  # whether it is one that gradients flow through, though torch has turned them off
        self._prefixes: dict[Any, str] = {}

    def placeholder(self, name: str) -> Node:
        """A node for an argument of forward."""
        return self.graph.add("placeholder", name, (), {}, name, outside(), _NOWHERE, True)

    def output(self, result: Any) -> Node:
        """A node for what forward returns."""
        return self.graph.add("output", "output", (result,), {}, "output", outside(), _NOWHERE, True)

    def made(self, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        """A node for an object that forward puts what it returns into."""
        return self.graph.add("call_function", kind, args, kwargs, snake_case(kind), outside(), _NOWHERE, True)

    def attribute(self, name: str, item: Any, tensor_meta: Any = None) -> Node:
        """A node for something the model owns, by its qualified name."""
        self.attributes[name] = self._behind.get(name, item)
        plain = name.replace(".", "_")
        node = self.graph.add("get_attr", name, (), {}, plain, self._modules.current, _NOWHERE, True)
        node.describe(tensor_meta, None)
        return node

    def unnamed(self, prefix: str, item: Any) -> Node:
        """A node for an object the model has no name for."""
        return self.attribute(f"{prefix}{sum(key.startswith(prefix) for key in self.attributes)}", item)

    def call(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
        """A node for a call."""
        kind, target, args = self.spelled(func, name, args, kwargs)
        return self.node(kind, target, args, kwargs)

    def spelled(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, Any, tuple[Any, ...]]:
        """A call as an operator, a method or a function, whichever reads best: op, target and arguments of its node."""
        if not kwargs and len(args) == 2 and name in REFLECTED:
            return "call_function", REFLECTED[name], (args[1], args[0])
        if not _is_method(func, name):
            return "call_function", func, args
        if not kwargs and (name, len(args)) in OPERATORS:
            return "call_function", OPERATORS[name, len(args)], args
        return "call_method", name, args

    def node(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any],
        source: tuple[str, int] | None = None,
    ) -> Node:  # fmt: skip
        """Add a node of ``kind``, placed in the module and on the source line being run."""
        source = source or self.source
        if source is None:
            frame = user_frame(3)  # this is called by at least two functions of fxprof
            if frame is not None and not self._all_seen and code_kind(frame.f_code) == "kernel":
                self.hidden()
            source = source_of(frame)
        prefix = self._prefixes.get(target)
        if prefix is None:
            prefix = self._prefixes[target] = snake_case(target)
        grad_enabled = self._in_function or torch.is_grad_enabled()
        return self.graph.add(kind, target, args, kwargs, prefix, self._modules.current, source, grad_enabled)

    @contextmanager
    def in_function(self, gradients: bool) -> Iterator[None]:
        """Record the forward of an autograd Function, which torch runs without gradients, as called with them."""
        outer, self._in_function = self._in_function, gradients
        try:
            yield
        finally:
            self._in_function = outer

    def passed(self, result: Node, inputs: list[Node]) -> None:
        """Note that the gradient of ``result`` is passed on to ``inputs``, whatever lies between.

        An autograd Function does that, and who writes to a tensor's ``data``.
        """
        others = [node for node in inputs if node is not result]
        if others:
            self.graph.through[result] = others

    def constant(self, item: Any) -> Any:
        """An argument that is neither a tensor nor a container, in a form that the graph's code can hold."""
        if type(item) in _CONSTANTS or isinstance(item, (torch.layout, torch.memory_format, range, Enum)):
            return item
        if isinstance(item, type) and hasattr(item, "dtype"):  # torch.FloatTensor and the like
            return f"{item.__module__}.{item.__name__}"
        if isinstance(item, type):
            return item
        if hasattr(item, "tolist") and hasattr(item, "dtype"):  # NumPy's
            return item.tolist()
        for plain in (bool, int, float, str):
            if isinstance(item, plain):
                return plain(item)
        node = self.unnamed("_constant", item)
        if (held := packed(item)) is not None:
            node.tensor_meta = metadata(held)
        return node

    def note_sparse(self, node: Node, tensor: Tensor) -> None:
        """Note that a node stands for a tensor that stores few of its elements, if so: it goes on as a dense one."""
        if is_sparse(tensor):
            self.sparse[node.name] = node, tensor

    def hidden(self, *, transformed: bool = False) -> None:
        """Stop this attempt; it stays known when TorchScript or the model's own code swallows the exception."""
        self.missed = HiddenCall(transformed=transformed)
        raise self.missed


def describe(node: Node, result: Any) -> None:
    """Attach the shapes and the memory of what a node returns."""
    node.describe(metadata(result), storages(result))


@lru_cache(maxsize=4096)
def _is_method(func: Callable[..., Any], name: str) -> bool:
    if isinstance(func, (MethodDescriptorType, WrapperDescriptorType)):
        return True
    in_tensor = getattr(func, "__module__", "") == "torch._tensor" and hasattr(Tensor, name)
    return in_tensor or getattr(Tensor, name, None) is func


def metadata(result: Any) -> Any:
    """What ShapeProp puts into ``tensor_meta``."""
    if isinstance(result, Tensor):
        layout = None if result.requires_grad else layout_of(result)
        if layout is not None:
            return layout.metadata
        stride = result.stride() if result.layout is torch.strided else ()
        return TensorMetadata(result.shape, result.dtype, result.requires_grad, stride, None, result.is_quantized, {})
    if isinstance(result, (tuple, list)):
        return tuple([metadata(item) for item in result])
    if isinstance(result, dict):
        return {key: metadata(item) for key, item in result.items()}
    return result
