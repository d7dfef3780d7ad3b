"""Which values of a traced graph need a gradient, and what the backward pass of each call adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import binding, ops
from fxprof.report import Cost
from fxprof.tracing import Trace

# A gradient stops here.
_STOPS = frozenset(["detach", "data", "stop_gradient"])


def needs_gradient(traced: Trace) -> frozenset[fx.Node]:
    """The nodes through which a gradient flows from the model's outputs back to a trainable parameter.

    Frozen parameters, integer and boolean results, ``detach`` and ``torch.no_grad`` end it; the
    model's inputs need none. Every floating output is taken to be part of the loss.
    """
    needing: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            if getattr(traced.attributes[str(node.target)], "requires_grad", False):
                needing.add(node)
        elif not needing.isdisjoint(node.all_input_nodes) and not _stops(node):
            needing.add(node)
            if "written" in node.meta:  # what was written into needs it from here on
                needing.add(node.meta["written"])
    reached: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        if node.op == "output" or (node in needing and (node in reached or node.meta.get("written") in reached)):
            reached.update(node.all_input_nodes)
            reached.add(node)
    return frozenset(needing & reached)


def _stops(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method") or not node.meta.get("grad_enabled", True):
        return True
    name = node.args[1] if node.target is getattr else ops.op_of(node.target)
    return name in _STOPS or not ("written" in node.meta or _differentiable(node.meta.get("tensor_meta")))


def _differentiable(meta: Any) -> bool:
    if isinstance(meta, TensorMetadata):
        return meta.dtype.is_floating_point or meta.dtype.is_complex
    return isinstance(meta, (tuple, list)) and any(map(_differentiable, meta))


def backward_cost(node: fx.Node, cost: Cost, needing: frozenset[fx.Node], shapes: Any) -> Cost:
    """What the backward of one call adds to its ``cost``; ``shapes`` turns arguments into shapes."""
    if node not in needing:
        return Cost()
    args, kwargs = shapes(node.args), shapes(node.kwargs)
    return binding.apply_backward(
        node.target, cost, args, kwargs, _flags(node.args, needing), _flags(node.kwargs, needing), shapes(node)
    )


def _flags(argument: Any, needing: frozenset[fx.Node]) -> Any:
    if isinstance(argument, fx.Node):
        return argument in needing
    if isinstance(argument, Mapping):
        return {key: _flags(value, needing) for key, value in argument.items()}
    if isinstance(argument, (tuple, list)):
        return tuple([_flags(value, needing) for value in argument])
    return False
