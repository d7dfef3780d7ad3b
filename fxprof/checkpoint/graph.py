"""Describe a model for the matcher: names, shapes, tied tensors and, traced, the order and neighbours of use."""

from __future__ import annotations

from typing import Any

from torch import nn

from fxprof.checkpoint import targets
from fxprof.checkpoint.names import TRACKED
from fxprof.checkpoint.plan import Target
from fxprof.errors import FxprofError
from fxprof.records import Shape


def describe(model: nn.Module, inputs: Any = None) -> Target:
    """Read names and shapes off a module; with inputs, trace it. Never touches a value.

    Raises:
        CheckpointError: a parameter has no shape yet, or the model keeps its weights somewhere else.
    """
    targets.check_model(model)
    own = targets.tensors(model)
    shapes: dict[str, Shape] = {}
    aliases: dict[str, str] = {}
    owners: dict[int, str] = {}
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    for name, value in own.items():
        shapes[name] = tuple(value.shape)
        owner = owners.setdefault(id(value), name)
        if owner != name:
            aliases[name] = owner
    order, feeds = _use(model, inputs) if inputs is not None else ((), {})
    beyond = tuple(name for name in model.state_dict() if name not in own)
    return Target(shapes, frozenset(buffers & shapes.keys()), aliases, order, feeds, beyond)


def _use(model: nn.Module, inputs: Any) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The order in which forward first reads each tensor, and the tensors whose op comes right before."""
    from fxprof.tracing import record
    from fxprof.tracing.graph import Node
    from fxprof.tracing.inventory import Inventory
    from fxprof.tracing.unwrap import unwrap

    args, kwargs = _arguments(inputs)
    inner = unwrap(model)
    try:
        graph = record(Inventory(unwrap(model)), args, kwargs).graph
    except FxprofError as err:
        raise type(err)(f"inputs= lets match trace the model, but: {err}") from err
    names = _outer_names(model, inner)
    order: dict[str, None] = {}
    feeds: dict[str, tuple[str, ...]] = {}
    sources: dict[Node, frozenset[str]] = {}
    for node in graph.nodes:
        read = [names[str(n.target)] for n in node.all_input_nodes if n.op == "get_attr" and str(n.target) in names]
        before = frozenset[str]().union(*(sources.get(n, frozenset()) for n in node.all_input_nodes))
        read = [name for name in read if not name.endswith(TRACKED)]
        if read:
            order.update(dict.fromkeys(read))
            for name in read:
                feeds[name] = tuple(sorted({*feeds.get(name, ()), *before}))
        # Only the last op with parameters on each way in counts as a neighbour.
        sources[node] = frozenset(read) or before
    return tuple(order), feeds


def _outer_names(model: nn.Module, inner: nn.Module) -> dict[str, str]:
    """The wrapped model's names of tensors, by those of the module inside."""
    ids = {id(value): name for name, value in reversed(list(model.state_dict(keep_vars=True).items()))}
    found = (*inner.named_parameters(remove_duplicate=False), *inner.named_buffers(remove_duplicate=False))
    return {name: ids[id(value)] for name, value in found if id(value) in ids}


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One shape or tensor, a list of positional ones, or a mapping of keyword ones."""
    if isinstance(inputs, dict):
        return (), inputs
    if isinstance(inputs, list) or (isinstance(inputs, tuple) and not all(isinstance(x, int) for x in inputs)):
        return tuple(inputs), {}
    return (inputs,), {}
