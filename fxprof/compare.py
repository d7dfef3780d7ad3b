"""Reports side by side: their totals, and the modules that differ, matched by path.

At a depth, each model falls into disjoint parts: the modules at that depth with all below them, and what those
above run and register themselves. So the differences of the parts add up to those of the totals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fxprof.errors import InputError
from fxprof.measures import MEASURES, TOTALS
from fxprof.report import ModuleProfile, Report

# A listing without a depth goes as deep as it still fits about a screen.
SCREEN = 40


@dataclass(frozen=True)
class Part:
    """One module's values in each report; None where a report has no such module.

    ``own`` says that the modules below it are parts of their own.
    """

    path: str
    types: tuple[str | None, ...]
    own: bool
    values: Mapping[str, tuple[int | None, ...]]

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """The measures that are not the same in every report; where a module is missing it has none of it."""
        return tuple(name for name, values in self.values.items() if len({value or 0 for value in values}) > 1)


@dataclass(frozen=True)
class Comparison:
    """Two or more reports, each under a label of its own."""

    labels: tuple[str, ...]
    reports: tuple[Report, ...]

    def __post_init__(self) -> None:
        if len(self.reports) < 2 or len(self.labels) != len(self.reports):
            raise InputError(f"a comparison takes two or more reports, each with a label, got {len(self.reports)}")

    def totals(self) -> dict[str, tuple[int | float, ...]]:
        """Every total, by the name that the report has for it."""
        return {name: tuple(getattr(report, name) for report in self.reports) for name in TOTALS}

    def parts(self, depth: int | None = None, measures: Sequence[str] = tuple(MEASURES)) -> list[Part]:
        """The parts that differ in one of the measures, as they run; without a depth, as deep as fits a screen."""
        if depth is not None:
            return [part for part in self._parts(depth, measures) if part.differing]
        found = self.parts(1, measures)
        for deeper in range(2, self.full_depth + 1):
            parts = self.parts(deeper, measures)
            if sum(len(part.differing) for part in parts) > SCREEN:
                break
            found = parts
        return found

    @cached_property
    def full_depth(self) -> int:
        """The depth of the deepest module of any report."""
        return max(level for walked in self._modules for level, _ in walked.values())

    @cached_property
    def _modules(self) -> list[dict[str, tuple[int, ModuleProfile]]]:
        return [{module.path: (level, module) for level, module in report.walk()} for report in self.reports]

    def _parts(self, depth: int, measures: Sequence[str]) -> Iterator[Part]:
        for path in merged([list(walked) for walked in self._modules]):
            found = [walked.get(path) for walked in self._modules]
            level = path.count(".") + 1 if path else 0
            if level > depth:
                continue
            modules = [entry[1] if entry else None for entry in found]
            of = {name: MEASURES[name].whole if level == depth else MEASURES[name].own for name in measures}
            yield Part(
                path,
                tuple(module.type if module else None for module in modules),
                level < depth and any(module is not None and module.children for module in modules),
                {name: tuple(size(module) if module else None for module in modules) for name, size in of.items()},
            )


def merged(orders: Sequence[Sequence[str]]) -> list[str]:
    """One order of all names: the first order, with what others add put behind what comes before it there.

    >>> merged([["a", "c"], ["a", "b", "c", "d"]])
    ['a', 'b', 'c', 'd']
    """
    whole = list(orders[0])
    for order in orders[1:]:
        known = set(whole)
        behind: dict[str | None, list[str]] = {}
        before = None
        for name in order:
            if name in known:
                before = name
            else:
                behind.setdefault(before, []).append(name)
        whole = [*behind.get(None, ()), *(entry for name in whole for entry in (name, *behind.get(name, ())))]
    return whole


def largest(parts: Sequence[Part], top: int) -> tuple[list[Part], list[Part]]:
    """The parts with the largest differences, measured against the largest of each measure; and the rest."""
    most: dict[str, int] = {}
    for part in parts:
        for name in part.values:
            most[name] = max(most.get(name, 1), _spread(part, name))
    ordered = sorted(parts, key=lambda part: -max(_spread(part, name) / most[name] for name in most))
    chosen = {part.path for part in ordered[:top]}
    return [part for part in parts if part.path in chosen], [part for part in parts if part.path not in chosen]


def _spread(part: Part, name: str) -> int:
    values = [value or 0 for value in part.values[name]]
    return max(values) - min(values)


def labels(*choices: Sequence[str]) -> tuple[str, ...]:
    """What to call each report: the first choice of names that tells them apart, or else the last one, numbered.

    >>> labels(["resnet18", "resnet50"], ["resnet18", "r50.json"]), labels(["net", "net"], ["old.json", "old.json"])
    (('resnet18', 'resnet50'), ('old.json', 'old.json (2)'))
    """
    chosen = next((names for names in choices if len(set(names)) == len(names)), choices[-1])
    seen: dict[str, int] = {}
    found = []
    for name in chosen:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)
