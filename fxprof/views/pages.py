"""HTML pages of comparisons: what fxprof.views.html draws, filled in."""

from __future__ import annotations

from collections.abc import Sequence

from fxprof.compare import Comparison
from fxprof.units import change
from fxprof.views import notes
from fxprof.views.compare import LEGEND, Line, certainty, headers, modules, totals
from fxprof.views.html import Column, Notes, Part, Table, page


def compare_page(
    compared: Comparison, *, depth: int | None = None, top: int | None = None, measures: Sequence[str] = ()
) -> str:
    """Totals side by side, and a table of the modules that differ, down to the last unless a depth is given."""
    depth = compared.full_depth if depth is None else depth
    lines = modules(compared, depth=depth, top=top, measures=measures)
    whole = [line for line in totals(compared) if all(isinstance(value, int) for value in line.values)]
    intensity = [f"{label}: {r.intensity:.2f}" for label, r in zip(compared.labels, compared.reports)]
    parts: list[Part] = [
        Table("Totals", [Column("Total", [line.title for line in whole]), *_values(compared, whole)]),
        Notes("Intensity, in FLOPs per byte accessed", intensity),
    ]
    if lines:
        names = [
            Column("Module", [line.name for line in lines]),
            Column("Type", [line.type for line in lines]),
            Column("Measure", [line.title for line in lines]),
        ]
        parts.append(Table("Modules that differ", [*names, *_values(compared, lines)], note=LEGEND))
    else:
        parts.append(Notes("Modules that differ", ["None."]))
    if unsure := certainty(compared):
        parts.append(Notes("How sure", unsure, warns=True))
    heading = "; ".join(f"{label}: {text}" for label, text in headers(compared))
    return page(" and ".join(compared.labels), parts, subtitle=heading, foot=notes.SEMANTICS)


def _values(compared: Comparison, lines: Sequence[Line]) -> list[Column]:
    """One column per report; a module that a report lacks has nothing there."""
    columns = [
        Column(label, [int(line.values[index] or 0) for line in lines], "count")
        for index, label in enumerate(compared.labels)
    ]
    if len(columns) != 2:
        return columns
    changes = [change(line.values[0] or 0, line.values[-1] or 0) for line in lines]
    differences = [int(line.difference) for line in lines]
    return [*columns, Column("Difference", differences, "delta"), Column("Change", changes)]
