"""Listings as data: CSV and pandas, with the same columns and every digit."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError
from fxprof.garbage import no_garbage_collection
from fxprof.report import Report
from fxprof.views.rows import SUMMED, Row, full_depth, rows
from fxprof.views.text import safe

if TYPE_CHECKING:
    import pandas

_LABELS = {
    "module": ("module", "depth", "type"),
    "type": ("type", "modules"),
    "op": ("op", "calls"),
    "node": ("node", "op", "module"),
}
# A spreadsheet set to Japanese or Chinese takes the wide ones alike.
_FORMULA = tuple("=+-@＝＋－＠")
_NEEDS_A_RULE = ("macs", "flops")


@no_garbage_collection()
def frame(
    report: Report, *, by: str = "module", depth: int | None = None, top: int | None = None, sort: str | None = None
) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows of a listing; options as ``rows``, but the module tree is open to its full depth.

    None stands for the MACs and FLOPs of an op without a rule. In the module tree a row holds everything
    below it: the rows at one ``depth`` right below another row add up to that one.
    """
    if by == "module" and depth is None and top is None:
        depth = full_depth(report)
    found = rows(report, by=by, depth=depth, top=top, sort=sort)
    return [*_LABELS.get(by, ()), *SUMMED, "output", "source"], [_values(row, by) for row in found]


def to_csv(report: Report, **options: Any) -> str:
    """Render ``frame`` as CSV; no cell is a formula to a spreadsheet."""
    titles, values = frame(report, **options)
    return csv_text(titles, values)


def to_pandas(report: Report, **options: Any) -> pandas.DataFrame:
    """Put ``frame`` into a DataFrame; whole numbers stay whole, also where one is missing."""
    try:
        pd = importlib.import_module("pandas")
    except ImportError as err:
        raise InputError(f"to_pandas needs pandas, which cannot be imported ({err}): pip install pandas") from err
    titles, values = frame(report, **options)
    made: pandas.DataFrame = pd.DataFrame(values, columns=titles)
    # Python's own integers where the column's sum needs more than 64 bits.
    return made.astype({name: "Int64" for name in SUMMED if sum(value or 0 for value in made[name]) < 1 << 63})


def csv_text(titles: Sequence[str], values: Iterable[Sequence[Any]]) -> str:
    """One line per row. Texts are guarded: a spreadsheet runs what begins with one of ``= + - @``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([guarded(value) if isinstance(value, str) else value for value in row] for row in values)
    return out.getvalue().removesuffix("\n")


def guarded(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula.

    >>> guarded("=HYPERLINK(1)"), guarded("layer1.0"), guarded(" +1"), guarded("＝1")
    ("'=HYPERLINK(1)", 'layer1.0', "' +1", "'＝1")
    """
    text = safe(text)
    return f"'{text}" if text.lstrip(" '").startswith(_FORMULA) else text


def _values(row: Row, by: str) -> list[Any]:
    numbers = [None if name in _NEEDS_A_RULE and not row.counted else getattr(row, name) for name in SUMMED]
    labels: list[Any] = list(row.labels)
    if by == "module":
        labels.insert(0, row.depth)
    elif by != "node":
        labels = [int(label) if label else None for label in labels]
    return [row.path, *labels, *numbers, row.output, row.source]
