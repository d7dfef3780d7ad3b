"""The table: what ``str(report)`` and the command line print."""

from __future__ import annotations

from collections.abc import Sequence

from fxprof.report import Report
from fxprof.views import notes
from fxprof.views.grid import BOLD, DIM, GREEN, YELLOW, grid, paint, painted, plain
from fxprof.views.listing import cells, columns, depth_hint, inputs, totals
from fxprof.views.rows import Row, rows
from fxprof.views.text import safe


def render(
    report: Report,
    *,
    by: str = "module",
    depth: int | None = None,
    top: int | None = None,
    sort: str | None = None,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Render header, listing, totals and notes; options as ``rows``. ``width`` shortens names to fit."""
    found = rows(report, by=by, depth=depth, top=top, sort=sort)
    foot = [
        *(paint(line, DIM, on=colour) for line in notes.semantics(report)),
        *certainty(report, colour),
        *(paint(line, DIM, on=colour) for line in depth_hint(report, by, depth, top)),
    ]
    title = f"{paint(safe(report.name), BOLD, on=colour)}: {safe(inputs(report))}"
    listing = "\n".join(_listing(report, found, by, tree=by == "module" and top is None, width=width, colour=colour))
    return "\n".join([title, "", listing, "", plain(totals(report), rights=(1, 2)), "", *foot])


def certainty(report: Report, colour: bool) -> list[str]:
    """What is not counted or assumed, in yellow; that all is exact, in green."""
    code = GREEN if report.exact else YELLOW
    sure = len(notes.inexact(report)) or 1
    lines = notes.certainty(report)
    return [*(paint(line, code, on=colour) for line in lines[:sure]), *lines[sure:]]


def _listing(
    report: Report, found: Sequence[Row], by: str, *, tree: bool, width: int | None, colour: bool
) -> list[str]:
    shown = [cells(report, row) for row in found]
    for row, texts in zip(found, shown):
        # Dots rather than spaces: a table keeps no leading blanks.
        texts[0] = "· " * row.depth + texts[0]
    lines = grid(columns(by), shown, width)
    return painted(lines, lambda index: (BOLD,) if tree and index == 0 else _codes(found[index]), on=colour)


def _codes(row: Row) -> tuple[int, ...]:
    """What is not counted stands out, and what costs nothing steps back."""
    if not row.counted:
        return (YELLOW,)
    return () if row.flops or row.params else (DIM,)
