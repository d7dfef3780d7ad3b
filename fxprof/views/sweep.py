"""A sweep: one row per point, and the order of growth along each dimension, in every format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fxprof.measures import TOTALS
from fxprof.sweep import Point, Sweep
from fxprof.units import grouped
from fxprof.views import latex, markdown, notes
from fxprof.views.frame import csv_text
from fxprof.views.grid import BOLD, DIM, YELLOW, paint, prose, table
from fxprof.views.listing import Column
from fxprof.views.text import listed, safe

# The totals that a table has room for; CSV and JSON have all of them.
SHOWN = ("params", "macs", "flops", "activations", "peak_bytes", "intensity")
_SPARE = {"intensity": 4, "flops": 3, "activations": 2, "params": 1}
_FIT = "Orders of growth are the best fit over these points, the other dimensions held."


def render(sweep: Sweep, *, width: int | None = None, colour: bool = False) -> str:
    """Render one row per point, the order of growth, and what could not be counted."""
    body = table(
        _columns(sweep), [_cells(point) for point in sweep.points], width=width, colour=colour,
        codes=lambda index: (YELLOW,) if sweep.points[index].error else (),
    )  # fmt: skip
    parts = [
        f"{paint(safe(sweep.model), BOLD, on=colour)}: {safe(heading(sweep))}",
        body,
        "\n".join(prose(growth(sweep), width)),
        "\n".join(prose([safe(line) for line in unsure(sweep)], width, YELLOW, on=colour)),
        "\n".join(prose([_FIT, *notes.SEMANTICS], width, DIM, on=colour)),
    ]
    return "\n\n".join(filter(None, parts))


def to_markdown(sweep: Sweep) -> str:
    """The same for a pull request."""
    columns = _columns(sweep)
    names = len(sweep.dimensions)
    titles = [Column(markdown.code(c.title), c.right) if i < names else c for i, c in enumerate(columns)]
    rows = [[markdown.code(text) if i < names else text for i, text in enumerate(_cells(p))] for p in sweep.points]
    lines = [*growth(sweep), *unsure(sweep), _FIT, *notes.SEMANTICS]
    parts = [
        f"{markdown.code(sweep.model)}: {markdown.code(heading(sweep))}",
        markdown.table(titles, rows),
        "\n".join(f"- {markdown.sentence(line)}" for line in lines),
    ]
    return "\n\n".join(parts)


def to_latex(sweep: Sweep) -> str:
    """The same for a paper."""
    at = [
        latex.Column(latex.escaped(name), [latex.escaped(f"{_at(point.at[name])}") for point in sweep.points])
        for name in sweep.dimensions
    ]
    found = [latex.measured(name, [point.totals.get(name) for point in sweep.points]) for name in SHOWN]
    return latex.document([f"{sweep.model}: {heading(sweep)}", *growth(sweep), *unsure(sweep)], [*at, *found])


def to_csv(sweep: Sweep) -> str:
    """One line per point, every total of it."""
    rows = [
        [*point.at.values(), *(point.totals.get(name) for name in TOTALS), point.error] for point in sweep.points
    ]  # fmt: skip
    return csv_text([*sweep.dimensions, *TOTALS, "error"], rows)


def to_json(sweep: Sweep) -> str:
    """All of it as data; ``growth`` has exponents by dimension and total, null where there is none."""
    points = [
        {"at": point.at, **point.totals, "inputs": point.inputs, "exact": point.exact, "error": point.error or None}
        for point in sweep.points
    ]
    orders = {name: {total: sweep.growth(name, total) for total in TOTALS} for name in sweep.dimensions}
    return json.dumps({"model": sweep.model, "points": points, "growth": orders}, indent=2)


def heading(sweep: Sweep) -> str:
    """The inputs of the first point and of the last."""
    ends = [listed(point.inputs, 4) for point in (sweep.counted[:1] + sweep.counted[-1:])]
    return " to ".join(dict.fromkeys(ends)) or "nothing could be counted"


def growth(sweep: Sweep) -> list[str]:
    """A sentence per dimension: what grows with which power of it, and what does not depend on it."""
    return [line for name in sweep.dimensions for line in _growth(sweep, name)]


def _growth(sweep: Sweep, dimension: str) -> Iterator[str]:
    orders = {TOTALS[name]: sweep.growth(dimension, name) for name in SHOWN if name != "intensity"}
    found = {title: order for title, order in orders.items() if order is not None}
    still = [title for title, order in found.items() if abs(order) < 1e-9]
    # What would print as a power of 0.00 does depend on it.
    hardly = [title for title, order in found.items() if title not in still and not round(order, 2)]
    grows = [
        f"{title} with {safe(dimension)}^{order:.2f}"
        for title, order in found.items()
        if title not in (*still, *hardly)
    ]
    if grows:
        yield f"{grows[0].replace(' with', ' grow with', 1)}{''.join(f', {text}' for text in grows[1:])}."
    if hardly:
        yield f"Hardly any dependence on {safe(dimension)}: {', '.join(hardly)}."
    if still:
        yield f"No dependence on {safe(dimension)}: {', '.join(still)}."


def unsure(sweep: Sweep) -> list[str]:
    """The points that could not be counted, with the reason, and those that are not exact."""
    lines = [f"Not counted at {point.place}: {point.error}" for point in sweep.points if point.error]
    if inexact := [point.place for point in sweep.counted if not point.exact]:
        lines.append(f"Not exact (fxprof report says why): {listed(inexact, 3)}.")
    return lines


def _columns(sweep: Sweep) -> list[Column]:
    return [
        *(Column(safe(name), right=True, label=True) for name in sweep.dimensions),
        *(Column(TOTALS[n], True, spare=_SPARE.get(n, 0)) for n in SHOWN),
    ]


def _cells(point: Point) -> list[str]:
    return [*map(_at, point.at.values()), *(_number(point.totals.get(name)) for name in SHOWN)]


def _at(value: Any) -> str:
    return grouped(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else grouped(value)


def numeric(sweep: Sweep) -> Sequence[str]:
    """The dimensions along which there is something to plot, the one with most values first."""
    found = [name for name in sweep.dimensions if sweep.growth(name, "params") is not None]
    return sorted(found, key=lambda name: -len({point.at[name] for point in sweep.counted}))
