"""The tracer: runs forward once on shapes and records every torch call as a graph node.

Interception is at the torch-function level, per thread: nothing global is patched. What reaches the
dispatcher without a torch function (TorchScript, C++ code, torch.vmap) is recorded as aten ops, when
``see_dispatch`` asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import MethodWrapperType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fxprof.ops import op_of
from fxprof.rules.registry import REGISTERED
from fxprof.tracing import names
from fxprof.tracing.bounds import Assumptions
from fxprof.tracing.calls import Call, NeedsIntegers
from fxprof.tracing.choices import CHOOSING, DRAW, DRAWING, Assumed
from fxprof.tracing.control import control_flow
from fxprof.tracing.dispatch import Below, is_transformed
from fxprof.tracing.formed import formed
from fxprof.tracing.gradients import backward
from fxprof.tracing.graph import Node
from fxprof.tracing.inventory import Inventory
from fxprof.tracing.leaves import Leaves
from fxprof.tracing.location import calls_method, in_autograd, run_forward, user_frame
from fxprof.tracing.modules import ModuleStack, run_module
from fxprof.tracing.nodes import Nodes, describe
from fxprof.tracing.opaque import Functions, is_opaque, opaque_name, written_arguments
from fxprof.tracing.propagate import RANDOM, Propagator
from fxprof.tracing.repeats import Sight, recall, remember, sight
from fxprof.tracing.retraced import refused
from fxprof.tracing.spans import Span, span_of
from fxprof.tracing.store import Store
from fxprof.tracing.support import carried, scattered
from fxprof.tracing.twins import Twins
from fxprof.tracing.values import Value, has_a_say, map_tensors, nested, tensors_in


class Tracer(TorchFunctionMode):
    """Records one forward of a model; ``device`` is where its code shall believe to be.

    With ``differentiates``, torch's own autograd runs on the tensors of the trace, the model's own included.
    """

    def __init__(
        self, model: Inventory, assumptions: Assumptions, device: torch.device, *, see_dispatch: bool,
        differentiates: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modules = ModuleStack(model.paths)
        twins = Twins(model) if differentiates else None
        self.nodes = Nodes(self.modules, {} if twins is None else twins.behind, all_seen=see_dispatch)
        self.values = Store(model.names if twins is None else twins.names, self.nodes, all_seen=see_dispatch)
        self._model = model.model
        self._device = device
        self._assumptions = assumptions
        self._propagator = Propagator(assumptions, self.modules.where, abstract_floats=differentiates)
        self.functions = Functions()
        self._see_dispatch = see_dispatch
        self._leaves: Leaves | None = None
        self._busy = False  # inside a recorded call, where everything is its implementation

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run forward and return what it returned."""
        below = Below(self._call_below) if self._see_dispatch else nullcontext()
        with self.functions.intercepted(self._call_function), refused(self.modules.where), below, self:
            if not self._see_dispatch:
                self._leaves = Leaves(self.nodes, self.values, self._assumptions, self._device, self.record)
            try:
                with self.modules.intercepted(run_module if self._leaves is None else self._leaves.call):
                    return run_forward(self._model, args, kwargs)
            finally:
                self._leaves = None  # it knows this tracer: together they would wait for the garbage collector

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        for kind in types:
            if has_a_say(kind) and torch._C._is_torch_function_enabled():
                with self:
                    found = kind.__torch_function__(func, types, args, kwargs)
                if found is not NotImplemented:
                    return found
        if (run := control_flow(func)) is not None:
            with self:
                return run(*args, **kwargs)
        if is_transformed(func, args):  # inside torch.vmap and its like: the ops on the tensors behind are recorded
            if not self._see_dispatch:
                self.nodes.hidden(transformed=True)
            return func(*args, **kwargs)
        name = opaque_name(func) or func.__name__.partition(".")[0]
        symbol = names.SYMBOLS.get(func)
        if symbol is not None and not kwargs and not calls_method(sys._getframe(1), name):
            func = symbol
        self._busy = True
        try:
            return self._call(func, name, args, kwargs)
        finally:
            self._busy = False

    def _call_function(
        self, apply: Callable[..., Any], forward: Callable[..., Any], args: tuple[Any, ...], gradients: bool
    ) -> Any:
        """A call of an autograd Function: recorded where it has a rule, else its forward is run."""
        if self._busy:
            return forward(*args)
        name = op_of(apply)
        if name in REGISTERED:
            self._busy = True
            try:
                with self.nodes.in_function(gradients):
                    return self.record(apply, name, args, {})
            finally:
                self._busy = False
        inputs = [self.values[item].graph_node() for item in args if gradients and isinstance(item, Tensor)]
        with self.nodes.in_function(gradients):
            result = forward(*args)
        for tensor in tensors_in(result if inputs else None):
            self.nodes.passed(self.values[tensor].graph_node(), inputs)
        return result

    def _call_below(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An aten op that no torch function has announced."""
        if self._busy:
            return func(*args, **kwargs)
        self._busy = True
        try:
            if name == "_local_scalar_dense":
                return self._escape(func, "item", args, kwargs)
            if "device" in kwargs:  # where the trace runs, not where the model believes to be
                kwargs = {**kwargs, "device": self._device}
            return self.record(func, name, args, kwargs)
        finally:
            self._busy = False

    def _call(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(func, MethodWrapperType):
            return self._attribute(func, name, args)
        if func is Tensor.backward:
            return backward(self.values, self.record, *args, **kwargs)
        if name in names.QUERIES:
            return func(*args, **kwargs)
        if name in names.DEVICE_QUERIES:
            return self._device_query(name)
        if name in names.ESCAPES:
            return self._escape(func, name, args, kwargs)
        if name in names.FUSED_PATH_QUESTIONS:
            return False
        if name == names.SAME_KIND:
            return True
        if name in names.CHECKS:
            known = all(self.values[tensor].real is not None for tensor in tensors_in(args))
            return func(*self._real(args), **kwargs) if known else None
        return self.record(func, name, args, kwargs)

    def record(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Find the shape of a call's result, add its node, and return what the model's code shall see."""
        if self._leaves is not None and self._leaves.heard is not None:
            self._leaves.heard.append((func, name, args, kwargs))
        look = None if is_opaque(name) else sight(func, args, kwargs, self.values.__getitem__)
        seen = None if look is None else recall(look)
        result = None
        if look is not None and seen is None:
            seen, result = formed(look, func, name, args, kwargs, self.nodes, self.values) or (None, None)
        if look is None or seen is None:
            return self._run(func, name, args, kwargs, look)
        target = None if seen.written is None else look.values[seen.written].graph_node()
        node_args = (look.args[1], look.args[0]) if seen.swapped else look.args
        node = self.nodes.node(seen.node_kind, seen.target, node_args, look.kwargs)
        if target is not None:
            node.written = target
        facts = self._facts(look.values) if look.mixed else ()
        return self.values.adopt_again(seen, look.values, node, facts, result)

    def _run(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], look: Sight | None
    ) -> Any:
        if look is None:
            values: list[Value] = []
            graph_args = self.values.argument(args, values)
            graph_kwargs = self.values.argument(kwargs, values)
        else:
            values, graph_args, graph_kwargs = look.values, look.args, look.kwargs
        assumptions = self._assumptions.made
        self._check_index(names.index_argument(func, name, args, kwargs), name)
        result = self._propagator.run(Call(func, name, args, kwargs, values, self.values.__getitem__))
        support = scattered(name, args, values)
        if support is None:
            support = carried(func, name, args, kwargs, values)
        facts = self._facts(values)
        opaque = is_opaque(name)
        changed = written_arguments(func, args, kwargs) if opaque else []
        written = (changed or None) if opaque else names.written_argument(name, args, kwargs)
        if written is None and not opaque and next(tensors_in(result), None) is None:
            return result
        target = self.values[written].graph_node() if isinstance(written, Tensor) else None
        drawn = self.values.drawn(name, args, kwargs, values, result) if name in DRAWING else None
        if written is not None:
            known = all(value.real is not None for value in values) and (name not in RANDOM or drawn is not None)
            self.values.write(written, args[2] if name == "__setitem__" else None, known)
        node = self.nodes.call(func, name, graph_args, graph_kwargs)
        if target is not None:
            node.written = target
        if name in CHOOSING and values and values[0].real is None:
            call = self.modules.current.key
            made = self._assumptions.choices.make(name, args, kwargs, result, self.modules.where(), call)
            if made is not None:
                return self._adopt(made[0], node, name, args, kwargs, values, (*facts, made[1]))
        if drawn is not None:
            return self._adopt(drawn, node, name, args, kwargs, values, (*facts, DRAW))
        held = self._adopt(result, node, name, args, kwargs, values, facts)
        if support is not None:
            self.values[held].support, self.values[held].assumed = support, facts
        if changed and next(tensors_in(result), None) is None:
            describe(node, [self.values[tensor].meta for tensor in changed])  # what it leaves behind
        if look is not None and support is None and self._assumptions.made == assumptions:
            remember(look, node, result, self.values.__getitem__, written)
        return held

    def _facts(self, values: list[Value]) -> tuple[Assumed, ...]:
        """What was made up of the data that a call reads."""
        known = [value for value in values if value.assumed and (value.real is not None or value.support is not None)]
        return tuple(dict.fromkeys(fact for value in known for fact in value.assumed))

    def _adopt(
        self, result: Any, node: Node, name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
        values: list[Value], assumed: tuple[Assumed, ...],
    ) -> Any:  # fmt: skip
        inputs = [value.handle for value in values]

        def span(tensor: Tensor, position: int) -> Span | None:
            return span_of(name, args, kwargs, inputs, tensor, position, self.values.span)

        return self.values.adopt(result, node, span, assumed=assumed)

    # -- attributes and numbers ----------------------------------------------------------------------

    def _attribute(self, func: Any, name: str, args: tuple[Any, ...]) -> Any:
        """Reading or setting an attribute of a tensor."""
        attribute = func.__self__.__name__
        if name != "__get__":
            if attribute == "requires_grad":
                self.record(Tensor.requires_grad_, "requires_grad_", args, {})
            return self.values.replace_data(*args) if attribute == "data" else None
        if attribute in names.DEVICE_QUERIES:
            return self._device_query(attribute)
        if attribute == "requires_grad" and in_autograd(4):
            return args[0].is_floating_point()  # no autograd is kept that could say so
        if attribute in names.ATTRIBUTES:
            return func(*args)
        values: list[Value] = []
        graph_args = self.values.argument((args[0], attribute), values)
        result = func(values[0].meta if values[0].real is None else values[0].real)
        if not isinstance(result, Tensor):
            return result
        node = self.nodes.call(getattr, "getattr", graph_args, {})
        return self._adopt(result, node, attribute, args, {}, values, self._facts(values))

    def _device_query(self, name: str) -> Any:
        if name == "device":
            return self._device
        if name == "get_device":
            return -1 if self._device.index is None else self._device.index
        return self._device.type == ("cuda" if name == "is_cuda" else "meta")

    def _escape(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A number leaves torch: the true one of control data, an assumed one of an abstract tensor."""
        values = [self.values[tensor] for tensor in tensors_in((args, kwargs))]
        abstract = next((value for value in values if value.real is None), None)
        if abstract is None:
            self._propagator.note_assumed(name.strip("_"), values)
            found = func(*self._real(args), **self._real(kwargs))
            if name in names.BRANCHES and any(value.assumed for value in values):
                return self._assumptions.likely(found, "bool", *self.modules.where())
            return found
        shape = tuple(abstract.handle.shape)
        if name == "__format__":
            return f"<{shape}>"
        if name in names.BRANCHES or (name == "item" and abstract.handle.dtype is torch.bool):
            return self._assumptions.branch("bool", *self.modules.where(), user_frame())
        number = self._propagator.number(abstract, name.strip("_"))
        if name == "tolist":
            return nested(number, shape)
        if name in ("numpy", "__array__"):
            return torch.full(shape, number, dtype=abstract.handle.dtype, device="cpu").numpy()
        return names.NUMBERS[name](number) if name in names.NUMBERS else number

    def _real(self, item: Any) -> Any:
        return map_tensors(item, lambda tensor: self.values[tensor].real)

    def _check_index(self, index: Any, name: str) -> None:
        for tensor in index if isinstance(index, tuple) else (index,):
            if isinstance(tensor, Tensor) and tensor.dtype.is_floating_point:
                raise NeedsIntegers(name.strip("_"), self.values[tensor], self.modules.current.path)
