"""The module tree with every total: what a module runs itself is a node of its own, and may open into its ops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fxprof.records import OpProfile
from fxprof.report import ModuleProfile, Report
from fxprof.tree import Sums
from fxprof.views.rows import returned

OWN = "(own)"


@dataclass(frozen=True, slots=True)
class Node:
    """A module, the part of one that is not in its children, or an op.

    ``ops`` are those that nothing below the node holds.
    """

    name: str
    type: str
    path: str
    depth: int
    calls: int
    sums: Sums
    output: str = ""
    source: str = ""
    ops: tuple[OpProfile, ...] = ()

    def __getitem__(self, name: str) -> int:
        number: int = getattr(self.sums, name)
        return number


def tree(report: Report) -> Iterator[Node]:
    """Every module in call order, parents first; the nodes right below one add up to it."""
    sources = _sources(report)
    stack: list[Node | tuple[int, ModuleProfile]] = [(0, report.root)]
    while stack:
        entry = stack.pop()
        if isinstance(entry, Node):
            yield entry
            continue
        depth, module = entry
        source, path = sources.get(module.path, ""), module.path
        name = module.name if path else report.name
        ops = () if module.children else module.ops
        yield Node(name, module.type, path, depth, module.calls, module.whole, returned(module), source, ops)
        if module.children and any(module.own):
            source = module.ops[0].source if module.ops else ""
            stack.append(Node(OWN, "", path, depth + 1, module.calls, module.own, "", source, module.ops))
        stack.extend((depth + 1, child) for child in reversed(module.children))


def opened(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes with a node for each op below those that run several; parameters stay with the modules."""
    for node in nodes:
        yield node
        if len(node.ops) > 1:
            for op in node.ops:
                sums = Sums(op.macs, op.flops, 0, op.activations, 0, op.activation_bytes, op.bytes_accessed)
                yield Node(op.op, "op", node.path, node.depth + 1, 1, sums)


def _sources(report: Report) -> dict[str, str]:
    """The line of the first op that ran in each module, or below it."""
    found: dict[str, str] = {}
    for op in report.ops:
        path = op.module
        while path not in found:
            found[path] = op.source
            path = path.rpartition(".")[0]
    return found
