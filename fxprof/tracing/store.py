"""The values of one trace, by the identity of the tensor that the model's code holds."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from fxprof.tracing.choices import DRAW, Assumed, spread
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import Layout, layout_of
from fxprof.tracing.nodes import Nodes, describe
from fxprof.tracing.repeats import Seen, made
from fxprof.tracing.spans import Span, span_of, union
from fxprof.tracing.values import Value, meta_twin, small_enough, storages

SpanOf = Callable[[Tensor, int], "Span | None"]


class Store:
    """Finds, makes and updates values; knows which tensors are the model's own."""

    def __init__(self, names: Mapping[int, str], nodes: Nodes, *, all_seen: bool) -> None:
        self._nodes = nodes
        self._all_seen = all_seen  # no tensor can come from below the torch-function level
        self._values: dict[int, Value] = {}  # they keep their tensors, so that no id is used again
        self._large: list[int] = []
        self._unknown_memory: set[int] = set()
        self._replaced: list[Tensor] = []
        self._names = names  # of parameters and buffers, by identity

    def __getitem__(self, tensor: Tensor) -> Value:
        value = self._values.get(id(tensor)) or self._foreign(tensor)
        if value.real is not None and self._unknown_memory and storages(value.real) in self._unknown_memory:
            value.real = None
        return value

    def plain(self, tensor: Tensor) -> Value | None:
        """The value of a tensor whose layout is all there is to know; None for another."""
        value = self._values.get(id(tensor)) or self._foreign(tensor)
        return value if value.is_plain else None

    def known(self, tensor: Tensor) -> Value | None:
        """The value of a tensor that the trace has met."""
        return self._values.get(id(tensor))

    def leaves(self) -> list[Tensor]:
        """What the trace has met of the tensors whose gradient ``backward`` is to find."""
        held = {id(value.handle): value.handle for value in self._values.values()}
        return [tensor for tensor in held.values() if tensor.requires_grad and tensor.is_leaf]

    def is_own(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or a buffer."""
        return id(tensor) in self._names

    def add(self, value: Value) -> Value:
        """Register a value under its handle."""
        self._values[id(value.handle)] = value
        if value.real is not None and not small_enough(value.real.shape):
            self._release()
            self._large.append(id(value.handle))
        return value

    def forget(self) -> None:
        """Let go of everything: the trace is over, and its values would wait for the garbage collector."""
        self._values.clear()
        self._replaced.clear()

    def _release(self) -> None:
        """Forget the large tables that the model's code no longer holds."""
        # A value's handle, its data, and getrefcount's own argument.
        self._large = [key for key in self._large if sys.getrefcount(self._values[key].handle) > 3 or self._drop(key)]

    def _drop(self, key: int) -> bool:
        del self._values[key]
        return False

    def argument(self, item: Any, values: list[Value]) -> Any:
        """Replace the tensors of an argument by their nodes, collecting their values."""
        if isinstance(item, Tensor):
            value = self[item]
            values.append(value)
            return value.graph_node()
        if isinstance(item, (tuple, list)):
            items = [self.argument(x, values) for x in item]
            return tuple(items) if isinstance(item, tuple) else items
        if isinstance(item, dict):
            return {key: self.argument(x, values) for key, x in item.items()}
        if isinstance(item, slice):
            return slice(*(self.argument(x, values) for x in (item.start, item.stop, item.step)))
        return self._nodes.constant(item)

    # -- what the trace has not made -----------------------------------------------------------------

    def _foreign(self, tensor: Tensor) -> Value:
        """A parameter, a buffer, a constant, or a view made behind the trace's back."""
        name = self._names.get(id(tensor))
        if name is None and not self._all_seen and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            self._nodes.hidden(transformed=True)
        if name is not None and (layout := layout_of(tensor)) is not None and _is_weight(tensor, layout):
            node = self._nodes.attribute(name, tensor, layout.metadata)
            value = self._values[id(tensor)] = Value(tensor, None, node, None, (), None, layout)
            value.twinned = self._twinned
            return value
        if name is None and tensor.is_meta:
            if (alias := self._alias(tensor)) is not None:
                return alias
            if not self._all_seen:
                self._nodes.hidden()
        node = self._nodes.attribute(name, tensor) if name else self._nodes.unnamed("_tensor_constant", tensor)
        self._nodes.note_sparse(node, tensor)
        return self._held(tensor, node, readable=_readable(tensor, name is not None))

    def add_given(self, tensor: Tensor, node: Node) -> Tensor:
        """Register an input whose own tensor the model's code shall hold."""
        return self._held(tensor, node, readable=False).handle

    def _held(self, tensor: Tensor, node: Node, *, readable: bool) -> Value:
        """The value of a tensor that the code holds as it is; its data is copied where that is ``readable``."""
        real = tensor.detach().to("cpu", copy=True) if readable else None
        value = self.add(Value(tensor, real=real, node=node))
        value.meta = meta_twin(tensor)
        describe(node, value.meta)
        node.storage = storages((value.meta, real))
        self._values[id(value.meta)] = value
        if real is not None:
            self._values[id(real)] = value
        return value

    def _twinned(self, value: Value) -> None:
        """A weight got its meta twin: results may be that twin, or share its memory."""
        assert value.node is not None
        value.node.storage = storages(value.meta)
        self._values[id(value.meta)] = value

    def _alias(self, tensor: Tensor) -> Value | None:
        """The value whose memory a new Python object shares, as ``nn.Parameter(x)`` does."""
        memory = storages(tensor)
        for value in self._values.values():
            handle = value.handle
            if handle.is_meta and handle.shape == tensor.shape and storages(handle) == memory:
                node = self._cut_off(tensor, value) if _is_leaf(tensor) else None
                make_node = None if node else value.graph_node
                return self.add(Value(tensor, node=node, make_node=make_node, assumed=value.assumed, span=value.span))
        return None

    def _cut_off(self, tensor: Tensor, source: Value) -> Node:
        """What a parameter that forward makes of a value is: no gradient flows to that, but maybe to the parameter."""
        node = self._nodes.call(Tensor.detach, "detach", (source.graph_node(),), {})
        describe(node, tensor)
        if tensor.requires_grad:
            node = self._nodes.call(Tensor.requires_grad_, "requires_grad_", (node,), {})
            describe(node, tensor)
        return node

    # -- results -------------------------------------------------------------------------------------

    def adopt(self, result: Any, node: Node, span_of: SpanOf, *, assumed: tuple[Assumed, ...] = ()) -> Any:
        """Make values of what ``node`` returned, and give what the model's code shall hold."""
        describe(node, result)
        position = -1

        def adopt_one(tensor: Tensor, make_node: Callable[[], Node] | None) -> Tensor:
            nonlocal position
            position += 1
            span = span_of(tensor, position) if tensor.is_meta else None
            made = None if make_node else node
            known = self._values.get(id(tensor))
            layout = None if tensor.requires_grad else layout_of(tensor)
            if layout is None:
                self._nodes.note_sparse(node, tensor)
            if known is None:
                real = None if tensor.is_meta else tensor
                value = Value(tensor, real=real, node=made, make_node=make_node, assumed=assumed, span=span)
                value.layout = layout
                self.add(value)
                return tensor
            # In place, or handed through; a write may have changed its shape.
            known.node, known.make_node, known.span, known.layout = made, make_node, span, layout
            return known.handle

        if isinstance(result, Tensor):
            return adopt_one(result, None)
        return self._adopt_each(result, lambda: node, adopt_one)

    def adopt_again(
        self, seen: Seen, values: list[Value], node: Node, assumed: tuple[Assumed, ...], single: Tensor | None = None
    ) -> Any:
        """As ``adopt``, for a call like one seen before, on the tensors of ``values``.

        ``single`` is what it returns, where that has been made.
        """
        node.seen = seen
        if seen.kind is not None:
            results = [made(result, values) for result in seen.results]
            spans = [result.span for result in seen.results if result.layout is not None or result.base is not None]
            return self.adopt(seen.kind(results), node, lambda _, i: spans[i], assumed=assumed)
        result = seen.results[0]
        tensor = made(result, values) if single is None else single
        node.describe(seen.metadata, storages(tensor))
        layout = result.layout
        if layout is None:
            value = values[result.base or 0]
            value.node, value.make_node, value.span = node, None, result.span
            return value.handle
        self._values[id(tensor)] = Value(tensor, None, node, None, assumed, result.span, layout)
        return tensor

    def _adopt_each(self, result: Any, node: Callable[[], Node], adopt_one: Callable[..., Tensor]) -> Any:
        """Adopt the tensors of a tuple, list or dict; their getitem nodes appear when they are used."""

        def element(key: Any, item: Any) -> Any:
            made: list[Node] = []

            def make() -> Node:
                if not made:
                    taken = self._nodes.call(operator.getitem, "getitem", (node(), key), {})
                    describe(taken, item)
                    taken.grad_enabled = node().grad_enabled  # as it was in that call, not where its result is used
                    if (seen := node().seen) is not None:
                        taken.seen = seen.element(key, taken.tensor_meta)
                    made.append(taken)
                return made[0]

            return adopt_one(item, make) if isinstance(item, Tensor) else self._adopt_each(item, make, adopt_one)

        if isinstance(result, dict):
            return {key: element(key, item) for key, item in result.items()}
        if isinstance(result, (tuple, list)):
            items = [element(i, item) for i, item in enumerate(result)]
            same = all(a is b for a, b in zip(items, result))
            return result if same else type(result)(items)
        return result

    def drawn(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Value], result: Tensor
    ) -> Tensor | None:
        """What stands for a few random numbers; where they are written over control data, it is there already."""
        span = span_of(name, args, kwargs, [value.handle for value in values], result, 0, self.span)
        row = spread(result, span)
        if row is not None and name == "uniform_":
            value = self[args[0]] if args else None  # torch.nn.init has a function of that name, too
            if value is None or value.real is None:
                return None
            value.assumed = (*value.assumed, DRAW)
            return value.real.copy_(row)
        return row

    # -- changes -------------------------------------------------------------------------------------

    def write(self, written: Any, new: Any, known: bool) -> None:
        """A call wrote to a tensor; ``new`` is what an item assignment put there, ``known`` if all of it is data."""
        for tensor in [written] if isinstance(written, Tensor) else [t for t in written if isinstance(t, Tensor)]:
            value = self[tensor]
            if known:
                value.span = None
                continue
            if new is not None:  # other writes return the tensor, and get its span with it
                value.span = union([value.known_span(), self.span(new)])
            if value.real is not None:  # an abstract tensor was written into control data, and so into its views
                self._unknown_memory.add(storages(value.real))
                value.real = None
            if (twin := value.made_meta) is not None:  # which the call returns: it is the same tensor
                self._values[id(twin)] = value

    def replace_data(self, tensor: Tensor, new: Tensor) -> None:
        """``tensor.data = new``: the handle stays, the value is another's; gradients flow on as they did before."""
        value, source = self[tensor], self[new]
        self._nodes.passed(source.graph_node(), [value.graph_node()])
        if (twin := value.made_meta) is not None and twin is not value.handle:
            self._values.pop(id(twin), None)
            self._replaced.append(twin)  # so that no other memory is taken for its
        value.node, value.make_node, value.real, value.span = source.graph_node(), None, source.real, source.span
        value.meta, value.layout = source.meta, None

    def span(self, item: Any) -> Span | None:
        """Bounds of the numbers in an argument."""
        if isinstance(item, Tensor):
            return self[item].known_span()
        return (item, item) if isinstance(item, (bool, int, float)) else None


def _is_leaf(tensor: Tensor) -> bool:
    """Whether a tensor that shares another's memory starts a gradient of its own, or takes none."""
    return isinstance(tensor, Parameter) or (tensor.requires_grad and tensor.is_leaf)


def _is_weight(tensor: Tensor, layout: Layout) -> bool:
    """Whether the values of a registered tensor are none of the trace's business."""
    return (layout.floating and layout.numel > 1) or tensor.is_meta


def _readable(tensor: Tensor, registered: bool) -> bool:
    """Whether a tensor of the model's is control data: integers, and constants that are no weights."""
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized:
        return False
    floating = tensor.dtype.is_floating_point or tensor.dtype.is_complex
    return tensor.numel() <= 1 if floating and registered else small_enough(tensor.shape)
