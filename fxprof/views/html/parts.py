"""What a page is made of, as plain data. A caller fills these in; the scripts of static/ draw them.

Texts are plain text, whatever they contain: nothing is read as markup. Numbers are exact; the page shortens
them where there is little room and shows every digit elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fxprof.errors import InputError
from fxprof.views.text import safe

Value: TypeAlias = str | int | float | None

# How the values of a column are shown: "text" and "source" (a file and line, its folders in the tooltip) on the left,
# the others on the right. "count" in groups of three digits, "delta" the same with a sign, "ratio" with two decimals,
# "share" as a percentage of ``whole``, "figure" as the text it comes in, sorted by the number that this begins with.
Kind = Literal["text", "source", "count", "delta", "ratio", "share", "figure"]
Unit = Literal["count", "bytes", "ratio"]

# Beyond this a browser's number is no longer exact, so that the digits travel as text.
_EXACT = 2**53 - 1


@dataclass(frozen=True)
class Column:
    """A column of a table: one value per row, None where there is none (shown as ``?``).

    ``added`` columns have a sum below the table, of the rows in view. ``note`` explains the heading.
    """

    title: str
    values: Sequence[Value]
    kind: Kind = "text"
    note: str = ""
    whole: int = 0
    added: bool = False


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column, filters by words and stays quick with 100,000 rows.

    ``depths`` makes it a tree by its first column, parents first, opened down to ``opened``. ``paths`` names the
    module of each row: the filter reads it, and a chart that the reader zooms into a module narrows the table to it.
    Raises InputError where columns differ in length.
    """

    title: str
    columns: Sequence[Column]
    note: str = ""
    depths: Sequence[int] = ()
    paths: Sequence[str] = ()
    opened: int = 1

    kind = "table"

    def __post_init__(self) -> None:
        lengths = {len(column.values) for column in self.columns}
        lengths |= {len(each) for each in (self.depths, self.paths) if each}
        if len(lengths) != 1:
            raise InputError(f"the columns of a table must be equally long, got {sorted(lengths)} in {self.title!r}")

    def data(self) -> dict[str, Any]:
        """What the page's script needs."""
        seen: dict[int, int] = {}
        columns = []
        for index, column in enumerate(self.columns):
            said = {"title": column.title, "kind": column.kind, "whole": exact(column.whole), "added": column.added}
            # Two columns of the same values (a number and its share) travel once.
            first = seen.setdefault(id(column.values), index)
            columns.append({**said, "same": first} if first != index else {**said, **_encoded(column.values)})
        return {
            "columns": columns, "depths": list(self.depths), "paths": _encoded(self.paths), "opened": self.opened,
        }  # fmt: skip


@dataclass(frozen=True)
class Tabs:
    """Several tables in one place, one in view."""

    title: str
    tables: Sequence[Table]
    note: str = ""

    kind = "tabs"


@dataclass(frozen=True)
class Axis:
    """An axis of a chart; a logarithmic one leaves out what is not above zero."""

    title: str
    unit: Unit = "count"
    log: bool = False


@dataclass(frozen=True)
class Series:
    """Points of a chart, with what to say about each and how large to draw it."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    paths: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Lines or points over two axes; the arrow keys walk from point to point.

    ``mark`` asks the reader for an x by this name, and says how much of the sum of all y, whole numbers, lies left of
    it.
    """

    title: str
    series: Sequence[Series]
    x: Axis
    y: Axis
    lines: bool = True
    note: str = ""
    mark: str = ""

    kind = "chart"

    def data(self) -> dict[str, Any]:
        """What the page's script needs."""
        series = [
            {
                "name": safe(each.name),
                "x": [exact(x) for x, _ in each.points],
                "y": [exact(y) for _, y in each.points],
                "labels": _encoded(each.labels),
                "paths": _encoded(each.paths),
            }
            for each in self.series
        ]
        axes = {name: {"title": a.title, "unit": a.unit, "log": a.log} for name, a in (("x", self.x), ("y", self.y))}
        return {"series": series, **axes, "lines": self.lines}


@dataclass(frozen=True)
class Measure:
    """One thing an icicle can show: a value per node, the node's whole subtree included."""

    title: str
    values: Sequence[int]
    unit: Unit = "count"
    of: str = ""  # the unit in words


@dataclass(frozen=True)
class Icicle:
    """A tree as stacked bars: width is the value, a child lies below its parent; nodes come parents first.

    ``shade`` darkens a node, ``shading`` says what the darkness means.
    """

    title: str
    names: Sequence[str]
    types: Sequence[str]
    paths: Sequence[str]
    depths: Sequence[int]
    measures: Sequence[Measure]
    shade: Sequence[float]
    shading: str = ""
    note: str = ""

    kind = "icicle"

    def data(self) -> dict[str, Any]:
        """What the page's script needs."""
        measures = [
            {"title": m.title, "unit": m.unit, "of": m.of, "values": list(map(exact, m.values))} for m in self.measures
        ]
        return {
            "names": _encoded(self.names), "types": _encoded(self.types), "paths": _encoded(self.paths),
            "depths": list(self.depths), "measures": measures, "shade": list(self.shade), "shading": self.shading,
        }  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A number with its name: shortened and large where it leads, always with every digit."""

    title: str
    value: int | float
    unit: Unit = "count"
    of: str = ""  # the unit in words: "multiply-accumulates"
    leads: bool = False


@dataclass(frozen=True)
class Figures:
    """Numbers that stand for the whole."""

    title: str
    figures: Sequence[Figure]
    note: str = ""

    kind = "figures"


@dataclass(frozen=True)
class Notes:
    """Sentences. ``warns`` sets them apart."""

    title: str
    lines: Sequence[str]
    warns: bool = False
    note: str = ""

    kind = "notes"


Part: TypeAlias = Figures | Notes | Table | Tabs | Chart | Icicle


def exact(value: Value) -> Value:
    """A number that a browser reads without loss; a text safe to show."""
    if isinstance(value, str):
        return safe(value)
    return str(value) if isinstance(value, int) and abs(value) > _EXACT else value


def _encoded(values: Sequence[Value]) -> dict[str, Any]:
    """Texts that repeat travel once, and their places after them."""
    if not values or not all(isinstance(value, str) for value in values):
        return {"values": list(map(exact, values))}
    places: dict[Value, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    if len(places) * 2 > len(values):
        return {"values": list(map(exact, values))}
    return {"words": list(map(exact, places)), "codes": codes}
