"""Reports side by side: as a table, Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fxprof.compare import Comparison, Part, largest
from fxprof.measures import MEASURES, TOTALS
from fxprof.units import change, grouped
from fxprof.views import latex, markdown, notes
from fxprof.views.frame import csv_text
from fxprof.views.grid import BOLD, DIM, GREEN, RED, YELLOW, paint, prose, table
from fxprof.views.listing import Column, inputs
from fxprof.views.text import listed, safe


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one module, or one total, in each report; None where there is no such module."""

    name: str
    type: str
    title: str
    values: tuple[float | None, ...]

    @property
    def difference(self) -> float:
        """How much more the last has than the first."""
        return (self.values[-1] or 0) - (self.values[0] or 0)


def totals(compared: Comparison, *, changed: bool = False) -> list[Line]:
    """Every total, or those that differ; active parameters where they are not all of them."""
    found = compared.totals()
    if found["active_params"] == found["params"]:
        del found["active_params"]
    lines = [Line("", "", TOTALS[name], values) for name, values in found.items()]
    return [line for line in lines if not changed or len(set(line.values)) > 1]


def modules(
    compared: Comparison, *, depth: int | None = None, top: int | None = None, measures: Sequence[str] = ()
) -> list[Line]:
    """What differs by module: one line per module and measure; ``top`` keeps the n modules that differ most."""
    wanted = tuple(measures) or tuple(MEASURES)
    parts = compared.parts(depth, wanted)
    shown, hidden = (parts, []) if top is None or len(parts) <= top + 1 else largest(parts, top)
    found = [
        Line(_name(compared, part), _types(part), MEASURES[name].title, part.values[name])
        for part in shown
        for name in part.differing
    ]
    for name in wanted if hidden else ():
        sums = tuple(sum(part.values[name][i] or 0 for part in hidden) for i in range(len(compared.labels)))
        if len(set(sums)) > 1:
            found.append(Line(f"… {len(hidden):,} more", "", MEASURES[name].title, sums))
    return found


def _name(compared: Comparison, part: Part) -> str:
    return f"{part.path or compared.reports[0].name}{' (own)' if part.own else ''}"


def _types(part: Part) -> str:
    return " → ".join(dict.fromkeys(name for name in part.types if name))


# -- the formats -------------------------------------------------------------------------------


def render(
    compared: Comparison, *, depth: int | None = None, top: int | None = None, measures: Sequence[str] = (),
    changed: bool = False, width: int | None = None, colour: bool = False,
) -> str:  # fmt: skip
    """Render the totals (those that differ where ``changed``), the modules that differ, how sure the numbers are."""
    lines, whole = modules(compared, depth=depth, top=top, measures=measures), totals(compared, changed=changed)
    wide: dict[str, Any] = {"width": width, "colour": colour}
    parts = [
        "\n".join(f"{paint(safe(label), BOLD, on=colour)}: {safe(text)}" for label, text in headers(compared)),
        _table(compared, whole, ("Total",), **wide) if whole else "No total differs.",
        _table(compared, lines, ("Module", "Type", "Measure"), **wide) if lines else _SAME,
        "\n".join(prose(certainty(compared), width, YELLOW, on=colour)),
        "\n".join(prose([LEGEND], width, DIM, on=colour)) if lines else "",
    ]
    return "\n\n".join(filter(None, parts))


def to_markdown(
    compared: Comparison, *, depth: int | None = None, top: int | None = None, measures: Sequence[str] = (),
    changed: bool = False,
) -> str:  # fmt: skip
    """The same for a pull request; ``changed`` leaves out the totals that are the same."""
    lines, whole = modules(compared, depth=depth, top=top, measures=measures), totals(compared, changed=changed)
    parts = [
        "\n".join(f"- {markdown.code(label)}: {markdown.code(text)}" for label, text in headers(compared)),
        _markdown_table(compared, whole, ("Total",)) if whole else "No total differs.",
        _markdown_table(compared, lines, ("Module", "Type", "Measure")) if lines else _SAME,
        "\n".join(f"- {markdown.sentence(line)}" for line in certainty(compared)),
        LEGEND if lines else "",
    ]
    return "\n\n".join(filter(None, parts))


def to_latex(compared: Comparison, *, measures: Sequence[str] = ()) -> str:
    """The totals for a paper, one row per report: those that ``measures`` name, or what most papers print."""
    found = compared.totals()
    routed = any(report.active_params != report.params - report.unused_params for report in compared.reports)
    active = ["active_params"] if routed else []
    names = measures or ["params", *active, "macs", "flops", "activations", "peak_bytes"]
    models = latex.Column("Model", [latex.code(label) for label in compared.labels], right=False)
    said = [*(f"{label}: {text}" for label, text in headers(compared)), *certainty(compared)]
    return latex.document(said, [models, *(latex.measured(name, found[name]) for name in names)])


def to_csv(
    compared: Comparison, *, depth: int | None = None, top: int | None = None, measures: Sequence[str] = ()
) -> str:
    """The modules that differ and the totals, one line per measure, every digit of it."""
    depth = compared.full_depth if depth is None else depth
    lines = [*totals(compared), *modules(compared, depth=depth, top=top, measures=measures)]
    rows = [[line.name, line.type, line.title, *line.values] for line in lines]
    return csv_text(["module", "type", "measure", *map(safe, compared.labels)], rows)


def to_json(compared: Comparison, *, depth: int | None = None) -> str:
    """All of it as data; ``modules`` has the parts that differ at a depth, or down to the last."""
    return json.dumps(data(compared, depth), indent=2)


def data(compared: Comparison, depth: int | None = None) -> dict[str, Any]:
    """What ``to_json`` writes."""
    parts = compared.parts(compared.full_depth if depth is None else depth)
    return {
        "labels": compared.labels,
        "models": [report.name for report in compared.reports],
        "exact": [report.exact for report in compared.reports],
        "totals": compared.totals(),
        "modules": [{"path": part.path, "own": part.own, "types": part.types, **part.values} for part in parts],
    }


_SAME = "No module differs."


def headers(compared: Comparison) -> Iterator[tuple[str, str]]:
    """Each label with what was counted under it."""
    for label, report in zip(compared.labels, compared.reports):
        yield label, inputs(report) if label == report.name else f"{report.name}, {inputs(report)}"


def certainty(compared: Comparison) -> list[str]:
    """What keeps the numbers of each report from being exact, or all of them from being compared."""
    reports = list(zip(compared.labels, compared.reports))
    lines = [f"{safe(label)}: {line}" for label, report in reports for line in notes.inexact(report)]
    versions = {label: report.versions["fxprof"] for label, report in reports if "fxprof" in report.versions}
    if len(set(versions.values())) > 1:
        made = listed((f"{label} by {version}" for label, version in versions.items()), 8)
        lines.append(f"Counted by several versions of fxprof ({made}): a part of the difference may be theirs.")
    return lines


LEGEND = "Modules are matched by path; (own) is what a module runs and holds itself, the modules below it left out."


def _columns(compared: Comparison, titles: Sequence[str]) -> list[Column]:
    names = [Column(title, name=title in ("Module", "Type"), spare=3 * (title == "Type")) for title in titles]
    numbers = [Column(safe(label), right=True, label=True) for label in compared.labels]
    changes = [Column("Difference", right=True, spare=2), Column("Change", right=True, spare=1)]
    pair = changes if len(numbers) == 2 else []
    return [*names, *numbers, *pair]


def _cells(line: Line, titles: Sequence[str]) -> list[str]:
    names = [line.name, line.type, line.title][-len(titles) :]
    pair = [_signed(line.difference), change(line.values[0] or 0, line.values[-1] or 0)]
    return [*names, *map(_number, line.values), *(pair if len(line.values) == 2 else ())]


def _table(compared: Comparison, lines: Sequence[Line], titles: Sequence[str], width: int | None, colour: bool) -> str:
    cells = [_cells(line, titles) for line in lines]
    # A module's name stands on its first line only.
    for above, line, row in zip(lines, lines[1:], cells[1:]):
        if line.name and (above.name, above.type) == (line.name, line.type):
            row[0] = row[1] = ""
    columns = _columns(compared, titles)
    return table(columns, cells, width=width, colour=colour, codes=lambda index: _codes(lines[index]))


def _codes(line: Line) -> tuple[int, ...]:
    """Less is green, more is red, the same steps back."""
    if len(set(line.values)) == 1:
        return (DIM,)
    if len(line.values) > 2:
        return ()
    return (GREEN,) if line.difference < 0 else (RED,)


def _markdown_table(compared: Comparison, lines: Sequence[Line], titles: Sequence[str]) -> str:
    columns = _columns(compared, titles)
    labelled = range(len(titles), len(titles) + len(compared.labels))
    headings = [replace(c, title=markdown.code(c.title)) if i in labelled else c for i, c in enumerate(columns)]
    cells = [_cells(line, titles) for line in lines]
    return markdown.table(
        headings, [[markdown.code(text) if c.name else text for c, text in zip(columns, row)] for row in cells]
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else grouped(value)


def _signed(difference: float) -> str:
    if not difference:
        return "0"
    return f"{difference:+,.2f}" if isinstance(difference, float) else f"{difference:+,}"
