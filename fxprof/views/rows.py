"""Report -> rows, as pure functions: depth, grouping, sorting, the top n.

Whatever is hidden stays in the sums. In the module tree each row holds its whole subtree, and the
rows right below it add up to it (what a module runs itself is a row of its own); in every other
listing all rows add up to the totals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from fxprof.errors import InputError, check_natural
from fxprof.report import ModuleProfile, OpProfile, Report

BY = ("module", "type", "op", "node")
SORT = ("order", "macs", "flops", "params", "activations", "name")

# What adds up over the rows of a listing.
SUMMED = ("params", "macs", "flops", "activations", "activation_bytes", "bytes_accessed")

# A table without --depth opens the tree as far as it still fits about a screen.
SCREEN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: labels, and the columns that add up; ``counted`` is False for an op without a rule.

    ``name`` is what a listing shows, ``path`` the same in full (in the tree, a name is the last part of its path).
    """

    name: str
    path: str = ""
    labels: tuple[str, ...] = ()
    depth: int = 0
    params: int = 0
    macs: int = 0
    flops: int = 0
    activations: int = 0
    activation_bytes: int = 0
    bytes_accessed: int = 0
    output: str = ""
    source: str = ""
    counted: bool = True

    @property
    def empty(self) -> bool:
        """Whether it adds nothing to any column."""
        return not any(getattr(self, name) for name in SUMMED)


def rows(
    report: Report, *, by: str = "module", depth: int | None = None, top: int | None = None, sort: str | None = None
) -> list[Row]:
    """Rows of one listing. Raises InputError on an unknown ``by`` or ``sort`` or a negative number.

    ``depth`` cuts the module tree (``by="module"``) or groups by the modules above the cut
    (``by="type"``). ``top`` keeps the n largest rows and sums the rest in one line; the tree is
    listed flat then. ``sort`` is the execution order for modules and nodes, MACs otherwise.
    """
    _check(by, depth, top, sort)
    if by == "module" and top is None:
        cut = fitting_depth(report) if depth is None else depth
        return list(_tree(report, cut, sort or "order"))
    flat = _FLAT[by](report, depth)
    in_order = sort is None and top is None and by == "node"
    ordered = flat if in_order else sorted(flat, key=_key(sort or "macs"))
    return ordered if top is None else _top(ordered, top)


def full_depth(report: Report) -> int:
    """Depth of the deepest module; the root is at 0."""
    return max(level for level, _ in report.walk())


def fitting_depth(report: Report) -> int:
    """The deepest cut whose tree fits a screen; at least the root's own children."""
    depth, shown, level = 0, 1, [report.root]
    while below := [child for module in level for child in module.children]:
        shown += len(below) + sum(1 for module in level if module.children and not _own_row(module).empty)
        if depth and shown > SCREEN:
            break
        depth, level = depth + 1, below
    return depth


def _check(by: str, depth: int | None, top: int | None, sort: str | None) -> None:
    if by not in BY:
        raise InputError(f"by must be one of {', '.join(BY)}, got {by!r}")
    if sort is not None and sort not in SORT:
        raise InputError(f"sort must be one of {', '.join(SORT)}, got {sort!r}")
    if depth is not None and by not in ("module", "type"):
        raise InputError(f"depth goes with by='module' or by='type', got by={by!r}")
    check_natural("depth", depth)
    check_natural("top", top)


# -- the tree ----------------------------------------------------------------------------------


def _tree(report: Report, cut: int, sort: str) -> Iterator[Row]:
    # An explicit stack: trees deeper than Python's recursion limit exist in tests only, but exist.
    root = report.root
    stack: list[_Entry] = [(_module_row(root, 0, report.name, report.name), root)]
    while stack:
        row, module = stack.pop()
        yield row
        if module is not None and module.children and row.depth < cut:
            stack.extend(reversed(_below(module, row, sort)))


# A row, and the module it may be opened into.
_Entry = tuple[Row, ModuleProfile | None]


def _below(module: ModuleProfile, above: Row, sort: str) -> list[_Entry]:
    """The rows right below a module's own: its children, and what it runs itself where that is anything."""
    depth = above.depth + 1
    found: list[_Entry] = [(_module_row(child, depth, child.name, child.path), child) for child in module.children]
    own = _own_row(module, depth, "(own)", f"{above.path} (own)")
    if not own.empty:
        found.append((own, None))
    if sort != "order":
        key = _key(sort)
        found.sort(key=lambda entry: key(entry[0]))
    return found


def _module_row(module: ModuleProfile, level: int, name: str, path: str) -> Row:
    return Row(
        name=name, path=path, labels=(module.type,), depth=level, params=module.params, macs=module.macs,
        flops=module.flops, activations=module.activations, activation_bytes=module.activation_bytes,
        bytes_accessed=module.bytes_accessed, output=returned(module),
    )  # fmt: skip


def _own_row(module: ModuleProfile, level: int = 0, name: str = "", path: str = "") -> Row:
    own = module.own
    return Row(
        name=name, path=path, labels=("",), depth=level, params=own.params, macs=own.macs, flops=own.flops,
        activations=own.activations, activation_bytes=own.activation_bytes, bytes_accessed=own.bytes_accessed,
    )  # fmt: skip


def returned(module: ModuleProfile) -> str:
    """What the first call of a module returned."""
    if not module.outputs:
        return ""
    first, *rest = module.outputs
    return f"{first}, {len(rest)} more" if rest else str(first)


# -- flat listings -----------------------------------------------------------------------------


def _by_module(report: Report, depth: int | None) -> list[Row]:
    """The modules at the cut (or without children above it), and what those above it run themselves."""
    cut = full_depth(report) if depth is None else depth
    found = []
    for level, module in report.walk():
        name = module.path or report.name
        if level == cut or (level < cut and not module.children):
            found.append(_module_row(module, 0, name, name))
        elif level < cut and not (own := _own_row(module, 0, f"{name} (own)", f"{name} (own)")).empty:
            found.append(replace(own, labels=(module.type,)))
    return found


def _by_type(report: Report, depth: int | None) -> list[Row]:
    """Module types, by what each runs itself; below the cut, by what the modules at the cut hold."""
    parts: dict[str, list[Row]] = {}
    for level, module in report.walk():
        if depth is not None and level > depth:
            continue
        whole = level == depth
        row = (_module_row if whole else _own_row)(module, 0, module.type, module.type)
        parts.setdefault(module.type, []).append(row)
    return [replace(_sum(some, name), labels=(str(len(some)),)) for name, some in parts.items()]


def _by_op(report: Report, depth: int | None = None) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    nodes = _by_node(report)
    for op, row in zip(report.ops, nodes):
        groups.setdefault(op.op, []).append(row)
    found = [
        replace(_sum(group, name), labels=(str(len(group)),), counted=any(row.counted for row in group))
        for name, group in groups.items()
    ]
    return found + [replace(row, labels=("",)) for row in nodes[len(report.ops) :]]


def _by_node(report: Report, depth: int | None = None) -> list[Row]:
    """Every call; a parameter counts at the first call that reads it."""
    sizes = {entry.name: entry.spec.numel for entry in report.state if entry.kind == "parameter"}
    found = [_node_row(op, sum(sizes.pop(arg, 0) for arg in op.args)) for op in report.ops]
    if rest := sum(sizes.values()):
        found.append(Row(name="(read by no op)", path="(read by no op)", labels=("", ""), params=rest))
    return found


def _node_row(op: OpProfile, params: int) -> Row:
    return Row(
        name=op.name, path=op.name, labels=(op.op, op.module), params=params, macs=op.macs, flops=op.flops,
        activations=op.activations, activation_bytes=op.activation_bytes, bytes_accessed=op.bytes_accessed,
        output=str(op.output) if op.output else "", source=op.source, counted=op.cost is not None,
    )  # fmt: skip


_FLAT: dict[str, Callable[[Report, int | None], list[Row]]] = {
    "module": _by_module,
    "type": _by_type,
    "op": _by_op,
    "node": _by_node,
}


# -- order -------------------------------------------------------------------------------------


def _key(sort: str) -> Callable[[Row], tuple[object, ...]]:
    """Largest first; FLOPs decide between rows without MACs, and the order of execution between equals."""
    if sort == "order":
        return lambda row: ()
    if sort == "name":
        return lambda row: (row.name,)
    if sort == "macs":
        return lambda row: (-row.macs, -row.flops)
    return lambda row: (-int(getattr(row, sort)),)


def _top(ordered: list[Row], top: int) -> list[Row]:
    hidden = ordered[top:]
    if len(hidden) < 2:
        return ordered
    return [*ordered[:top], replace(_sum(hidden, f"… {len(hidden):,} more"), labels=("",) * len(hidden[0].labels))]


def _sum(some: Iterable[Row], name: str) -> Row:
    some = list(some)
    return Row(name=name, path=name, **{column: sum(getattr(row, column) for row in some) for column in SUMMED})
