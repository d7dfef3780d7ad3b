"""The module tree with every total: what a module runs itself is a node of its own, and may open into its ops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fxprof.records import ModuleProfile, OpProfile
from fxprof.report import Report
from fxprof.views.rows import returned

OWN = "(own)"
SUMS = ("macs", "flops", "params", "activations", "param_bytes", "activation_bytes", "bytes_accessed")


@dataclass(frozen=True, slots=True)
class Node:
    """A module, the part of one that is not in its children, or an op; ``sums`` go by the names of SUMS.

    ``ops`` are those that nothing below the node holds.
    """

    name: str
    type: str
    path: str
    depth: int
    calls: int
    sums: tuple[int, ...]
    output: str = ""
    source: str = ""
    ops: tuple[OpProfile, ...] = ()

    def __getitem__(self, name: str) -> int:
        return self.sums[SUMS.index(name)]


def tree(report: Report) -> list[Node]:
    """Every module in call order, parents first; the nodes right below one add up to it."""
    modules = [module for _, module in report.walk()]
    own = {module.path: _own(module) for module in modules}
    # Children first and no recursion: a tree may be deep.
    whole = dict(own)
    for module in reversed(modules):
        below = (whole[child.path] for child in module.children)
        whole[module.path] = tuple(map(sum, zip(own[module.path], *below)))
    return list(_nodes(report, own, whole))


def opened(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes with a node for each op below those that run several; parameters stay with the modules."""
    for node in nodes:
        yield node
        if len(node.ops) > 1:
            for op in node.ops:
                sums = (op.macs, op.flops, 0, op.activations, 0, op.activation_bytes, op.bytes_accessed)
                yield Node(op.op, "op", node.path, node.depth + 1, 1, sums)


def _own(module: ModuleProfile) -> tuple[int, ...]:
    params = [entry.spec for entry in module.state if entry.kind == "parameter"]
    return (
        module.own_cost.macs, module.own_cost.flops, module.own_params, module.own_activations,
        sum(spec.nbytes for spec in params), module.own_activation_bytes, module.own_bytes_accessed,
    )  # fmt: skip


def _nodes(report: Report, own: dict[str, tuple[int, ...]], whole: dict[str, tuple[int, ...]]) -> Iterator[Node]:
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
        yield Node(name, module.type, path, depth, module.calls, whole[path], returned(module), source, ops)
        if module.children and any(own[path]):
            source = module.ops[0].source if module.ops else ""
            stack.append(Node(OWN, "", path, depth + 1, module.calls, own[path], "", source, module.ops))
        stack.extend((depth + 1, child) for child in reversed(module.children))


def _sources(report: Report) -> dict[str, str]:
    """The line of the first op that ran in each module, or below it."""
    found: dict[str, str] = {}
    for op in report.ops:
        path = op.module
        while path not in found:
            found[path] = op.source
            path = path.rpartition(".")[0]
    return found
