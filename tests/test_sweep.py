"""Sweeps: the grid, the inputs at each point, the orders of growth, and every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fxprof.cli
from fxprof.errors import InputError
from fxprof.measures import TOTALS
from fxprof.report import Report, TensorSpec
from fxprof.resize import resized
from fxprof.sweep import Point, Sweep, grid, sizes, values
from fxprof.views import sweep as view
from fxprof.views.pages import sweep_page
from tests.commands import fails


def made(report: Report, macs: dict[tuple[int, int], int]) -> Sweep:
    """A sweep over (batch, size) with these MACs, everything else from the report."""
    points = [
        Point({"batch": b, "size": s}, {**Point.of({}, report).totals, "macs": count}, ("x 1",))
        for (b, s), count in macs.items()
    ]
    return Sweep("net", ("batch", "size"), tuple(points))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,2,4", [1, 2, 4]),
        ("128:256:32", [128, 160, 192, 224, 256]),
        ("3:5", [3, 4, 5]),
        ("7", [7]),
        ("1:2,2,8", [1, 2, 8]),
        ("True,None,x y,1.5", [True, None, "x y", 1.5]),
        ("1,True", [1, True]),
    ],
)
def test_values(text: str, found: list[object]) -> None:
    """Lists, ranges with both ends, and plain values; each once."""
    assert list(map(repr, values(text))) == list(map(repr, found))


@pytest.mark.parametrize("text", ["", "a", "0", "1.5", "-2", "True", "8:4", "1:8:0", "1:99999999"])
def test_what_is_no_size(text: str) -> None:
    """A size is a whole number of 1 or more, a range leads upward."""
    with pytest.raises(InputError, match=r"sizes must be whole numbers|a range must"):
        sizes(text)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True)))
def test_the_grid_has_every_combination_once(axes: dict[str, list[int]]) -> None:
    """As many points as the product of the axes, no two alike."""
    points = grid(axes)
    assert len({tuple(point.values()) for point in points}) == len(points)
    assert all(point[name] in axes[name] for point in points for name in axes)
    assert {name: sorted({point[name] for point in points}) for name in axes} == {k: sorted(v) for k, v in axes.items()}


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 1000))
def test_a_power_is_found(power: int, other: int, factor: int) -> None:
    """Where a total is a product of powers, the exponents are those."""
    points = [
        Point({"a": a, "b": b}, dict.fromkeys(TOTALS, factor * a**power * b**other)) for a in (1, 2, 6) for b in (3, 5)
    ]
    sweep = Sweep("net", ("a", "b"), tuple(points))
    assert sweep.growth("a", "macs") == pytest.approx(power)
    assert sweep.growth("b", "macs") == pytest.approx(other)


def test_where_there_is_no_growth() -> None:
    """One value, values that are no numbers, or a total of zero have no exponent."""
    nothing = dict.fromkeys(TOTALS, 0)
    some = dict.fromkeys(TOTALS, 5)
    assert Sweep("n", ("a",), (Point({"a": 1}, some),)).growth("a", "macs") is None
    assert Sweep("n", ("a",), (Point({"a": "x"}, some), Point({"a": "y"}, some))).growth("a", "macs") is None
    assert Sweep("n", ("a",), (Point({"a": 1}, nothing), Point({"a": 2}, some))).growth("a", "macs") is None


def test_what_grows_with_next_to_no_power_is_not_said_to_grow() -> None:
    """A power that would print as 0.00 is no growth to speak of, and no independence either."""
    some = dict.fromkeys(TOTALS, 10**6)
    points = [Point({"n": n}, {**some, "params": 10**6 + n, "macs": n}) for n in (10, 20)]
    assert list(view.growth(Sweep("net", ("n",), tuple(points)))) == [
        "MACs grow with n^1.00.",
        "Hardly any dependence on n: Parameters.",
        "No dependence on n: FLOPs, Activations, Peak memory.",
    ]


# -- inputs ------------------------------------------------------------------------------------


def test_images() -> None:
    """Batch and size of images, as a tensor and in a list."""
    spec, clip = TensorSpec((1, 3, 224, 224)), TensorSpec((1, 3, 16, 112, 112), "float16")
    assert resized((spec, spec), {}, {"size": 64, "batch": 2}) == ((TensorSpec((2, 3, 64, 64)),) * 2, {})
    assert resized((clip,), {}, {"size": 64})[0] == (TensorSpec((1, 3, 16, 64, 64), "float16"),)
    assert resized(([TensorSpec((3, 8, 9))],), {}, {"size": 4, "batch": 3})[0] == ([TensorSpec((3, 4, 4))] * 3,)


def test_sequences() -> None:
    """Length and batch of ids, masks and what else shares them; other tensors and values stay."""
    ids, mask = torch.arange(6).reshape(1, 6), torch.ones(1, 6, dtype=torch.bool)
    image = TensorSpec((1, 3, 8, 8))
    _, found = resized((), {"ids": ids, "mask": mask, "image": image, "scale": 2}, {"seq": 8, "batch": 2})
    assert found["ids"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1]] * 2
    assert found["mask"].shape == (2, 8) and found["image"].shape == (2, 3, 8, 8) and found["scale"] == 2
    assert resized((TensorSpec((2, 10, 64)),), {}, {"seq": 5})[0] == (TensorSpec((2, 5, 64)),)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("seq", (1, 3, 8, 8), "seq must find a sequence: .*, among 1x3x8x8; give others with --input"),
        ("size", (1, 10), "size must find an image: .*, among 1x10"),
        ("batch", (), "batch must find a tensor whose first dimension is the batch"),
    ],
)
def test_a_dimension_that_is_not_there(kind: str, shape: tuple[int, ...], message: str) -> None:
    """What nothing has is refused with what was looked for, and among what."""
    with pytest.raises(InputError, match=message):
        resized((TensorSpec(shape),), {}, {kind: 4})


# -- the command -------------------------------------------------------------------------------


def test_resnet50_grows_with_the_square_of_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    """MACs at 128 and 256 differ by the factor four, but for the classifier, which sees one vector."""
    assert fxprof.cli.main(["sweep", "resnet50", "--size", "128:256:32", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    macs = {point["at"]["size"]: point["macs"] for point in data["points"]}
    assert list(macs) == [128, 160, 192, 224, 256] and macs[224] == 4_089_184_256
    classifier = 2048 * 1000
    assert macs[256] - classifier == 4 * (macs[128] - classifier)
    assert round(data["growth"]["size"]["macs"], 2) == 2.00
    assert data["growth"]["size"]["params"] == pytest.approx(0)


def test_options_of_the_builder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--set builds the model anew: the two layers of the net are linear in its width."""
    args = ["sweep", "my_net.py:Net", "--input", "3,10", "--set", "width=16,32", "--batch", "1,2"]
    assert fxprof.cli.main([*args, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["width"], row["batch"], row["macs"]) for row in rows] == [
        ("16", "1", "224"), ("16", "2", "448"), ("32", "1", "448"), ("32", "2", "896"),
    ]  # fmt: skip
    assert fxprof.cli.main(args) == 0
    assert "MACs with width^1.00" in capsys.readouterr().out


def test_a_point_that_fails_keeps_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value the builder does not take is said beside the rest, with status 1; no value at all is an error."""
    args = ["sweep", "my_net.py:Net", "--input", "3,10"]
    assert fxprof.cli.main([*args, "--set", "width=16,-1"]) == 1
    out = capsys.readouterr().out
    assert "Not counted at width=-1: my_net.py:Net with width=-1 failed: RuntimeError" in out
    assert "224" not in out.partition("Not counted")[2] and "672" in out
    err = fails(capsys, *args, "--set", "depth=1,2")
    assert "my_net.py:Net could not be counted at any point; at depth=1: my_net.py:Net with depth=1 failed" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to sweep: add --batch 1,2,4"),
        (["--size", "a"], "--size: sizes must be whole numbers"),
        (["--set", "width"], "--set must be NAME=VALUES"),
        (["--set", "size=1"], "a dimension must have a name of its own, got 'size'"),
        (["--set", "a=1", "--set", "a=2"], "a dimension must have a name of its own, got 'a'"),
    ],
)
def test_wrong_use(here: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    """A grid that cannot be read is refused before anything is counted."""
    assert message in fails(capsys, "sweep", "my_net.py:Net", *args)


def test_a_saved_report_is_not_swept(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot be counted at another size."""
    assert "a saved report has none: give a MODEL" in fails(capsys, "sweep", "report.json", "--batch", "1")


def test_formats(report: Report, check_golden: Callable[[str, str], None]) -> None:
    """Table, Markdown, CSV and LaTeX of a grid with a point that failed; the page plots a line per batch."""
    whole = made(report, {(b, s): 10 * b * s**2 for b in (1, 2) for s in (4, 8)})
    broken = Point({"batch": 3, "size": 4}, {}, error="forward | failed <here>")
    sweep = Sweep(whole.model, whole.dimensions, (*whole.points, broken))
    check_golden("sweep-table.txt", view.render(sweep))
    check_golden("sweep-markdown.txt", view.to_markdown(sweep))
    check_golden("sweep.csv", view.to_csv(sweep))
    check_golden("sweep.tex", view.to_latex(sweep))
    page = sweep_page(sweep)
    assert "batch=1" in page and "batch=2" in page and "MACs by batch" in page and "<here>" not in page
