"""The difference between two conventions, split into causes that add up to it exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fxprof.conventions import check_forward, find, fitting
from fxprof.report import Report
from fxprof.shown import Shown


@dataclass(frozen=True)
class Place:
    """An op (or a call of a module without ops) and its part of a difference."""

    op: str
    module: str
    flops: int


@dataclass(frozen=True)
class Cause:
    """One reason why two numbers differ, and how much of it each op is, the largest first."""

    name: str
    flops: int
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Difference(Shown):
    """Why ``other`` prints ``other_flops`` where ``base`` prints ``base_flops``.

    ``sum(cause.flops for cause in causes) == other_flops - base_flops``.
    """

    base: str
    base_flops: int
    other: str
    other_flops: int
    causes: tuple[Cause, ...]

    @property
    def flops(self) -> int:
        """How much more ``other`` counts."""
        return self.other_flops - self.base_flops

    def __str__(self) -> str:
        from fxprof.views.explain import render

        return render(self)


def explain(report: Report, other: str, base: str = "macs") -> Difference:
    """Split what ``other`` counts beyond ``base`` into causes, the largest first."""
    check_forward(report)
    first, second = find(base), find(other)
    causes: dict[str, dict[str, int]] = {}
    totals = [0, 0]
    for side, sign, convention in ((0, -1, first), (1, 1, second)):
        with fitting(report):
            items = list(convention.items(report))
        for item in items:
            totals[side] += item.flops
            by_op = causes.setdefault(item.cause, {})
            by_op[item.op] = by_op.get(item.op, 0) + sign * item.flops
    modules = {op.name: op.module for op in report.ops}
    found = [_cause(name, by_op, modules) for name, by_op in causes.items()]
    ordered = sorted((cause for cause in found if cause.places), key=lambda cause: -abs(cause.flops))
    return Difference(first.name, totals[0], second.name, totals[1], tuple(ordered))


def _cause(name: str, by_op: Mapping[str, int], modules: Mapping[str, str]) -> Cause:
    places = [Place(op, modules.get(op, op), flops) for op, flops in by_op.items() if flops]
    return Cause(name, sum(by_op.values()), tuple(sorted(places, key=lambda place: -abs(place.flops))))
