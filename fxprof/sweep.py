"""Totals over a grid of sizes, and how fast they grow along each of its dimensions."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from typing import Any

from fxprof.errors import InputError
from fxprof.measures import TOTALS
from fxprof.report import Report

MOST = 10_000  # values of a range
_RANGE = re.compile(r"(\d+):(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Point:
    """One place of the grid: its coordinates, and what was counted there or why nothing was."""

    at: Mapping[str, Any]
    totals: Mapping[str, int | float]
    inputs: tuple[str, ...] = ()
    exact: bool = True
    error: str = ""

    @classmethod
    def of(cls, at: Mapping[str, Any], report: Report) -> Point:
        """The totals of a report."""
        totals = {name: getattr(report, name) for name in TOTALS}
        return cls(at, totals, tuple(f"{entry.name} {entry.spec}" for entry in report.inputs), report.exact)

    @property
    def place(self) -> str:
        """The coordinates in words."""
        return " ".join(f"{name}={value}" for name, value in self.at.items())


@dataclass(frozen=True)
class Sweep:
    """The points of a grid, in the order of its dimensions, the last one fastest."""

    model: str
    dimensions: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def counted(self) -> list[Point]:
        """The points that could be counted."""
        return [point for point in self.points if not point.error]

    def growth(self, dimension: str, total: str) -> float | None:
        """The exponent p of the best fit ``total ~ dimension^p``, the other dimensions held; None without one.

        Least squares over the logarithms of the points, with a factor of its own for each choice of the others.
        There is none where the dimension has fewer than two positive numbers, or the total is not always positive.
        """
        groups: dict[Any, list[tuple[float, float]]] = {}
        for point in self.counted:
            x, y = point.at[dimension], point.totals[total]
            if not isinstance(x, (int, float)) or isinstance(x, bool) or x <= 0 or y <= 0:
                return None
            others = tuple(repr(value) for name, value in point.at.items() if name != dimension)
            groups.setdefault(others, []).append((log(x), log(y)))
        along = spread = 0.0
        for group in groups.values():
            middle = [sum(values) / len(group) for values in zip(*group)]
            along += sum((x - middle[0]) * (y - middle[1]) for x, y in group)
            spread += sum((x - middle[0]) ** 2 for x, _ in group)
        return along / spread if spread > 1e-12 else None


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


def values(text: str) -> list[Any]:
    """Read ``1,2,4``, ``128:256:32`` (both ends included), or a mixture, also of other plain values.

    >>> values("1,2,4"), values("128:256:64,512"), values("gelu,0.5,None")
    ([1, 2, 4], [128, 192, 256, 512], ['gelu', 0.5, None])

    Raises InputError where a range does not lead from its start to its end.
    """
    found: list[Any] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        found += _range(part, *match.groups(default="1")) if match else [plain(part.strip())]
    return list({repr(value): value for value in found}.values())


def _range(text: str, first: str, last: str, step: str) -> list[int]:
    start, end, by = int(first), int(last), int(step)
    if by == 0 or end < start:
        raise InputError(f"a range must be START:END:STEP with START <= END and a STEP of 1 or more, got {text!r}")
    found = range(start, end + 1, by)
    if len(found) > MOST:
        raise InputError(f"a range must have at most {MOST:,} values, got {text!r}")
    return list(found)


def plain(text: str) -> Any:
    """Read a number, True, False or None; anything else is text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if value is None or isinstance(value, (int, float, str)) else text


def sizes(text: str) -> list[int]:
    """Read values that must be whole numbers, 1 or more. Raises InputError on others."""
    found = values(text)
    for value in found:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"sizes must be whole numbers, 1 or more, such as 1,2,4 or 128:256:32, got {text!r}")
    return found
