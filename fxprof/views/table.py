"""The table: what ``str(report)`` and the command line print."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from fxprof.report import Report
from fxprof.units import grouped, share, short, short_bytes
from fxprof.views import notes
from fxprof.views.rows import Row, fitting_depth, full_depth, rows
from fxprof.views.text import fit, listed, safe

_LABELS = {
    "module": ("Module", "Type"),
    "type": ("Type", "Modules"),
    "op": ("Op", "Calls"),
    "node": ("Node", "Op", "Module"),
}
_NUMBERS = ("Parameters", "MACs", "FLOPs", "Activations", "of MACs")
_NARROWEST = 12


def render(
    report: Report,
    *,
    by: str = "module",
    depth: int | None = None,
    top: int | None = None,
    sort: str | None = None,
    width: int | None = None,
) -> str:
    """Render header, listing, totals and notes; options as ``rows``. ``width`` shortens names to fit."""
    found = rows(report, by=by, depth=depth, top=top, sort=sort)
    listing = _fitting(report, found, by, width)
    hint = _depth_hint(report, depth) if by == "module" and top is None else []
    foot = [*notes.semantics(report), *notes.certainty(report), *hint]
    return "\n".join([_header(report), "", listing, "", _totals(report), "", *foot])


def _header(report: Report) -> str:
    inputs = listed((f"{safe(entry.name)} {entry.spec}" for entry in report.inputs), limit=8)
    return f"{safe(report.name)}: {inputs or 'no tensor inputs'}"


# -- the listing -------------------------------------------------------------------------------


def _fitting(report: Report, found: Sequence[Row], by: str, width: int | None) -> str:
    cells = [_cells(report, row) for row in found]
    text = _grid(cells, by)
    labels = len(_LABELS[by])
    # Names give way in the order of their columns, none below a readable rest.
    for column in range(labels):
        excess = 0 if width is None else max(map(len, text.split("\n"))) - width
        if excess > 0:
            longest = max(len(row[column]) for row in cells)
            limit = max(_NARROWEST, longest - excess)
            for row in cells:
                row[column] = fit(row[column], limit)
            text = _grid(cells, by)
    return text


def _cells(report: Report, row: Row) -> list[str]:
    macs, flops = (grouped(row.macs), grouped(row.flops)) if row.counted else ("?", "?")
    part = share(row.macs, report.macs) if report.macs and row.counted else "-"
    # Dots rather than spaces: a table keeps no leading blanks.
    name = "· " * row.depth + safe(row.name)
    return [
        name, *map(safe, row.labels),
        grouped(row.params), macs, flops, grouped(row.activations), part, safe(row.output),
    ]  # fmt: skip


def _grid(cells: Sequence[Sequence[str]], by: str) -> str:
    labels = _LABELS[by]
    headers = [*labels, *_NUMBERS, *(("Output",) if by in ("module", "node") else ())]
    second = "right" if by in ("type", "op") else "left"
    align = ["left", *(second for _ in labels[1:]), *("right" for _ in _NUMBERS), "left"]
    shown = [row[: len(headers)] for row in cells]
    return tabulate(shown, headers, tablefmt="simple", disable_numparse=True, colalign=align[: len(headers)])


# -- around it ---------------------------------------------------------------------------------


def _totals(report: Report) -> str:
    state = f"trainable {grouped(report.trainable_params)}, unused {grouped(report.unused_params)}"
    lines = [
        ("Parameters", grouped(report.params), short(report.params), state),
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
    return tabulate(lines, tablefmt="plain", disable_numparse=True, colalign=("left", "right", "right", "left"))


def _bytes(name: str, size: int, note: str = "") -> tuple[str, str, str, str]:
    return name, grouped(size), short_bytes(size), note


def _depth_hint(report: Report, depth: int | None) -> list[str]:
    full = full_depth(report)
    cut = fitting_depth(report) if depth is None else depth
    return [f"Modules down to depth {cut} of {full}; --depth {full} shows all."] if cut < full else []
