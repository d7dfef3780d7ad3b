"""Calls of torch.nn's own modules seen before: their one op is recorded again, without running their forward.

A module of torch.nn without children computes from its attributes, its tensors and its input. Where a call of
one came to a single op on known layouts, a call of another of the same class, with equal attributes and layouts,
comes to the same op on its own tensors.
"""

from __future__ import annotations

import dis
from functools import lru_cache
from itertools import repeat
from types import FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import Parameter
from torch.nn.modules import module as _all

from fxprof.tracing.bounds import Assumptions
from fxprof.tracing.layouts import Layout
from fxprof.tracing.location import code_kind, source_of, user_frame
from fxprof.tracing.nodes import Nodes
from fxprof.tracing.repeats import Seen
from fxprof.tracing.store import Store
from fxprof.tracing.values import Value

_LIMIT = 1 << 14  # calls remembered, over all traces
_TENSORS = frozenset([Tensor, Parameter])
_PLAIN = frozenset([bool, int, float, str, tuple, list, NoneType, torch.dtype, object])
_ABSENT = object()
_INPUT = ""  # where a leaf's own tensors have their names


class Leaf:
    """The one op that a call came to; ``seen`` has its result, and ``places`` the tensors among its arguments."""

    __slots__ = ("args", "kwargs", "places", "seen", "source")

    def __init__(self, node: fx.Node, given: dict[fx.Node, tuple[str, Layout | None]], source: Any) -> None:
        self.seen: Seen = node.meta["seen"]
        self.args = list(node.args)
        self.kwargs = dict(node.kwargs)
        items: list[tuple[Any, Any]] = [*enumerate(node.args), *node.kwargs.items()]
        # For each place among the arguments: which tensor stands there, and its layout.
        self.places = [(place, *given[item]) for place, item in items if isinstance(item, fx.Node)]
        self.source = source  # the line in torch's own forward, known where no code of the user's was on the stack


_leaves: dict[Any, Leaf | None] = {}  # None: not a single op


class Leaves:
    """Runs the modules of one trace."""

    def __init__(self, nodes: Nodes, values: Store, assumptions: Assumptions, device: torch.device) -> None:
        self._nodes = nodes
        self._values = values
        self._assumptions = assumptions
        self._device = device.type
        self._modes = torch._C._len_torch_function_stack()  # any that the model's code enters sees every call

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``module`` returns: from what is known of its like, else by running it."""
        value = self._abstract(args[0]) if len(args) == 1 and not kwargs and type(args[0]) is Tensor else None
        if value is None or torch._C._len_torch_function_stack() != self._modes:
            return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        with torch._C.DisableTorchFunction():
            key = _key(module, value.layout, self._device)
            try:
                leaf = None if key is None else _leaves.get(key, _ABSENT)
            except TypeError:  # an attribute that cannot be told from another
                leaf = None
            result = self._again(leaf, module, value) if type(leaf) is Leaf else None
        if result is not None:
            return result
        if leaf is None:
            return module._call_impl(*args)  # type: ignore[no-untyped-call]
        return self._first(key, module, args[0], value)

    def _again(self, leaf: Leaf, module: nn.Module, given: Value) -> Tensor | None:
        """Record the op on this module's tensors; None where they are laid out in another way."""
        frame = user_frame()
        source = source_of(frame) if frame is not None and code_kind(frame.f_code) == "user" else leaf.source
        if source is None:
            return None
        args, kwargs = leaf.args.copy(), leaf.kwargs.copy()
        values = []
        for place, name, layout in leaf.places:
            value = self._own(module, name) if name else given
            if value is None or value.layout is not layout:
                return None
            values.append(value)
            (args if type(place) is int else kwargs)[place] = value.node or value.graph_node()
        seen = leaf.seen
        node = self._nodes.node(seen.node_kind, seen.target, tuple(args), kwargs, source)
        if seen.written is not None:
            node.meta["written"] = values[seen.written].graph_node()
        made: Tensor = self._values.adopt_again(seen, values, node, ())
        return made

    def _first(self, key: Any, module: nn.Module, held: Tensor, given: Value) -> Any:
        """Run the module, and remember what it came to."""
        tensors, assumed = {given.graph_node(): (_INPUT, given.layout)}, self._assumptions.made
        last = next(reversed(self._nodes.graph.nodes), None)
        result = module._call_impl(held)  # type: ignore[no-untyped-call]
        with torch._C.DisableTorchFunction():
            if len(_leaves) >= _LIMIT:
                _leaves.clear()
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                value = None if tensor is None else self._values.known(tensor)
                if value is not None and value.node is not None:
                    tensors.setdefault(value.node, (name, value.layout))
            leaf = None if self._assumptions.made > assumed else self._leaf(last, tensors, result, module)
            _leaves[key] = leaf
        return result

    def _leaf(self, last: fx.Node | None, tensors: dict[fx.Node, Any], result: Any, module: nn.Module) -> Leaf | None:
        """The leaf, if one op on the module's own tensors and its input is all that was recorded."""
        made = self._values.known(result) if type(result) is Tensor else None
        call = None if made is None else made.node
        for node in reversed(self._nodes.graph.nodes):
            if node is last:
                break
            if node is not call and not (node.op == "get_attr" and node in tensors):
                return None
        if call is None or call is last or not _told_by(call, tensors):
            return None
        code = type(module).forward.__code__
        filename, _ = source = call.meta["source"]
        return Leaf(call, tensors, source if filename == code.co_filename else None)

    def _abstract(self, tensor: Tensor) -> Value | None:
        """The value of a tensor that the trace has made and knows the layout of, and nothing more."""
        value = self._values.known(tensor)
        plain = value is not None and value.real is None and value.span is None and value.support is None
        return value if plain and value is not None and value.layout is not None else None

    def _own(self, module: nn.Module, name: str) -> Value | None:
        """The value of one of the module's own tensors, if it is a weight."""
        tensor: Tensor | None = module._parameters.get(name)
        if tensor is None:
            tensor = module._buffers.get(name)
        if tensor is None or type(tensor) not in _TENSORS:
            return None
        value = self._values[tensor]
        return value if value.real is None and value.span is None and value.support is None else None


def _told_by(call: fx.Node, tensors: dict[fx.Node, Any]) -> bool:
    """Whether a node can be made again from its place among the arguments of each of those tensors."""
    seen: Seen | None = call.meta.get("seen")
    if seen is None or seen.swapped or seen.kind is not None:
        return False
    items = [item for item in (*call.args, *call.kwargs.values()) if isinstance(item, fx.Node)]
    return set(items) == set(call.all_input_nodes) and all(item in tensors for item in items)


# -- what a class computes from ------------------------------------------------------------------------


def _key(module: nn.Module, *of_call: Any) -> tuple[Any, ...] | None:
    """The class of a module of torch.nn and all that its code can read, but the tensors' data; else None."""
    kind: Any = type(module)
    names = _attributes(kind, kind.forward)
    held = vars(module)
    if names is None or held["_modules"] or "forward" in held or _hooked(held):
        return None
    read = tuple(map(held.get, names, repeat(_ABSENT)))
    types = tuple(map(type, read))
    if list in types:
        read = tuple([tuple(item) if type(item) is list else item for item in read])
    if not _PLAIN.issuperset(types):
        return None
    shapes = [tensor if tensor is None else tensor.shape for tensor in held["_parameters"].values()]
    shapes += [tensor if tensor is None else tensor.shape for tensor in held["_buffers"].values()]
    return kind, read, types, *shapes, *of_call, torch.get_default_dtype()


@lru_cache(maxsize=512)
def _attributes(kind: type[nn.Module], forward: Any) -> tuple[str, ...] | None:
    """Names that the code of one of torch.nn's own classes can read attributes by; None for any other class."""
    own = kind.__module__.startswith("torch.nn.modules.") and getattr(nn, kind.__name__, None) is kind
    if not own or type(forward) is not FunctionType or code_kind(forward.__code__) != "forward":
        return None
    above = kind.__mro__[: kind.__mro__.index(nn.Module)]
    found = {name for base in above for f in vars(base).values() if type(f) is FunctionType for name in _loaded(f)}
    return tuple(sorted(name for name in found if not callable(getattr(kind, name, None))))


def _loaded(function: FunctionType) -> set[str]:
    return {
        instruction.argval
        for instruction in dis.get_instructions(function)
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD")
    }


def _hooked(held: dict[str, Any]) -> bool:
    """Whether something would run beside forward."""
    return bool(
        held["_forward_hooks"] or held["_forward_pre_hooks"] or held["_backward_hooks"] or held["_backward_pre_hooks"]
        or _all._global_forward_hooks or _all._global_forward_pre_hooks
        or _all._global_backward_hooks or _all._global_backward_pre_hooks
    )  # fmt: skip
