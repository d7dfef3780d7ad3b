"""Which values of a traced graph need a gradient, and what the backward pass of each call adds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from typing import Any

import torch
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import binding, ops
from fxprof.report import Bound, Cost
from fxprof.rules.registry import first
from fxprof.tracing import Trace
from fxprof.tracing.graph import Graph, Node, nodes_in
from fxprof.tracing.names import AFTER_ANOTHER

# A gradient stops here.
_STOPS = frozenset(
    """detach data stop_gradient tensor zeros_like ones_like empty_like full_like rand_like randn_like randint_like
    new_zeros new_ones new_empty new_full new_tensor new_empty_strided""".split()
)
# They return what they are given where it is as they would have it.
_HANDING = frozenset("to type float double half bfloat16 contiguous cpu cuda".split())
_SECOND = ("a product for each of its own", "2 products for each of its own")
_SECOND_EFFECT = "MACs, up or down: torch makes a product for each factor that needs a gradient, and only those"


def needs_gradient(traced: Trace) -> Set[Node]:
    """The nodes through which a gradient flows from the model's outputs back to a trainable parameter.

    Frozen parameters, integer and boolean results, ``detach`` and ``torch.no_grad`` end it; the
    model's inputs need none, unless forward says ``requires_grad_``. Every floating output is taken to be
    part of the loss. The gradient of what an autograd Function returns flows to what it was given, whatever lies
    between (a comparison, ``detach``); its backward is taken to cost what that of the calls of its forward costs.
    """
    attributes = traced.graph.of("get_attr")
    trainable = [n for n in attributes if getattr(traced.attributes[str(n.target)], "requires_grad", False)]
    trainable += [node for node in traced.graph.nodes if _asks_for_gradient(node)]
    ends = returned(traced.graph)
    return _between(traced.graph.nodes, trainable, ends, lambda node: not node.grad_enabled, traced.graph.through)


def returned(graph: Graph) -> list[Node]:
    """The tensors that a graph returns, whatever objects they are put into."""
    found: dict[Node, None] = {}
    pending = graph.nodes[-1:]  # the output
    while pending:
        for node in pending.pop(0).all_input_nodes:
            if node.described or node.input is not None:
                found[node] = None
            else:
                pending.append(node)
    return list(found)


def _asks_for_gradient(node: Node) -> bool:
    """Whether forward itself says that a gradient for it is wanted, of a tensor that is there or as it makes one."""
    if node.op not in ("call_function", "call_method") or not node.described:
        return False
    if ops.op_of(node.target) != "requires_grad" or node.target is getattr:
        return node.kwargs.get("requires_grad") is True
    return bool(node.kwargs.get("requires_grad", node.args[1] if len(node.args) > 1 else True))


def _between(
    nodes: Iterable[Node], starts: Iterable[Node], ends: Iterable[Node], off: Callable[[Node], bool],
    through: Mapping[Node, list[Node]],
) -> Set[Node]:  # fmt: skip
    """The nodes on a differentiable way from ``starts`` to ``ends``; ``off`` says where gradients are off.

    From the nodes in ``through`` there is a way to those that it has for them, too.
    """
    order = list(nodes)
    needing = set(starts)
    sharing: dict[Any, list[Node]] = {}  # the nodes that are views of one memory, for those written into
    written = {_memory(node.written) for node in order if node.written is not None}
    for node in order:
        if _memory(node) in written:
            sharing.setdefault(_memory(node), []).append(node)
        if off(node):
            if not _stops(node) and _itself(node) in needing:
                needing.add(node)
        elif not needing.isdisjoint(_differentiated(node)) and not _stops(node):
            needing.add(node)
            if node.written is not None:  # what was written into needs it from here on
                needing.update(_written(node, sharing))
        if node in through and not needing.isdisjoint(through[node]) and _differentiable(node.tensor_meta):
            needing.add(node)
    reached = set(ends)
    for node in reversed(order):
        if node in needing and (node in reached or not reached.isdisjoint(_written(node, sharing))):
            if off(node):
                reached.add(_itself(node) or node)
            elif not _stops(node):
                reached.update(_differentiated(node))
            reached.update(through.get(node, ()))
            reached.add(node)
    return needing & reached


def _itself(node: Node) -> Node | None:
    """What a call writes to, or hands back as it is: where gradients are off, the gradient of that is as before."""
    if node.written is not None:
        return node.written
    if len(node.all_input_nodes) != 1:
        return None
    first, name = node.all_input_nodes[0], ops.op_of(node.target)
    # Thus torch itself hands on what an autograd Function returns of its arguments.
    same = name == "view_as" or (name in _HANDING and node.storage is not None and node.storage == first.storage)
    return first if same else None


def _written(node: Node, sharing: Mapping[Any, list[Node]]) -> list[Node]:
    """The nodes that see what a node writes."""
    return [] if node.written is None else sharing.get(_memory(node.written), [])


def _memory(node: Node) -> Any:
    """What a node has in common with its views."""
    return node if node.storage is None else node.storage


def _differentiated(node: Node) -> list[Node]:
    """The inputs that a gradient of the node can flow to."""
    inputs = node.all_input_nodes
    return inputs[:1] if len(inputs) > 1 and ops.op_of(node.target) in AFTER_ANOTHER else inputs


def _stops(node: Node) -> bool:
    if node.op not in ("call_function", "call_method"):
        return True
    if is_grad_call(node) and not node.kwargs.get("create_graph"):
        return True
    if ops.op_of(node.target) == "requires_grad" and not _asks_for_gradient(node):
        return True
    name = node.args[1] if node.target is getattr else ops.op_of(node.target)
    return name in _STOPS or not (node.written is not None or _differentiable(node.tensor_meta))


def _differentiable(meta: Any) -> bool:
    if isinstance(meta, TensorMetadata):
        return meta.dtype.is_floating_point or meta.dtype.is_complex
    return isinstance(meta, (tuple, list)) and any(map(_differentiable, meta))


def backward_cost(node: Node, cost: Cost, needing: Set[Node], shapes: Callable[[Any], Any]) -> Cost:
    """What the backward of one call adds to its ``cost``; ``shapes`` turns arguments into shapes.

    That of ``torch.autograd.grad`` is counted as two products for each of its own, one per factor: the gradient that
    came in and an operand of the forward. It is too much where a factor needs no gradient, as the first weight's input.
    """
    if node not in needing:
        return Cost()
    if is_grad_call(node):
        return cost * 2
    args, kwargs = shapes(node.args), shapes(node.kwargs)
    flags = _flags(node.args, needing), _flags(node.kwargs, needing)
    return binding.apply_backward(node.target, cost, args, kwargs, *flags, shapes(node))


def grad_call_cost(node: Node, costs: Mapping[Node, Cost | None], shapes: Callable[[Any], Any]) -> Cost | None:
    """The cost of ``torch.autograd.grad(outputs, inputs)`` in a forward: the backward of what lies between.

    ``costs`` are those of the calls before it; None where one of them on the way has no rule.
    """
    given, way = _way(node, costs)
    total = Cost()
    for step in way:
        cost = costs.get(step, Cost())
        if cost is None:
            return None
        # A gradient's own is taken to have the weights for constants: a product for each that the gradient took.
        total += cost if is_grad_call(step) else backward_cost(step, cost, way, shapes)
    if given.get("is_grads_batched"):  # once for each of them
        return total * first(shapes(given["grad_outputs"]))[0]
    return total


def _way(node: Node, nodes: Iterable[Node]) -> tuple[dict[str, Any], Set[Node]]:
    """The arguments of a call of ``torch.autograd.grad``, and those of ``nodes`` that it differentiates."""
    given = {**dict(zip(("outputs", "inputs"), node.args)), **node.kwargs}
    return given, _between(nodes, nodes_in(given["inputs"]), nodes_in(given["outputs"]), lambda _: False, {})


def second_gradients(nodes: Collection[Node], needing: Set[Node]) -> list[Bound]:
    """What is assumed of each gradient in a forward that is differentiated, by another or by the backward pass.

    One that is differentiated by the gradients it was given only, as the second of a forward derivative is, costs a
    product for each of its own indeed.
    """
    order = list(nodes)
    calls = {node: _way(node, order[:position])[1] for position, node in enumerate(order) if is_grad_call(node)}
    again = {call for call in calls if call in needing}
    for way in calls.values():
        again.update(call for call in way if call in calls and not way.isdisjoint(calls[call]))
    return [
        Bound(
            "grad", "what the gradient of a gradient costs", _SECOND[call in needing], call.call.path,
            ":".join(map(str, call.source)), effect=_SECOND_EFFECT,
        )
        for call in calls if call in again
    ]  # fmt: skip


def is_grad_call(node: Node) -> bool:
    """Whether the node is a call of ``torch.autograd.grad``."""
    return node.target is torch.autograd.grad


def _flags(argument: Any, needing: Set[Node]) -> Any:
    if isinstance(argument, Node):
        return argument in needing
    if isinstance(argument, Mapping):
        return {key: _flags(value, needing) for key, value in argument.items()}
    if isinstance(argument, (tuple, list)):
        return tuple([_flags(value, needing) for value in argument])
    return False
