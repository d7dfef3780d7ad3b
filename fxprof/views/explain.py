"""Why two conventions differ, and what every convention counts, as text."""

from __future__ import annotations

from fxprof.conventions import CONVENTIONS, count, find
from fxprof.conventions.difference import Cause, Difference
from fxprof.report import Report
from fxprof.units import grouped, share, short
from fxprof.views.grid import DIM, plain, prose, table
from fxprof.views.listing import Column
from fxprof.views.text import fit, listed, safe

_WIDTH = 44  # of a module's path, shortened in the middle


def render(difference: Difference, ops: int = 2, width: int | None = None, colour: bool = False) -> str:
    """The two numbers, then the causes with the ``ops`` largest places of each; the causes add up."""
    base, other = find(difference.base), find(difference.other)
    numbers = [
        (other.name, grouped(difference.other_flops), short(difference.other_flops), f"{other.tool}: {other.unit}"),
        (base.name, grouped(difference.base_flops), short(difference.base_flops), f"{base.tool}: {base.unit}"),
        ("difference", _signed(difference.flops), "", ""),
    ]
    notes = [f"{side.name} does not see {missed}." for side in (other, base) for missed in side.misses]
    notes += [f"{side.name} here: {limit}." for side in (other, base) for limit in side.limits]
    foot = "\n".join(prose(notes, width, DIM, on=colour))
    return "\n\n".join(filter(None, [plain(numbers, (1, 2), width), _causes(difference, ops, width, colour), foot]))


_CAUSES = [Column("Cause"), Column("FLOPs", right=True), Column("Ops", right=True), Column("Largest", prose=True)]


def _causes(difference: Difference, ops: int, width: int | None, colour: bool) -> str:
    if not difference.causes:
        return "No difference: both count the same at every op."
    rows = [
        (cause.name, _signed(cause.flops), grouped(len(cause.places)), _where(cause, ops))
        for cause in difference.causes
    ]  # fmt: skip
    rows.append(("sum", _signed(sum(cause.flops for cause in difference.causes)), "", ""))
    return table(_CAUSES, rows, width=width, colour=colour)


def _where(cause: Cause, limit: int) -> str:
    places = [(fit(safe(place.module or place.op), _WIDTH), place.flops) for place in cause.places]
    return listed((f"{name} {_signed(flops)}" for name, flops in places), limit)


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "0"


_OVERVIEW = [
    Column("Convention"), Column("FLOPs", right=True), Column("of MACs", right=True, spare=1),
    Column("Parameters", right=True, spare=2), Column("Tool", prose=True, spare=3),
    Column("What it counts", prose=True),
]  # fmt: skip


def overview(report: Report, width: int | None = None, colour: bool = False) -> str:
    """What every convention counts, in one table."""
    rows = []
    for name, convention in CONVENTIONS.items():
        counted = count(report, name)
        part = share(counted.flops, report.macs) if 0 <= counted.flops <= report.macs else _times(counted.flops, report)
        rows.append((name, grouped(counted.flops), part, grouped(counted.params), convention.tool, convention.unit))
    return table(_OVERVIEW, rows, width=width, colour=colour)


def _times(flops: int, report: Report) -> str:
    return f"x {flops / report.macs:.2f}" if report.macs else "-"
