"""``analyze``: trace, look up a rule for every node, and build the Report."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import binding, observed, ops, routing
from fxprof.decompose import decompose
from fxprof.errors import UncountedError
from fxprof.records import Attributes
from fxprof.report import Cost, ModuleInfo, OpProfile, Report, StateProfile, TensorSpec
from fxprof.rules import RULES, free
from fxprof.tracing import Trace, record
from fxprof.tracing.layouts import spec_of
from fxprof.tracing.repeats import Seen
from fxprof.training import backward_cost, grad_call_cost, is_grad_call, needs_gradient
from fxprof.version import __version__

Rule = Callable[..., Cost]

# These read only as many elements of their table as they return.
_LOOKUPS = frozenset(["embedding", "index_select", "gather", "take", "take_along_dim", "index"])


def analyze(
    model: nn.Module | torch.export.ExportedProgram,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    rules: Mapping[str, Rule] | None = None,
    training: bool = False,
    bounds: Mapping[str, Any] | None = None,
    strict: bool = False,
    name: str | None = None,
) -> Report:
    """Count what ``model`` costs on ``inputs``, from shapes alone; the model is left untouched.

    Args:
        model: an nn.Module on any device, meta included, or an ExportedProgram.
        *inputs: per positional argument of forward: a shape ``(1, 3, 224, 224)`` (a tensor in the
            model's floating dtype), a ``TensorSpec((1, 128), torch.int64)``, a tensor, a plain value,
            or a nesting of these.
        kwargs: the same for keyword arguments.
        rules: op name to rule; ``{**fxprof.RULES, "my_op": my_rule}`` extends the default.
        training: add the backward pass for everything that needs a gradient.
        bounds: what to assume where data decides, by op name or ``"file.py:line"``.
        strict: raise UncountedError when an op has no rule or a size was assumed.
        name: the report's name; the class name of the model by default.

    Raises:
        InputError: the model or an input is not what it must be.
        TraceError: forward failed; the message says where.
        UncountedError: only with ``strict``.
    """
    with no_garbage_collection():
        report = _analyzed(
            record(model, inputs, kwargs or {}, bounds, training=training), RULES if rules is None else rules, training,
            name,
        )  # fmt: skip
    if strict and not report.exact:
        raise UncountedError(_inexact(report))
    return report


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Run the body without searches for cycles: there are none to find among so many new objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _analyzed(traced: Trace, rules: Mapping[str, Rule], training: bool, name: str | None) -> Report:
    counted = tuple(_profiles(traced, rules, training))
    shares = routing.shares(traced, lambda node, op: cost_of(node, op, rules))
    return Report(
        name=name or type(traced.model.model).__name__,
        inputs=traced.inputs,
        ops=counted,
        modules=tuple(_modules(traced, shares)),
        bounds=tuple(replace(bound, source=_shortened(bound.source)) for bound in traced.bounds),
        outputs=tuple(node.name for node in _output(traced.graph).all_input_nodes),
        training=training,
        versions={"fxprof": __version__, "torch": str(torch.__version__)},
        calls=tuple(observed.calls(traced.calls, traced.graph.nodes, counted)),
    )


def _output(graph: fx.Graph) -> fx.Node:
    output: fx.Node = graph.find_nodes(op="output")[0]
    return output


# -- ops ---------------------------------------------------------------------------------------------


def _profiles(traced: Trace, rules: Mapping[str, Rule], training: bool) -> Iterator[OpProfile]:
    """One OpProfile per call in the graph, with the cost of its backward where ``training``."""
    needing = needs_gradient(traced) if training else frozenset()
    memory = _Memory()
    costs: dict[fx.Node, Cost | None] = {}
    names: dict[fx.Node, str] = {}
    for node in traced.graph.nodes:
        meta = node.meta
        if "input" in meta:
            names[node] = meta["input"]
            memory.introduce(meta["storage"], meta["input"])
        elif node.op == "get_attr":
            names[node] = str(node.target)
            memory.introduce(meta.get("storage"), "")
        elif "tensor_meta" in meta:  # the rest only takes inputs apart or puts the output together
            producers = node.all_input_nodes
            call = _call(node, producers, rules)
            owners, fresh = memory.owners(node.name, meta.get("storage"))
            cost = costs[node] = grad_call_cost(node, costs, shapes) if is_grad_call(node) else call.cost
            if cost is not None and node in needing:
                cost += backward_cost(node, cost, needing, shapes)
            filename, line = meta["source"]
            yield OpProfile(
                node.name,
                call.op,
                meta["module_path"],
                call.inputs,
                call.outputs,
                cost,
                _names(producers, names),
                owners,
                call.bytes if fresh or call.rule is not free else 0,
                _place(filename, line),
                call.called,
                call.attributes,
            )


@dataclass(frozen=True, slots=True)
class _Call:
    """What is the same for all calls of one function on tensors laid out alike."""

    op: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cost: Cost | None
    bytes: int  # read and written
    called: str
    attributes: Attributes
    rule: Rule | None


_CALLS: dict[Seen, _Call] = {}  # of all analyses
_LIMIT = 1 << 15


def _call(node: fx.Node, producers: list[fx.Node], rules: Mapping[str, Rule]) -> _Call:
    """Describe a call; those that the tracer found alike only once."""
    seen = node.meta.get("seen")
    if seen is None or seen.tensors != len(producers):  # x + x has one input, x + y has two
        return _described(node, producers, rules)
    call = _CALLS.get(seen)
    if call is None or rules.get(call.op) is not call.rule:
        call = _described(node, producers, rules)
        if call.rule is not None:  # else its cost depends on the rules of what it decomposes into
            if len(_CALLS) >= _LIMIT:
                _CALLS.clear()
            _CALLS[seen] = call
    return call


def _described(node: fx.Node, producers: list[fx.Node], rules: Mapping[str, Rule]) -> _Call:
    op = ops.op_of(node.target)
    inputs = tuple([spec for arg in producers for spec in specs(arg.meta.get("tensor_meta"))])
    outputs = tuple(specs(node.meta.get("tensor_meta")))
    return _Call(
        op, inputs, outputs, None if is_grad_call(node) else cost_of(node, op, rules), _bytes(op, inputs, outputs),
        observed.spelling(node.target), observed.arguments(node, op, shapes), rules.get(op),
    )  # fmt: skip


def _names(producers: list[fx.Node], names: Mapping[fx.Node, str]) -> tuple[str, ...]:
    """For each input tensor the name of what made it."""
    found = []
    for arg in producers:
        meta = arg.meta.get("tensor_meta")
        count = 1 if type(meta) is TensorMetadata else sum(1 for _ in specs(meta))
        found += [names.get(arg, arg.name)] * count
    return tuple(found)


@lru_cache(maxsize=4096)
def _place(filename: str, line: int) -> str:
    """A source line without the machine's own folders: from the package or the working directory on."""
    return f"{_shortened(filename)}:{line}" if filename else ""


@lru_cache(maxsize=512)
def _shortened(source: str) -> str:
    folders = [folder.rstrip(os.sep) + os.sep for folder in (*sys.path, str(Path.cwd())) if folder]
    above = [folder for folder in folders if source.startswith(folder)]
    return source.removeprefix(max(above, key=len)) if above else source


class _Memory:
    """Who allocated each storage."""

    def __init__(self) -> None:
        self._owner: dict[int, str] = {}

    def introduce(self, storages: Any, name: str) -> None:
        for storage in _flat(storages):
            self._owner[storage] = name

    def owners(self, name: str, storages: Any) -> tuple[tuple[str, ...], bool]:
        """The owner of each output's memory, and whether any of it is new."""
        found = list(_flat(storages))
        owners = []
        fresh = False
        for position, storage in enumerate(found):
            if storage not in self._owner:
                self._owner[storage] = name if len(found) == 1 else f"{name}:{position}"
                fresh = True
            owners.append(self._owner[storage])
        return tuple(owners), fresh


def _flat(item: Any) -> Iterator[int]:
    if isinstance(item, tuple):
        for part in item:
            yield from _flat(part)
    elif item is not None:
        yield item


def _bytes(op: str, inputs: Sequence[TensorSpec], outputs: tuple[TensorSpec, ...]) -> int:
    written = sum(spec.nbytes for spec in outputs)
    read = sum(spec.nbytes for spec in inputs)
    if (op in _LOOKUPS or op == "getitem") and len(inputs) > 1:
        largest = max(spec.nbytes for spec in inputs)
        read += min(written, largest) - largest
    elif op == "getitem":
        read = min(read, written)
    return read + written


# -- costs -------------------------------------------------------------------------------------------


def cost_of(node: fx.Node, op: str, rules: Mapping[str, Rule]) -> Cost | None:
    """The cost of one node: its rule's; else the sum over the aten ops it decomposes into; else None."""
    rule = rules.get(op)
    if rule is free:
        return Cost()
    if rule is not None:
        return binding.apply(
            rule, node.target, shapes(node.args), shapes(node.kwargs), shape_of(node.meta.get("tensor_meta"))
        )
    total = Cost()
    for call in decompose(node, lambda target: ops.op_of(target) in rules):
        inner = rules.get(ops.op_of(call.target))
        if inner is None:
            return None
        total += binding.apply(inner, call.target, call.args, call.kwargs, call.out)
    return total


def shapes(argument: Any) -> Any:
    """An fx argument with every node replaced by the shape it carries."""
    if isinstance(argument, fx.Node):
        return shape_of(argument.meta.get("tensor_meta"))
    if isinstance(argument, dict):
        return {key: shapes(value) for key, value in argument.items()}
    if isinstance(argument, (tuple, list)):
        return tuple([shapes(value) for value in argument])
    return argument


def shape_of(meta: Any) -> Any:
    """The shape in a ``tensor_meta`` entry, or a tuple of them."""
    if isinstance(meta, TensorMetadata):
        return tuple(meta.shape)
    if isinstance(meta, dict):
        return tuple(shape_of(item) for item in meta.values())
    if isinstance(meta, (tuple, list)):
        return tuple([shape_of(item) for item in meta])
    return None


def specs(meta: Any) -> Iterator[TensorSpec]:
    """Every tensor in a ``tensor_meta`` entry."""
    if isinstance(meta, TensorMetadata):
        yield spec_of(meta.shape, meta.dtype)
    elif isinstance(meta, (tuple, list)):
        for item in meta:
            yield from specs(item)
    elif isinstance(meta, dict):
        for item in meta.values():
            yield from specs(item)


# -- modules -----------------------------------------------------------------------------------------


def _modules(traced: Trace, shares: Mapping[str, Fraction]) -> Iterator[ModuleInfo]:
    """Modules in order of first call, then the uncalled ones in registration order."""
    every = {path: module for module, paths in traced.model.paths.items() for path in paths}
    own = {paths[0] for paths in traced.model.paths.values()}
    calls: dict[str, int] = {}
    outputs: dict[str, tuple[TensorSpec, ...]] = {}
    for call in traced.calls:
        calls[call.path] = calls.get(call.path, 0) + 1
        outputs.setdefault(call.path, call.outputs)
    ran = {node.meta["module_path"] for node in traced.graph.nodes if "module_path" in node.meta}
    state = _state(traced, shares)
    places = observed.places(traced.model.model)
    order = {path: position for position, path in enumerate(calls)}
    wanted = own | set(calls) | ran
    for path in list(wanted):
        while path:  # a shared module's second path may have parents that are second paths too
            path = path.rpartition(".")[0]
            wanted.add(path)
    for path in sorted((path for path in every if path in wanted), key=lambda p: order.get(p, len(order))):
        module = every[path]
        yield ModuleInfo(
            path, type(module).__name__, calls.get(path, 0), tuple(state.get(path, ())), outputs.get(path, ()),
            observed.bases(cast(Any, type(module))), not any(module._modules.values()), places[module],
            traced.model.paths[module][0], observed.weights(module), observed.hyperparameters(module),
        )  # fmt: skip


def _state(traced: Trace, shares: Mapping[str, Fraction]) -> dict[str, list[StateProfile]]:
    """Parameters and buffers by the module that owns them."""
    found: dict[str, list[StateProfile]] = {}
    for kind, entries in (("parameter", traced.model.parameters), ("buffer", traced.model.buffers)):
        for name, tensor in entries.items():
            spec = spec_of(tensor.shape, tensor.dtype)
            trainable = kind == "parameter" and tensor.requires_grad
            share = shares[name].as_integer_ratio() if name in shares else (1, 1)
            entry = StateProfile(name, spec, kind, trainable, name in traced.attributes, share)
            found.setdefault(name.rpartition(".")[0], []).append(entry)
    return found


def _inexact(report: Report) -> str:
    parts = [f"no rule for {u.op!r} ({u.calls} calls, first at {u.module or 'the root'})" for u in report.uncounted]
    parts += [f"{b.what} of {b.op!r} was assumed to be {b.assumed} at {b.source or b.module}" for b in report.bounds]
    return (
        f"strict asks that every op is counted and no size assumed, but {'; '.join(parts)}; "
        'pass rules={**fxprof.RULES, "op": ...} or bounds=, or leave strict out'
    )
