"""Why two conventions differ, and what every convention counts, as text."""

from __future__ import annotations

from tabulate import tabulate

from fxprof.conventions import CONVENTIONS, count, find
from fxprof.conventions.difference import Cause, Difference
from fxprof.report import Report
from fxprof.units import grouped, share, short
from fxprof.views.text import fit, listed, safe

_WIDTH = 44  # of a module's path, shortened in the middle


def render(difference: Difference, ops: int = 2) -> str:
    """The two numbers, then the causes with the ``ops`` largest places of each; the causes add up."""
    base, other = find(difference.base), find(difference.other)
    numbers = [
        (other.name, grouped(difference.other_flops), short(difference.other_flops), f"{other.tool}: {other.unit}"),
        (base.name, grouped(difference.base_flops), short(difference.base_flops), f"{base.tool}: {base.unit}"),
        ("difference", _signed(difference.flops), "", ""),
    ]
    head = tabulate(numbers, tablefmt="plain", disable_numparse=True, colalign=("left", "right", "right", "left"))
    notes = [f"{side.name} does not see {missed}." for side in (other, base) for missed in side.misses]
    notes += [f"{side.name} here: {limit}." for side in (other, base) for limit in side.limits]
    return "\n".join([head, "", _causes(difference, ops), *(["", *notes] if notes else [])])


def _causes(difference: Difference, ops: int) -> str:
    if not difference.causes:
        return "No difference: both count the same at every op."
    rows = [
        (cause.name, _signed(cause.flops), grouped(len(cause.places)), _where(cause, ops))
        for cause in difference.causes
    ]  # fmt: skip
    rows.append(("sum", _signed(sum(cause.flops for cause in difference.causes)), "", ""))
    align = ("left", "right", "right", "left")
    return tabulate(
        rows, ("Cause", "FLOPs", "Ops", "Largest"), tablefmt="simple", disable_numparse=True, colalign=align
    )


def _where(cause: Cause, limit: int) -> str:
    places = [(fit(safe(place.module or place.op), _WIDTH), place.flops) for place in cause.places]
    return listed((f"{name} {_signed(flops)}" for name, flops in places), limit)


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "0"


def overview(report: Report) -> str:
    """What every convention counts, in one table."""
    rows = []
    for name, convention in CONVENTIONS.items():
        counted = count(report, name)
        part = share(counted.flops, report.macs) if 0 <= counted.flops <= report.macs else _times(counted.flops, report)
        rows.append((name, grouped(counted.flops), part, grouped(counted.params), convention.tool, convention.unit))
    headers = ("Convention", "FLOPs", "of MACs", "Parameters", "Tool", "What it counts")
    align = ("left", "right", "right", "right", "left", "left")
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)


def _times(flops: int, report: Report) -> str:
    return f"x {flops / report.macs:.2f}" if report.macs else "-"
