"""The table: what ``str(report)`` and the command line print."""

from __future__ import annotations

from collections.abc import Sequence

from fxprof.garbage import no_garbage_collection
from fxprof.report import Report
from fxprof.views import notes
from fxprof.views.grid import BOLD, DIM, GREEN, YELLOW, paint, plain, prose, table
from fxprof.views.listing import cells, columns, depth_hint, inputs, totals
from fxprof.views.rows import Row, rows
from fxprof.views.text import safe


@no_garbage_collection()
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
        *prose(notes.semantics(report), width, DIM, on=colour),
        *certainty(report, width, colour),
        *prose(depth_hint(report, by, depth, top), width, DIM, on=colour),
    ]
    listing = _listing(report, found, by, tree=by == "module" and top is None, width=width, colour=colour)
    sums = plain(totals(report), rights=(1, 2), width=width)
    return "\n\n".join([heading(report, colour), listing, sums, "\n".join(foot)])


def heading(report: Report, colour: bool) -> str:
    """The model, and what it was counted at."""
    return f"{paint(safe(report.name), BOLD, on=colour)}: {safe(inputs(report))}"


def certainty(report: Report, width: int | None, colour: bool) -> list[str]:
    """What is not counted or assumed, in yellow; that all is exact, in green."""
    lines = notes.certainty(report)
    sure = len(notes.inexact(report)) or 1
    code = GREEN if report.exact else YELLOW
    return [*prose(lines[:sure], width, code, on=colour), *prose(lines[sure:], width)]


def _listing(report: Report, found: Sequence[Row], by: str, *, tree: bool, width: int | None, colour: bool) -> str:
    shown = [cells(report, row) for row in found]
    for row, texts in zip(found, shown):
        # Dots rather than spaces: a table keeps no leading blanks.
        texts[0] = "· " * row.depth + texts[0]
    return table(
        columns(by), shown, width=width, colour=colour,
        codes=lambda index: (BOLD,) if tree and index == 0 else _codes(found[index]),
    )  # fmt: skip


def _codes(row: Row) -> tuple[int, ...]:
    """What is not counted stands out, and what costs nothing steps back."""
    if not row.counted:
        return (YELLOW,)
    return () if row.flops or row.params else (DIM,)
