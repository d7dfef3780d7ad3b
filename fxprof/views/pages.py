"""HTML pages of comparisons and sweeps: what fxprof.views.html draws, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fxprof.compare import Comparison
from fxprof.measures import TOTALS
from fxprof.sweep import Sweep
from fxprof.units import change
from fxprof.views import notes
from fxprof.views import sweep as view
from fxprof.views.compare import LEGEND, Line, certainty, headers, modules, totals
from fxprof.views.html import Axis, Chart, Column, Notes, Part, Series, Table, page
from fxprof.views.html.parts import Unit


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
    return [*columns, Column("Difference", differences, "delta"), Column("Change", changes, "figure")]


def sweep_page(sweep: Sweep) -> str:
    """A plot of each total that changes, over the dimension with most values, and the table of all points."""
    counted = sweep.counted
    parts: list[Part] = [Notes("Order of growth", view.growth(sweep) or ["No dimension has two numbers to compare."])]
    along = next(iter(view.numeric(sweep)), None)
    for name in view.SHOWN if along else ():
        if len({point.totals[name] for point in counted}) > 1:
            parts.append(_plot(sweep, str(along), name))
    dimensions = [_coordinates(name, [point.at[name] for point in counted]) for name in sweep.dimensions]
    numbers = [
        Column(title, [point.totals[name] for point in counted], "ratio" if name == "intensity" else "count")
        for name, title in {**{name: TOTALS[name] for name in view.SHOWN}, **TOTALS}.items()
    ]
    parts.append(Table("Points", [*dimensions, *numbers]))
    if unsure := view.unsure(sweep):
        parts.append(Notes("Not counted, or not exact", unsure, warns=True))
    return page(f"sweep of {sweep.model}", parts, subtitle=view.heading(sweep), foot=notes.SEMANTICS)


def _coordinates(name: str, values: Sequence[Any]) -> Column:
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return Column(name, values, "count") if whole else Column(name, list(map(str, values)))


def _plot(sweep: Sweep, along: str, total: str) -> Chart:
    """A line per choice of the other dimensions."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in sweep.counted:
        others = ", ".join(f"{name}={value}" for name, value in point.at.items() if name != along)
        lines.setdefault(others or TOTALS[total], []).append((point.at[along], point.totals[total]))
    series = [
        Series(name, sorted(points), [f"{along}={x}" for x, _ in sorted(points)]) for name, points in lines.items()
    ]
    unit: Unit = "bytes" if total == "peak_bytes" else "ratio" if total == "intensity" else "count"
    return Chart(f"{TOTALS[total]} by {along}", series, Axis(along), Axis(TOTALS[total], unit))
