"""Comparisons: parts matched by path add up to the totals, and only what differs is listed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fxprof.cli
from fxprof.compare import Comparison, labels, merged
from fxprof.errors import InputError
from fxprof.measures import MEASURES
from fxprof.report import Cost, Report
from fxprof.views import compare as view
from fxprof.views.pages import compare_page
from tests.commands import fails
from tests.strategies import hand_made, reports


def changed() -> Report:
    """The hand-made report, its second convolution twice as dear and its first block's activation gone."""
    report = hand_made()
    ops = [op for op in report.ops if op.name != "relu_0"]
    dear = next(op for op in ops if op.name == "conv2d_1")
    ops[ops.index(dear)] = replace(dear, cost=Cost(macs=2 * dear.macs, flops=2 * dear.flops))
    modules = tuple(info for info in report.modules if info.path != "body.0.act")
    return Report.from_dict(replace(report, ops=tuple(ops), modules=modules).to_dict())


def pair(before: Report, after: Report) -> Comparison:
    """Two reports, called before and after."""
    return Comparison(("before", "after"), (before, after))


def test_versions_of_fxprof_that_differ_are_told() -> None:
    """A baseline that another version counted may differ for that alone."""
    before, after = (replace(hand_made(), versions={"fxprof": version}) for version in ("0.1.0", "0.2.0"))
    said = "Counted by several versions of fxprof (before by 0.1.0, after by 0.2.0)"
    for form in (view.render, view.to_markdown, compare_page):
        assert said in form(pair(before, after))
        assert said not in form(pair(after, after))
        assert said not in form(pair(replace(before, versions={}), after))


@settings(max_examples=40)
@given(st.lists(reports(), min_size=2, max_size=3), st.integers(0, 4))
def test_parts_add_up_to_the_totals(some: list[Report], depth: int) -> None:
    """At any depth, the differences of the parts are those of the totals, whatever the models."""
    compared = Comparison(tuple(f"{index}" for index in range(len(some))), tuple(some))
    parts = compared.parts(depth)
    for name in MEASURES:
        first = getattr(some[0], name)
        for index, report in enumerate(some):
            difference = sum((part.values[name][index] or 0) - (part.values[name][0] or 0) for part in parts)
            assert difference == getattr(report, name) - first


@settings(max_examples=40)
@given(st.lists(reports(), min_size=2, max_size=2), st.integers(0, 3), st.integers(0, 3))
def test_cut_listings_keep_the_sums(some: list[Report], depth: int, top: int) -> None:
    """What ``top`` hides is in the last lines; each measure's lines add up to the difference of its total."""
    compared = pair(*some)
    lines = view.modules(compared, depth=depth, top=top)
    for name, measure in MEASURES.items():
        whole = getattr(some[1], name) - getattr(some[0], name)
        assert sum(line.difference for line in lines if line.title == measure.title) == whole


@settings(max_examples=40)
@given(reports(), st.integers(0, 3))
def test_the_same_report_has_no_parts(report: Report, depth: int) -> None:
    """A report compared with itself differs nowhere."""
    assert pair(report, Report.from_dict(report.to_dict())).parts(depth) == []


def test_what_changed(check_golden: Callable[[str, str], None], report: Report) -> None:
    """A layer that doubled and one that went are all there is, and the whole text is as it should be."""
    compared = pair(report, changed())
    found = {part.path: part.values["macs"] for part in compared.parts(3) if "macs" in part.differing}
    assert found == {"body.1.conv": (18432, 36864)}
    gone = next(part for part in compared.parts(3) if part.path == "body.0.act")
    assert gone.values["flops"] == (512, None) and gone.types == ("ReLU", None)
    check_golden("compare-table.txt", view.render(compared))
    check_golden("compare-markdown.txt", view.to_markdown(compared, changed=True))
    check_golden("compare.csv", view.to_csv(compared))


def test_nothing_changed(report: Report) -> None:
    """Two equal reports say so in every format."""
    same = pair(report, report)
    assert "No total differs.\n\nNo module differs." in view.to_markdown(same, changed=True)
    assert json.loads(view.to_json(same))["modules"] == []
    assert "No module differs." in view.render(same)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=3))
def test_orders_merge(orders: list[list[str]]) -> None:
    """Every name once, and the first order kept."""
    whole = merged(orders)
    assert sorted(whole) == sorted(set().union(*orders))
    assert [name for name in whole if name in orders[0]] == orders[0]


def test_labels_tell_apart() -> None:
    """Models of one name go by their files, and files of one name by their paths."""
    assert labels(["a", "b"], ["x.json", "y.json"]) == ("a", "b")
    assert labels(["a", "a"], ["x.json", "y.json"]) == ("x.json", "y.json")
    assert labels(["a", "a"], ["x.json", "x.json"], ["1/x.json", "2/x.json"]) == ("1/x.json", "2/x.json")


def test_one_report_is_no_comparison(report: Report) -> None:
    """A comparison needs two."""
    with pytest.raises(InputError, match="takes two or more reports, each with a label, got 1"):
        Comparison(("a",), (report,))


# -- the command -------------------------------------------------------------------------------


def test_two_models_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``compare resnet18 resnet50 -o x.html`` writes a page with both models' totals."""
    page = tmp_path / "x.html"
    assert fxprof.cli.main(["compare", "resnet18", "resnet50", "-o", str(page)]) == 0
    assert capsys.readouterr() == ("", "")
    text = page.read_text(encoding="utf-8")
    assert "1814073344" in text and "4089184256" in text and "resnet18 and resnet50" in text


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "html", "json"])
def test_every_format_has_the_numbers(saved: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Saved reports before and after a change, in every format."""
    Path("after.json").write_text(changed().to_json(), encoding="utf-8")
    assert fxprof.cli.main(["compare", "report.json", "after.json", "--format", form]) == 0
    out = capsys.readouterr().out
    out = out if form == "csv" else out.replace(",", "")
    assert "36864" in out and "55296" in out
    assert "report.json" in out and "after.json" in out


def test_csv_has_a_row_per_measure(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The totals first, then the modules; a missing module's cell is empty."""
    Path("after.json").write_text(changed().to_json(), encoding="utf-8")
    assert fxprof.cli.main(["compare", "report.json", "after.json", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    macs = [(row["module"], row["report.json"], row["after.json"]) for row in rows if row["measure"] == "MACs"]
    assert macs == [("", "36864", "55296"), ("body.1.conv", "18432", "36864")]
    assert [row["after.json"] for row in rows if row["module"] == "body.0.act"] == ["", ""]


def test_three_models(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More than two stand side by side, without a difference."""
    assert fxprof.cli.main(["compare", "report.json", "report.json", "report.json", "--metric", "macs"]) == 0
    out = capsys.readouterr().out
    assert "report.json (3)" in out and "Difference" not in out


def test_baseline(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``check --baseline`` prints only what changed, budgets or none."""
    Path("after.json").write_text(changed().to_json(), encoding="utf-8")
    assert fxprof.cli.main(["check", "after.json", "--baseline", "report.json", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "| MACs | 36,864 | 55,296 | +18,432 | +50.0 % |" in out
    assert "| Parameters |" not in out
    assert fxprof.cli.main(["check", "after.json", "--baseline", "report.json", "--max-macs", "50k"]) == 1
    assert "MACs: 5.30 k over the limit" in capsys.readouterr().out
    assert fxprof.cli.main(["check", "after.json", "--baseline", "report.json", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"]["totals"]["macs"] == [36864, 55296]


def test_wrong_use(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One model, or a choice that a format does not know, is refused."""
    assert "compare takes two or more models" in fails(capsys, "compare", "report.json")
    two = ("compare", "report.json", "report.json")
    assert "saved reports cannot be counted again" in fails(capsys, *two, "--input", "1,3")
    # Which of the two it is.
    err = fails(capsys, "compare", "report.json", "my_net:Net", "--input", "3,11")
    assert err.startswith("fxprof: my_net:Net: forward must run on the given inputs")
    assert "leave out --top" in fails(capsys, "compare", "report.json", "report.json", "--format", "json", "--top", "1")


def test_the_page_escapes_what_it_shows(report: Report) -> None:
    """A module's name is text in the page."""
    name = "</script><img src=x onerror=alert(1)>"
    hostile = replace(changed(), name=name)
    assert "<img" not in compare_page(Comparison((name, "b"), (hostile, report)))
