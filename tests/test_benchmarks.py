"""The benchmarks: a failure is a line and a status, a difference is explained or is an error."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

import fxprof
from benchmarks import accuracy, coverage
from benchmarks.__main__ import main
from benchmarks.accuracy import Comparison
from benchmarks.zoos import ZOOS, Zoo
from fxprof.report import TensorSpec
from fxprof.zoo import Built

SMALL = "squeezenet1_1,shufflenet_v2_x0_5"


class Vector(nn.Module):
    """A matrix-vector product, for which the reference has no formula."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x) @ x.new_ones(8)


class Broken(nn.Module):
    """A forward that fails."""

    def forward(self, x):
        raise ValueError("no forward today")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zoo of two: one the reference counts short, one that fails."""
    models = {"vector": Vector, "broken": Broken}
    build = lambda name, device: Built(name, models[name](), (TensorSpec((3, 8)),))  # noqa: E731
    monkeypatch.setitem(ZOOS, "torchvision", Zoo(lambda: list(models), build))


def test_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Models run from the CPU and from the meta device with equal counts; the CSV has a row for each."""
    assert main(["coverage", "torchvision", "--models", SMALL, "--out", str(tmp_path / "out.csv")]) == 0
    summary = capsys.readouterr().out.split("\n")[-2]
    assert summary.startswith("coverage torchvision: 2/2 run (cpu, meta), 0 failed, 0 depend on the device, 0 with")
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        assert [row["device"] for row in csv.DictReader(file)] == ["cpu", "meta"] * 2


def test_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    """MACs equal the reference's to the last digit."""
    assert main(["accuracy", "torchvision", "--models", SMALL]) == 0
    assert capsys.readouterr().out.startswith("accuracy torchvision: 2/2 equal to FlopCounterMode (2 on meta")


def test_failures_are_isolated(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    """One model's failure is a line and status 1; the others still run."""
    assert main(["coverage", "torchvision"]) == 1
    out = capsys.readouterr().out
    assert "FAILED broken (cpu): TraceError" in out
    assert "coverage torchvision: 1/2 run (cpu, meta), 1 failed" in out


def test_a_known_hole_is_explained_by_name(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The 24 MACs of the matrix-vector product are exactly what the reference lacks."""
    assert main(["accuracy", "torchvision", "--models", "vector"]) == 0
    line = capsys.readouterr().out.split("\n")[0]
    assert line.startswith("explained vector: fxprof 216, reference 192 (meta), +24: aten.mv has no formula")


def test_any_other_difference_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A difference that no named hole makes up in full is not excused."""
    report = fxprof.analyze(Vector(), (3, 8))
    assert accuracy.explanation(report, report.macs - 24, "meta")
    assert not accuracy.explanation(report, report.macs - 25, "meta")
    assert not accuracy.explanation(report, report.macs + 1, "meta")
    printed, good = accuracy.lines("zoo", [Comparison("odd", 10, 9, "meta")])
    assert not good
    assert printed[0] == "DIFFERS odd: fxprof 10, reference 9 (meta), +1"


def test_counts_that_depend_on_the_device_are_found() -> None:
    """The same model with two counts is named."""
    runs = [coverage.Run("a", "cpu", 1), coverage.Run("a", "meta", 2), coverage.Run("b", "cpu", 3)]
    assert coverage.disagreements(runs) == ["a"]


def test_unknown_models_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name is no empty success."""
    assert main(["coverage", "torchvision", "--models", "resnet51"]) == 2
    assert "torchvision has no model called resnet51" in capsys.readouterr().err


def test_detectors_keep_all_boxes_on_random_weights() -> None:
    """The reference's detectors are set to keep what fxprof assumes they keep at most."""

    class Head(nn.Module):
        score_thresh, nms_thresh = 0.05, 0.5

    accuracy.keep_all_boxes(head := Head())
    assert (head.score_thresh, head.nms_thresh) == (-1.0, 1.0)
    assert torch.is_grad_enabled()
