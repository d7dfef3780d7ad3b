"""What a listing shows, before any format: titles, cells, totals. Names are raw; a format escapes them."""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.report import Report
from fxprof.units import grouped, share, short, short_bytes
from fxprof.views.rows import SUMMED, Row, fitting_depth, full_depth
from fxprof.views.text import listed

_LABELS = {
    "module": ("Module", "Type"),
    "type": ("Type", "Modules"),
    "op": ("Op", "Calls"),
    "node": ("Node", "Op", "Module"),
}
_NUMBERS = ("Parameters", "MACs", "FLOPs", "Activations", "of MACs")
_SPARE = {
    "Calls": 1, "Modules": 1, "Module": 1, "of MACs": 2, "Activations": 3, "FLOPs": 4, "Op": 5, "Type": 5, "Output": 6,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A title, whether its cells are aligned right, whether they are names from the model, whether it is (``label``).

    Where there is too little room, ``prose`` is broken into lines, names and labels are shortened, and columns with a
    ``spare`` go, the largest first; names that are the point of a table are shortened ``last``.
    """

    title: str
    right: bool = False
    name: bool = False
    spare: int = 0
    prose: bool = False
    label: bool = False
    last: bool = False


def columns(by: str) -> list[Column]:
    """The columns of a listing: names, numbers, and the output's shape where there is one."""
    first, *rest = _LABELS[by]
    labels = [Column(title, by in ("type", "op"), by not in ("type", "op"), _SPARE.get(title, 0)) for title in rest]
    numbers = [Column(title, right=True, spare=_SPARE.get(title, 0)) for title in _NUMBERS]
    output = [Column("Output", spare=_SPARE["Output"])] if by in ("module", "node") else []
    return [Column(first, name=True), *labels, *numbers, *output]


def cells(report: Report, row: Row) -> list[str]:
    """The texts of one row, as many as there are columns or one more; "?" stands for what has no rule."""
    macs, flops = (grouped(row.macs), grouped(row.flops)) if row.counted else ("?", "?")
    part = share(row.macs, report.macs) if report.macs and row.counted else "-"
    return [row.name, *row.labels, grouped(row.params), macs, flops, grouped(row.activations), part, row.output]


def whole(report: Report, by: str) -> Row:
    """What all rows of a flat listing add up to, as one more."""
    sums = {name: getattr(report, name) for name in SUMMED}
    return Row(name="Total", labels=("",) * (len(_LABELS[by]) - 1), **sums)


def inputs(report: Report) -> str:
    """The model's inputs in a few words; the names are raw."""
    return listed((f"{entry.name} {entry.spec}" for entry in report.inputs), limit=8) or "no tensor inputs"


def totals(report: Report) -> list[tuple[str, str, str, str]]:
    """Every total: what it is, in full, for people, and a remark."""
    state = f"trainable {grouped(report.trainable_params)}, unused {grouped(report.unused_params)}"
    used = grouped(report.active_params), short(report.active_params)
    routed = report.active_params != report.params - report.unused_params
    active = [("Active parameters", *used, "used by one token")] if routed else []
    return [
        ("Parameters", grouped(report.params), short(report.params), state),
        *active,
        ("Buffers", grouped(report.buffers), short(report.buffers), ""),
        ("MACs", grouped(report.macs), short(report.macs), ""),
        ("FLOPs", grouped(report.flops), short(report.flops), ""),
        ("Activations", grouped(report.activations), short(report.activations), "elements"),
        _bytes("Parameter bytes", report.param_bytes),
        _bytes("Activation bytes", report.activation_bytes),
        _bytes("Bytes accessed", report.bytes_accessed, "each op's inputs, weights and outputs once, unfused"),
        _bytes("Peak memory", report.peak_bytes, "weights, inputs and live op outputs at the worst op of the forward"),
        ("Intensity", f"{report.intensity:.2f}", "", "FLOPs per byte accessed"),
    ]


def depth_hint(report: Report, by: str, depth: int | None, top: int | None) -> list[str]:
    """How to see the modules that a listing left folded; nothing where there are none."""
    if by != "module" or top is not None:
        return []
    full = full_depth(report)
    cut = fitting_depth(report) if depth is None else depth
    return [f"Modules down to depth {cut} of {full}; --depth {full} shows all."] if cut < full else []


def _bytes(name: str, size: int, note: str = "") -> tuple[str, str, str, str]:
    return name, grouped(size), short_bytes(size), note
