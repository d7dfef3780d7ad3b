"""The table: on reports that went through JSON, every listing adds up to the totals."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof.errors import InputError
from fxprof.report import ModuleInfo, Report
from fxprof.views.rows import BY, SCREEN, SORT, Row, full_depth, rows
from fxprof.views.table import render
from tests.strategies import reports

Totals = tuple[int, int, int, int]
COLUMNS = ("Parameters", "MACs", "FLOPs", "Activations")
LISTINGS = [
    {"by": by, "depth": depth, "top": top, "sort": sort}
    for by, depth, top, sort in itertools.product(BY, (None, 0, 1, 2, 9), (None, 0, 1, 3), (None, *SORT))
    if depth is None or by in ("module", "type")
]


def totals(report: Report) -> Totals:
    """What the columns must add up to."""
    return report.params, report.macs, report.flops, report.activations


def added(some: list[Row]) -> Totals:
    """The columns' sums."""
    return (
        sum(row.params for row in some), sum(row.macs for row in some),
        sum(row.flops for row in some), sum(row.activations for row in some),
    )  # fmt: skip


def printed(text: str, columns: Sequence[str] = COLUMNS) -> list[tuple[int, Totals]]:
    """Read the listing back: depth and the numbers of each row in these columns."""
    lines = text.split("\n")
    top = next(i for i, line in enumerate(lines) if line.startswith("---"))
    header, rule = lines[top - 1], lines[top]
    spans = [match.span() for match in re.finditer("-+", rule)]
    at = [next(span for span in spans if header[slice(*span)].strip() == name) for name in columns]
    found = []
    for line in lines[top + 1 : lines.index("", top)]:
        numbers = [int(line[slice(*span)].replace(",", "").replace("?", "0")) for span in at]
        found.append((re.match("(?:· )*", line).end() // 2, tuple(numbers)))  # type: ignore[union-attr]
    return found  # type: ignore[return-value]


def check_tree(entries: list[tuple[int, Totals]], whole: Totals) -> None:
    """The first row is the total, and the rows right below any row add up to it."""
    assert entries[0] == (0, whole)
    for i, (depth, numbers) in enumerate(entries):
        end = next((j for j, entry in enumerate(entries) if j > i and entry[0] <= depth), len(entries))
        children = [entry[1] for entry in entries[i + 1 : end] if entry[0] == depth + 1]
        assert not children or tuple(map(sum, zip(*children))) == numbers


@pytest.mark.parametrize("options", LISTINGS, ids=lambda o: "-".join(f"{v}" for v in o.values()))
def test_printed_columns_sum_to_the_totals(report: Report, options: dict) -> None:
    """Whatever the listing, depth, order and cut, the printed numbers add up."""
    entries = printed(render(report, **options))
    if options["by"] == "module" and options["top"] is None:
        check_tree(entries, totals(report))
    else:
        assert tuple(map(sum, zip(*(numbers for _, numbers in entries)))) == totals(report)


@given(reports(), st.sampled_from(LISTINGS))
def test_rows_sum_to_the_totals(report: Report, options: dict) -> None:
    """The same for any report at all."""
    found = rows(report, **options)
    if options["by"] == "module" and options["top"] is None:
        check_tree([(row.depth, added([row])) for row in found], totals(report))
    else:
        assert added(found) == totals(report)


@given(reports(), st.sampled_from(LISTINGS))
def test_a_table_is_one_line_per_row(report: Report, options: dict) -> None:
    """No name, however hostile, adds a line to the listing or escapes to the terminal."""
    text = render(report, **options)
    rule = next(i for i, line in enumerate(text.split("\n")) if line.startswith("---"))
    assert text.split("\n").index("", rule) - rule - 1 == len(rows(report, **options))
    assert all(line.isprintable() for line in text.split("\n"))


@given(reports(), st.integers(0, 5))
def test_top_keeps_the_largest(report: Report, top: int) -> None:
    """The rows kept by ``top`` are those a full sorted listing starts with."""
    every = rows(report, by="node", sort="flops")
    assert rows(report, by="node", sort="flops", top=top)[:top] == every[:top]


@pytest.mark.parametrize("sort", SORT)
def test_sorting_orders_siblings(report: Report, sort: str) -> None:
    """Sorting moves rows, never changes them."""
    plain, ordered = rows(report, depth=9), rows(report, depth=9, sort=sort)
    assert sorted(map(repr, plain)) == sorted(map(repr, ordered))
    if sort not in ("order", "name"):
        values = [getattr(row, sort) for row in ordered if row.depth == 1]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("by", BY)
def test_golden(report: Report, check_golden: Callable[[str, str], None], by: str) -> None:
    """The whole text of each listing of the hand-made report."""
    check_golden(f"{by}.txt", render(report, by=by))


def test_golden_top(report: Report, check_golden: Callable[[str, str], None]) -> None:
    """A cut listing sums what it hides."""
    check_golden("module-top.txt", render(report, top=2))


def test_json_golden(report: Report, check_golden: Callable[[str, str], None]) -> None:
    """The saved form; a change here needs a new format number."""
    check_golden("report.json", report.to_json(indent=2))


def test_exact_report_says_so(report: Report) -> None:
    """Without gaps and assumptions, the notes say that every number is exact."""
    ops = tuple(op for op in report.ops if op.cost is not None)
    exact = Report(report.name, report.inputs, ops, report.modules)
    assert "Exact: every op is counted and no size was assumed." in render(exact)
    assert "Exact" not in render(report)


def test_gaps_are_named(report: Report) -> None:
    """The notes name what is uncounted, assumed, unreached and unread."""
    text = render(report)
    assert "Uncounted: stft, 1 call, first in the model itself, 32 elements written; not in the MACs" in text
    assert "Assumed number of kept boxes: 1000 (nonzero in body.1, net.py:12, 2 calls)." in text
    assert "Never reached by the forward: head." in text
    assert "Never read by the forward: 40 parameters." in text


def test_an_uncounted_op_is_not_a_zero(report: Report) -> None:
    """Where there is no rule, the table prints a question mark."""
    line = next(line for line in render(report, by="op").split("\n") if line.startswith("stft"))
    assert line.split() == ["stft", "1", "0", "?", "?", "32", "-"]


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_narrow_table_shortens_names_only(report: Report, by: str, width: int) -> None:
    """What there is no room for goes as whole columns, by name; no number is cut."""
    text = render(report, by=by, width=width)
    gone = re.findall(r"Left out to fit the width: ([^.]+)\.", " ".join(text.split()))
    names = gone[0].split(", ") if gone else []
    columns = [name for name in COLUMNS if name not in names]
    assert printed(text, columns) == printed(render(report, by=by), columns)
    assert "Parameters" in columns and "MACs" in columns
    assert width < 60 or all(len(line) <= width for line in text.split("\n"))


def test_a_wide_tree_opens_only_as_far_as_a_screen() -> None:
    """Without --depth, fifty blocks stay folded, and the last line says how to open them."""
    blocks = [ModuleInfo(f"block{i}.{j}".removesuffix(".-"), "Block", 1) for i in range(50) for j in "-ab"]
    report = Report("wide", (), (), (ModuleInfo("", "Wide", 1), *blocks))
    assert len(rows(report)) == 51 > SCREEN
    assert render(report).endswith("Modules down to depth 1 of 2; --depth 2 shows all.")
    assert len(rows(report, depth=full_depth(report))) == 151
    assert "--depth" not in render(report, depth=2)


def test_no_process_wide_settings(report: Report) -> None:
    """Rendering leaves tabulate as it was."""
    import tabulate

    before = {name: value for name, value in vars(tabulate).items() if name.isupper()}
    render(report)
    assert {name: value for name, value in vars(tabulate).items() if name.isupper()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "layer"}, "by must be one of module, type, op, node, got 'layer'"),
        ({"sort": "size"}, "sort must be one of order, macs, .*, got 'size'"),
        ({"by": "op", "depth": 1}, "depth goes with by='module' or by='type', got by='op'"),
        ({"depth": -1}, "depth must be a whole number, 0 or more, got -1"),
        ({"depth": 1.5}, "depth must be a whole number, 0 or more, got 1.5"),
        ({"top": -2}, "top must be a whole number, 0 or more, got -2"),
        ({"top": "3"}, "top must be a whole number, 0 or more, got '3'"),
    ],
)
def test_wrong_options(report: Report, options: dict, message: str) -> None:
    """A wrong option is refused by name, with what it may be."""
    with pytest.raises(InputError, match=message):
        render(report, **options)
