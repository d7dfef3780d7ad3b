"""The dataflow as a graph: networkx, and the boxes and arrows that DOT and Mermaid draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fxprof.dataflow import edges
from fxprof.errors import InputError, check_natural
from fxprof.garbage import no_garbage_collection
from fxprof.report import ModuleProfile, Report, TensorSpec
from fxprof.units import short
from fxprof.views.rows import fitting_depth
from fxprof.views.text import listed

if TYPE_CHECKING:
    import networkx as nx


@no_garbage_collection()
def to_networkx(report: Report) -> nx.DiGraph[str]:
    """Put inputs and ops into a DiGraph, in execution order, with what each op holds; edges carry tensors.

    Node attributes: ``kind`` ("input" or "op"), ``shapes`` and ``dtypes`` of the outputs, ``bytes`` of the
    outputs; for an op also ``op``, ``module``, ``source``, ``macs`` and ``flops`` (None without a rule) and
    ``bytes_accessed``. Edge attributes: ``shapes``, ``dtypes`` and ``bytes`` of what is read; an edge
    without shapes is an op that waits for one which writes the same memory.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph(name=report.name)
    for entry in report.inputs:
        graph.add_node(entry.name, kind="input", **_tensors((entry.spec,)))
    for op in report.ops:
        macs, flops = (op.cost.macs, op.cost.flops) if op.cost else (None, None)
        graph.add_node(
            op.name, kind="op", op=op.op, module=op.module, source=op.source, macs=macs, flops=flops,
            bytes_accessed=op.bytes_accessed, **_tensors(op.outputs),
        )  # fmt: skip
    for edge in edges(report):
        graph.add_edge(edge.source, edge.target, **_tensors(edge.specs))
    return graph


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, object]:
    return {
        "shapes": tuple(spec.shape for spec in specs),
        "dtypes": tuple(spec.dtype for spec in specs),
        "bytes": sum(spec.nbytes for spec in specs),
    }


# -- drawings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Box:
    """What is drawn as one node: its lines (the first its name), and the module it is drawn in."""

    lines: tuple[str, ...]
    within: str = ""
    input: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes, and arrows between them by position with the shapes that pass."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int, str], ...]

    def groups(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Walk the nested modules: ("open", path, boxes in it) and ("close", path, ()), parents around children."""
        inside: dict[str, list[int]] = {}
        below: dict[str, dict[str, None]] = {}
        for index, box in enumerate(self.boxes):
            inside.setdefault(box.within, []).append(index)
            path = box.within
            while path and path not in below.get(parent := path.rpartition(".")[0], {}):
                below.setdefault(parent, {})[path] = None
                path = parent
        pending = [("open", "")]
        while pending:
            kind, path = pending.pop()
            yield kind, path, tuple(inside.get(path, ())) if kind == "open" else ()
            if kind == "open":
                pending.append(("close", path))
                pending.extend(("open", child) for child in reversed(below.get(path, {})))


@no_garbage_collection()
def drawing(report: Report, *, by: str = "module", depth: int | None = None) -> Drawing:
    """Draw every op (``by="node"``) or the modules at ``depth`` with the ops of those above by module.

    Raises InputError on another ``by``, or a depth with ``by="node"``.
    """
    if by not in ("module", "node"):
        raise InputError(f"a graph is drawn by module or by node, got by={by!r}")
    if by == "node" and depth is not None:
        raise InputError("depth goes with by='module', got by='node'")
    check_natural("depth", depth)
    entrances = {entry.name: Box((entry.name, str(entry.spec)), input=True) for entry in report.inputs}
    if by == "node":
        ops = {
            op.name: Box((op.name, str(op.output or ""), _macs(op.macs if op.cost else None)), op.module)
            for op in report.ops
        }
        return _drawing(report, {**entrances, **ops}, {name: name for name in (*entrances, *ops)})
    cut = fitting_depth(report) if depth is None else depth
    home = {op.name: f"module:{_at(op.module, cut)}" for op in report.ops}
    ran = set(home.values())
    boxes = {
        f"module:{module.path}": _module(report, module, own=level < cut and bool(module.children))
        for level, module in report.walk()
        if f"module:{module.path}" in ran
    }
    order = {key: boxes[key] for key in home.values()}  # in order of first use
    return _drawing(report, {**entrances, **order}, {**{name: name for name in entrances}, **home})


def _module(report: Report, module: ModuleProfile, *, own: bool) -> Box:
    """A module with all below it, or what it runs itself, drawn inside it."""
    name = (module.path or report.name) + (" (own)" if own else "")
    macs = _macs((module.own if own else module.whole).macs)
    return Box((name, module.type, macs), module.path if own else module.path.rpartition(".")[0])


def _drawing(report: Report, boxes: dict[str, Box], home: dict[str, str]) -> Drawing:
    position = {key: index for index, key in enumerate(boxes)}
    passing: dict[tuple[int, int], list[str]] = {}
    for edge in edges(report):
        ends = position[home[edge.source]], position[home[edge.target]]
        if ends[0] != ends[1]:
            shapes = passing.setdefault(ends, [])
            shapes.extend(text for text in map(str, edge.specs) if text not in shapes)
    arrows = tuple((*ends, listed(shapes, 3)) for ends, shapes in passing.items())
    return Drawing(report.name, tuple(boxes.values()), arrows)


def _at(path: str, depth: int) -> str:
    """The module at a depth above (or at) a path."""
    return ".".join(path.split(".")[:depth]) if path else ""


def _macs(macs: int | None) -> str:
    if macs is None:
        return "no rule"
    return f"{short(macs)} MACs" if macs else ""
