"""``analyze``: trace, look up a rule for every node, and build the Report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import contents, observed, repeated, routing
from fxprof.costs import Rule, cost_of, described, shapes, specs
from fxprof.errors import InputError, UncountedError, check_flag, check_named, shown
from fxprof.garbage import no_garbage_collection
from fxprof.report import Cost, OpProfile, Report
from fxprof.rules import RULES, free
from fxprof.tracing import Trace, record
from fxprof.tracing.graph import Node
from fxprof.tracing.inventory import Inventory
from fxprof.tracing.unwrap import unwrap
from fxprof.training import backward_cost, grad_call_cost, is_grad_call, needs_gradient, returned, second_gradients
from fxprof.version import __version__


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
        training: add the backward pass for everything that needs a gradient; what checkpointing computes
            again for it is not counted.
        bounds: what to assume where data decides, by op name or ``"file.py:line"``.
        strict: raise UncountedError when an op has no rule or a size was assumed.
        name: the report's name; the class name of the model by default.

    Raises:
        InputError: the model or an input is not what it must be.
        TraceError: forward failed; the message says where.
        UncountedError: only with ``strict``.
    """
    if name is not None and not isinstance(name, str):
        raise InputError(f"name must be a text, got {shown(name)}")
    check_flag("training", training)
    check_flag("strict", strict)
    _check_rules(rules)
    check_named("kwargs", kwargs, "forward's arguments by name")
    with no_garbage_collection():
        report = _report(Inventory(unwrap(model)), inputs, kwargs or {}, rules, training, bounds)
    report = replace(report, name=name or report.name, versions=dict(report.versions))
    if strict and not report.exact:
        raise UncountedError(_inexact(report))
    return report


def _check_rules(rules: Mapping[str, object] | None) -> None:
    check_named("rules", rules, "op names and their rules")
    for op, found in (rules or {}).items():
        if found is not None and not callable(found):
            raise InputError(
                f"a rule must be a function of shapes, as fxprof.RULES has them, got {shown(found)} for {op!r}"
            )


def _report(
    model: Inventory, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], rules: Mapping[str, Rule] | None,
    training: bool, bounds: Mapping[str, Any] | None,
) -> Report:  # fmt: skip
    """The report of a question asked before, or a new one."""
    asked = repeated.question(model, inputs, kwargs, training) if rules is None and bounds is None else None
    known = None if asked is None else repeated.recall(asked)
    if known is not None:
        return known
    traced = record(model, inputs, kwargs, bounds, training=training)
    report = _analyzed(traced, RULES if rules is None else rules, training)
    if asked is not None and not traced.by_chance:
        repeated.keep(asked, report)
    return report


def _analyzed(traced: Trace, rules: Mapping[str, Rule], training: bool) -> Report:
    needing = needs_gradient(traced) if training else frozenset()
    counted, gradients = _profiles(traced, rules, needing)
    bounds = [*traced.bounds, *(second_gradients(counted, needing) if gradients else ())]
    shares = routing.shares(traced, lambda node, op: cost_of(node, op, rules))
    calls = tuple(observed.calls(traced.calls, counted))
    return Report(
        name=type(traced.model.model).__name__,
        inputs=traced.inputs,
        ops=tuple(counted.values()),
        modules=tuple(contents.modules(traced, calls, shares)),
        bounds=tuple(replace(bound, source=_shortened(bound.source)) for bound in bounds),
        outputs=tuple(node.name for node in returned(traced.graph)),
        training=training,
        versions={"fxprof": __version__, "torch": str(torch.__version__)},
        calls=calls,
    )


# -- ops ---------------------------------------------------------------------------------------------


def _profiles(traced: Trace, rules: Mapping[str, Rule], needing: Set[Node]) -> tuple[dict[Node, OpProfile], bool]:
    """One OpProfile per call in the graph, with its backward where ``needing`` it; and whether gradients are taken."""
    gradients = False
    memory = _Memory()
    found: dict[Node, OpProfile] = {}
    costs: dict[Node, Cost | None] = {}
    names: dict[Node, tuple[str, ...]] = {}  # of what made them, for each tensor that a node stands for
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            meta = node.tensor_meta
            names[node] = (node.target,) if type(meta) is TensorMetadata else _names(node.target, meta)
            if node.storage is not None:
                memory.introduce(node.storage, "")
        elif node.input is not None:
            names[node] = _names(node.input, node.tensor_meta)
            memory.introduce(node.storage, node.input)
        elif node.described:  # the rest only takes inputs apart or puts the output together
            name, producers = node.name, node.all_input_nodes
            call = described(node, producers, rules)
            names[node] = (name,) * len(call.outputs)
            owners, fresh = memory.owners(name, node.storage)
            cost = call.cost
            if cost is None and is_grad_call(node):
                cost, gradients = grad_call_cost(node, costs, shapes), True
            costs[node] = cost
            if cost is not None and node in needing and node.grad_enabled:
                cost += backward_cost(node, cost, needing, shapes)
            filename, line = node.source
            found[node] = OpProfile(
                name,
                call.op,
                node.call.path,
                call.inputs,
                call.outputs,
                cost,
                tuple([made for arg in producers for made in names.get(arg, ())]),
                owners,
                call.bytes if fresh or call.rule is not free else 0,
                _place(filename, line),
                call.called,
                call.attributes,
            )
    return found, gradients


def _names(name: str, meta: Any) -> tuple[str, ...]:
    """The name of an input or a parameter, once for each tensor that it consists of."""
    return (name,) * len(specs(meta))


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
        if type(storages) is int:
            owner = self._owner.setdefault(storages, name)
            return (owner,), owner is name
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


def _inexact(report: Report) -> str:
    parts = [f"no rule for {u.op!r} ({u.calls} calls, first at {u.module or 'the root'})" for u in report.uncounted]
    parts += [f"{b.what} of {b.op!r} was assumed to be {b.assumed} at {b.source or b.module}" for b in report.bounds]
    return (
        f"strict asks that every op is counted and no size assumed, but {'; '.join(parts)}; "
        'pass rules={**fxprof.RULES, "op": ...} or bounds=, or leave strict out'
    )
