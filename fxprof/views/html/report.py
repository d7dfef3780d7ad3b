"""Report -> the parts of its page. Every number comes from the report or from the rows that the table prints."""

from __future__ import annotations

from collections.abc import Sequence

from fxprof.garbage import no_garbage_collection
from fxprof.records import OpProfile
from fxprof.report import Report
from fxprof.views import notes
from fxprof.views.html.page import page
from fxprof.views.html.parts import (
    Axis,
    Chart,
    Column,
    Figure,
    Figures,
    Icicle,
    Measure,
    Notes,
    Part,
    Series,
    Table,
    Tabs,
    Unit,
)
from fxprof.views.html.tree import Node, opened, tree
from fxprof.views.rows import Row, fitting_depth, rows
from fxprof.views.text import listed


@no_garbage_collection()
def render(report: Report) -> str:
    """The page of a report. Raises InputError where jinja2 is missing."""
    inputs = listed((f"{entry.name} {entry.spec}" for entry in report.inputs), limit=8)
    made = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    foot = [*notes.semantics(report), *([f"Counted with {made}."] if made else [])]
    return page(report.name, parts(report), subtitle=inputs or "no tensor inputs", foot=foot)


def parts(report: Report) -> list[Part]:
    """What the page of a report shows, from top to bottom."""
    nodes = list(tree(report))
    tables = (_modules(report, nodes), _types(report), _kinds(report), _calls(report))
    return [
        _figures(report), Notes("How sure", notes.certainty(report), warns=not report.exact),
        _icicle(list(opened(nodes))),
        Tabs("Tables", tables), *([_intensity(report)] if report.macs else []), *_gaps(report),
    ]  # fmt: skip


def _figures(report: Report) -> Figures:
    figures = (
        Figure("MACs", report.macs, of="multiply-accumulates", leads=True),
        Figure("FLOPs", report.flops, of="floating-point operations", leads=True),
        Figure("Parameters", report.params, of="elements", leads=True),
        Figure("Activations", report.activations, of="elements", leads=True),
        Figure("Peak memory", report.peak_bytes, "bytes", "bytes", leads=True),
        Figure("Trainable", report.trainable_params, of="parameters"),
        Figure("Unused", report.unused_params, of="parameters"),
        Figure("Buffers", report.buffers, of="elements"),
        Figure("Buffer bytes", report.buffer_bytes, "bytes"),
        Figure("Parameter bytes", report.param_bytes, "bytes"),
        Figure("Activation bytes", report.activation_bytes, "bytes"),
        Figure("Bytes accessed", report.bytes_accessed, "bytes"),
        Figure("Intensity", report.intensity, "ratio", "FLOPs/byte accessed"),
        Figure("Modules", len(report.modules)),
        Figure("Op calls", len(report.ops)),
    )
    return Figures("Totals", figures)


def _icicle(nodes: Sequence[Node]) -> Icicle:
    measures: Sequence[tuple[str, str, Unit, str]] = (
        ("MACs", "macs", "count", "multiply-accumulates"),
        ("FLOPs", "flops", "count", "floating-point operations"),
        ("Parameters", "params", "count", "elements"),
        ("Activations", "activations", "count", "elements"),
        ("Parameter bytes", "param_bytes", "bytes", "bytes"),
        ("Activation bytes", "activation_bytes", "bytes", "bytes"),
        ("Bytes accessed", "bytes_accessed", "bytes", "bytes"),
    )
    return Icicle(
        "Where it goes",
        [node.name for node in nodes],
        [node.type for node in nodes],
        [node.path for node in nodes],
        [node.depth for node in nodes],
        [Measure(title, [node[name] for node in nodes], unit, of) for title, name, unit, of in measures],
        [_intensity_of(node["flops"], node["bytes_accessed"]) for node in nodes],
        "FLOPs per byte accessed",
    )


# -- tables ------------------------------------------------------------------------------------


def _modules(report: Report, nodes: Sequence[Node]) -> Table:
    macs = [node["macs"] for node in nodes]
    columns = [
        Column("Module", [node.name for node in nodes]),
        Column("Type", [node.type for node in nodes]),
        Column("MACs", macs, "count"),
        Column("of MACs", macs, "share", whole=report.macs),
        Column("FLOPs", [node["flops"] for node in nodes], "count"),
        Column("Parameters", [node["params"] for node in nodes], "count"),
        Column("Activations", [node["activations"] for node in nodes], "count", "elements that take new memory"),
        Column("Bytes accessed", [node["bytes_accessed"] for node in nodes], "count"),
        Column("Output", [node.output for node in nodes], note="what its first call returned"),
        Column("Source", [node.source for node in nodes], "source", "the line of the first op that ran in it"),
        Column("Calls", [node.calls for node in nodes], "count"),
    ]
    depths, paths = [node.depth for node in nodes], [node.path for node in nodes]
    return Table("Modules", columns, "A row holds everything below it.", depths, paths, fitting_depth(report))


def _types(report: Report) -> Table:
    found = rows(report, by="type")
    first = (Column("Type", [row.name for row in found]), Column("Modules", _counts(found), "count", added=True))
    return Table("Module types", [*first, *_numbers(report, found)], "What modules of a type run themselves.")


def _kinds(report: Report) -> Table:
    found = rows(report, by="op")
    first = (Column("Op", [row.name for row in found]), Column("Calls", _counts(found), "count", added=True))
    return Table("Ops", [*first, *_numbers(report, found)], "A ? stands for an op without a rule.")


def _counts(found: Sequence[Row]) -> list[int]:
    return [int(row.labels[0] or 0) for row in found]


def _calls(report: Report) -> Table:
    found = rows(report, by="node")
    # The last row may be parameters that no op reads.
    ops: list[OpProfile | None] = [*report.ops, *[None] * (len(found) - len(report.ops))]
    columns = [
        Column("Call", [row.name for row in found]),
        Column("Op", [row.labels[0] for row in found]),
        Column("Module", [row.labels[1] for row in found]),
        *_numbers(report, found),
        Column("Bytes accessed", [op.bytes_accessed if op else 0 for op in ops], "count", added=True),
        Column("FLOPs per byte", [_op_intensity(op) for op in ops], "ratio"),
        Column("Inputs", [listed(map(str, op.inputs), 3) if op else "" for op in ops]),
        Column("Output", [row.output for row in found]),
        Column("Source", [op.source if op else "" for op in ops], "source"),
    ]
    note = "Every call in execution order. A parameter counts at the first call that reads it."
    return Table("Op calls", columns, note, paths=[row.labels[1] for row in found])


def _numbers(report: Report, found: Sequence[Row]) -> list[Column]:
    """The columns that add up to the totals."""
    macs = [row.macs if row.counted else None for row in found]
    return [
        Column("MACs", macs, "count", added=True),
        Column("of MACs", macs, "share", whole=report.macs),
        Column("FLOPs", [row.flops if row.counted else None for row in found], "count", added=True),
        Column("Parameters", [row.params for row in found], "count", added=True),
        Column("Activations", [row.activations for row in found], "count", "elements that take new memory", added=True),
    ]


# -- charts and gaps ---------------------------------------------------------------------------


def _intensity(report: Report) -> Chart:
    ops = [op for op in report.ops if op.macs and op.bytes_accessed]
    series = Series(
        "ops",
        [(op.flops / op.bytes_accessed, op.macs) for op in ops],
        [op.op for op in ops],
        [op.module for op in ops],
    )
    note = (
        "Every op with MACs, by what it computes per byte it moves. Left of a device's ridge, its FLOP/s divided by "
        "its bytes/s, memory is the limit; right of it, arithmetic."
    )
    x, y = Axis("FLOPs per byte accessed", "ratio", log=True), Axis("MACs", log=True)
    return Chart("Arithmetic intensity", [series], x, y, lines=False, note=note, mark="Ridge, in FLOPs per byte")


def _gaps(report: Report) -> list[Table]:
    tables = []
    if gaps := report.uncounted:
        tables.append(
            Table(
                "Uncounted",
                [
                    Column("Op", [gap.op for gap in gaps]),
                    Column("First in", [gap.module or "the model itself" for gap in gaps]),
                    Column("Calls", [gap.calls for gap in gaps], "count", added=True),
                    Column("Elements written", [gap.elements for gap in gaps], "count", added=True),
                    Column("MACs at most", [gap.bound.macs for gap in gaps], "count", added=True),
                ],
                "Ops without a rule: not in the MACs and FLOPs.",
            )
        )
    if bounds := report.bounds:
        tables.append(
            Table(
                "Assumed",
                [
                    Column("What", [bound.what for bound in bounds]),
                    Column("Taken to be", [bound.assumed for bound in bounds]),
                    Column("Could change", [bound.effect for bound in bounds]),
                    Column("Op", [bound.op for bound in bounds]),
                    Column("Module", [bound.module or "the model itself" for bound in bounds]),
                    Column("Calls", [bound.calls for bound in bounds], "count", added=True),
                    Column("Source", [bound.source for bound in bounds], "source"),
                ],
                "Values that depend on the data; totals hold for these.",
            )
        )
    return tables


def _op_intensity(op: OpProfile | None) -> float | None:
    return _intensity_of(op.flops, op.bytes_accessed) if op and op.cost else None


def _intensity_of(flops: int, size: int) -> float:
    return round(flops / size, 2) if size else 0.0
