"""Tables at the width of a terminal: letters of two columns, narrow windows, long names as titles."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fxprof.budget import Budget, check
from fxprof.compare import Comparison, labels
from fxprof.report import Cost, ModuleInfo, Report
from fxprof.views import check as view
from fxprof.views import compare
from fxprof.views.explain import overview
from fxprof.views.grid import prose, table
from fxprof.views.listing import Column
from fxprof.views.table import render
from fxprof.views.text import wide
from tests.strategies import hand_made

EMPTY = Report("empty", (), (), (ModuleInfo("", "Identity", 1),))


def widest(text: str) -> int:
    """The columns that a terminal needs."""
    return max(map(wide, text.split("\n")))


def test_letters_of_two_columns_and_marks_of_none_keep_the_columns() -> None:
    """As a terminal shows it: 卷 takes two columns, the accent behind an e none."""
    columns = [Column("Name", name=True), Column("Type"), Column("Size", right=True)]
    cells = [["卷积层", "Conv", "12"], ["layer", "Conv", "3"], ["e\u0301", "Linear", "400"]]
    assert table(columns, cells).split("\n") == [
        "Name    Type      Size",
        "------  ------  ------",
        "卷积层  Conv        12",
        "layer   Conv         3",
        "e\u0301       Linear     400",
    ]


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("by", ["module", "node"])
def test_wide_names_are_shortened_to_what_is_shown(width: int, by: str) -> None:
    """A name of fifty letters takes a hundred columns."""
    names = [f"{'卷积' * 25}{index}" for index in range(3)]
    report = Report("模型" * 20, (), (), (ModuleInfo("", "层", 1), *(ModuleInfo(name, "层", 0) for name in names)))
    shown = render(report, by=by, width=width).split("\n", 2)[2]  # below the name of the model
    assert widest(shown) <= width
    assert all(wide(line) <= width for line in prose([f"Never reached: {', '.join(names)}."], width))


@pytest.mark.parametrize("by", ["module", "type", "op", "node"])
def test_a_listing_without_rows_fits_too(by: str) -> None:
    """A model that runs no op has a table of titles."""
    assert widest(render(EMPTY, by=by, width=60)) <= 60


@pytest.mark.parametrize("by", ["module", "op", "node"])
def test_forty_columns(by: str) -> None:
    """What is said of a total goes below it where there is no room beside it, and no number is cut."""
    text = render(hand_made(), by=by, width=40)
    assert widest(text) <= 40
    assert (
        "\nPeak memory" in text
        and "\n  weights, inputs and live op outputs at\n  the worst op of the forward\n" in text
    )


@pytest.mark.parametrize("width", [1, 2, 10])
def test_any_width_ends(width: int) -> None:
    """However little room there is, every letter is printed."""
    assert "".join(prose(["卷积 layer"], width)).replace(" ", "") == "卷积layer"
    assert "36,864" in render(hand_made(), width=width)


def test_a_budget_keeps_its_name() -> None:
    """What share of the limit is used can be spared, which budget it is cannot."""
    verdicts = check(hand_made(), [Budget("macs", 10**9, "body.*")])
    text = view.render(hand_made(), verdicts, width=50)
    assert widest(text.partition("\n\nAssumed")[0]) <= 50
    assert "\nMACs of body.0.conv " in text and "Left out to fit the width: of limit." in text


def test_prose_gives_way_to_numbers() -> None:
    """What each convention counts is broken into as little as there is room for."""
    many = replace(
        hand_made(), ops=tuple(replace(op, cost=op.cost and Cost(macs=10**11, flops=10**12)) for op in hand_made().ops)
    )
    assert widest(overview(many, 60)) <= 60


def test_long_labels_give_way_to_the_numbers() -> None:
    """The titles of a comparison are names, too; two that become alike stay apart, and numbers are whole."""
    names = [f"convnextv2_{size}.fcmae_ft_in22k_in1k" for size in ("nano", "tiny", "base")]
    reports = tuple(replace(hand_made(), name=name) for name in names)
    compared = Comparison(labels(names, names, names), reports)
    text = compare.render(compared, width=60)
    assert widest(text) <= 60
    titles = next(line for line in text.split("\n") if line.startswith("Total"))
    assert len({title for title in re.split("  +", titles) if "…" in title}) == 3
    assert all(f"{name}: " in text for name in names), "in full above"
    assert "…" not in compare.render(compared), "nothing is shortened without a width"
