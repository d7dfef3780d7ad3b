"""The dataflow between the ops of a Report: who reads what from whom, and the heaviest way through.

An op that works in place hands its result on through memory: what reads that memory afterwards depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fxprof.records import OpProfile, TensorSpec
from fxprof.report import Report


@dataclass(frozen=True, slots=True)
class Edge:
    """``target`` (an op) reads ``specs`` from ``source`` (an op or an input); none where it waits for a write only."""

    source: str
    target: str
    specs: tuple[TensorSpec, ...] = ()


def edges(report: Report) -> Iterator[Edge]:
    """Every edge once, in execution order of the targets. Parameters, buffers and constants have no edges."""
    memory: dict[str, tuple[str, ...]] = {entry.name: (entry.name,) for entry in report.inputs}
    writer: dict[str, str] = {}
    for op in report.ops:
        read: dict[str, list[TensorSpec]] = {}
        for name, spec in zip(op.args, op.inputs):
            if name in memory:
                read.setdefault(name, []).append(spec)
        for name in list(read):
            for owner in memory[name]:
                if owner in writer:
                    read.setdefault(writer[owner], [])
        yield from (Edge(source, op.name, tuple(specs)) for source, specs in read.items())
        memory[op.name] = op.memory
        if op.args and in_place(op):
            # "" is all of the model's own state at once, which says nothing of who waits for whom.
            writer.update((owner, op.name) for owner in memory.get(op.args[0], ()) if owner)


def in_place(op: OpProfile) -> bool:
    """Whether the op was spelled as one that writes its first argument: ``x.add_(y)``, ``x += y``, ``x[i] = y``."""
    space, _, name = op.called.rpartition(".")
    if space == "operator":
        return name in _OPERATORS
    return name.endswith("_") and not name.endswith("__")


_OPERATORS = frozenset(
    "setitem delitem iadd iand iconcat ifloordiv ilshift imatmul imod imul ior ipow irshift isub itruediv ixor".split()
)


def critical_path(report: Report) -> tuple[OpProfile, ...]:
    """The chain of ops, each reading the one before, that holds the most MACs (then the most FLOPs)."""
    ops = {op.name: op for op in report.ops}
    before: dict[str, list[str]] = {}
    for edge in edges(report):
        if edge.source in ops:
            before.setdefault(edge.target, []).append(edge.source)
    best: dict[str, tuple[int, int]] = {}
    previous: dict[str, str] = {}
    for op in report.ops:
        macs, flops = 0, 0
        if earlier := [name for name in before.get(op.name, ()) if name in best]:
            previous[op.name] = max(earlier, key=best.__getitem__)
            macs, flops = best[previous[op.name]]
        best[op.name] = (macs + op.macs, flops + op.flops)
    if not best:
        return ()
    name = max(best, key=best.__getitem__)
    path = [ops[name]]
    while name in previous:
        name = previous[name]
        path.append(ops[name])
    return tuple(reversed(path))
