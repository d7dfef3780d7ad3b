"""The benchmarks: a failure is a line and a status, a difference is explained or is an error."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import fxprof
from benchmarks import accuracy, coverage
from benchmarks.__main__ import main
from benchmarks.accuracy import Comparison
from benchmarks.isolated import Limits, each
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
    assert summary.startswith(
        "coverage torchvision: 2/2 = 100.0 % run (cpu, meta), 0 failed, 0 depend on the device, 0 with"
    )
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = sorted((row["model"], row["device"]) for row in csv.DictReader(file))
    assert rows == sorted((model, device) for model in SMALL.split(",") for device in ("cpu", "meta"))


def test_a_run_is_taken_up_again(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --resume what the file has stays, a line for the rest is added, and the summary is about both."""
    out = tmp_path / "out.csv"
    assert main(["coverage", "torchvision", "--models", "vector", "--out", str(out)]) == 0
    first = out.read_text(encoding="utf-8")
    assert main(["coverage", "torchvision", "--out", str(out), "--resume"]) == 1
    assert out.read_text(encoding="utf-8").startswith(first)
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1 + 4
    assert "coverage torchvision: 1/2 = 50.0 % run" in capsys.readouterr().out
    out.write_text("model,colour\na,red\n", encoding="utf-8")
    assert main(["coverage", "torchvision", "--out", str(out), "--resume"]) == 2
    assert "must have the columns model, device" in capsys.readouterr().err


def _misbehave(how: str) -> str:
    if how == "sleeps":
        time.sleep(60)
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "eats":
        torch.empty(1 << 34, dtype=torch.uint8).fill_(1)
    return how


def test_each_has_a_process_with_limits() -> None:
    """What takes too long, dies or wants too much memory is one failure; the others return what they return."""
    found = each(_misbehave, ["sleeps", "dies", "eats", "works"], Limits(seconds=3, gib=1), lambda *both: both)
    results = {item[0] if isinstance(item, tuple) else item: item for item in found}
    assert results["works"] == "works"
    assert results["sleeps"][1] == "TimeoutError: not done within 3 s"
    assert results["dies"][1] == "its process ended with status -9"
    assert "can't allocate memory" in results["eats"][1]


def test_failures_are_grouped_by_cause() -> None:
    """Names, numbers and places of one model do not make a cause of their own."""
    said = "TraceError: forward must run on the given inputs, but {} raised ValueError: {} tokens for '{}' (at {})"
    runs = [coverage.Run(f"m{i}", "cpu", error=said.format(f"a.{i} (B)", i, "xy"[i], f"f.py:{i}")) for i in range(2)]
    (line,) = coverage.grouped(runs)
    assert line.startswith("CAUSE 2 x TraceError") and line.endswith("m0, m1")


def test_a_failure_of_the_architecture_itself_is_not_counted() -> None:
    """Where its own forward does not run either, the model is listed, and missing from both sides of the share."""
    runs = [coverage.Run("a", "cpu", 1), coverage.Run("b", "cpu", error="E: no", own="E: needs a session")]
    printed, good = coverage.lines("zoo", runs)
    assert good
    assert printed[0] == "OWN FORWARD FAILS b: E: needs a session"
    assert "1/1" in printed[-1] and "1 whose own forward does not run are not counted" in printed[-1]


def test_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    """MACs equal the reference's to the last digit."""
    assert main(["accuracy", "torchvision", "--models", SMALL]) == 0
    assert capsys.readouterr().out.startswith("accuracy torchvision: 2/2 equal to FlopCounterMode (2 on meta")


def test_failures_are_isolated(toys: None, capsys: pytest.CaptureFixture[str]) -> None:
    """One model's failure is a line and status 1; the others still run."""
    assert main(["coverage", "torchvision"]) == 1
    out = capsys.readouterr().out
    assert "FAILED broken (cpu): TraceError" in out
    assert "coverage torchvision: 1/2 = 50.0 % run (cpu, meta), 1 failed" in out


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["coverage", "torchvision", "--workers", "0"],
            "argument --workers: must be a whole number, 1 or more, got '0'",
        ),
        (["accuracy", "torchvision", "--seconds", "-1"], "argument --seconds: must be a number above 0, got '-1'"),
        (["accuracy", "torchvision", "--memory", "much"], "argument --memory: must be a number above 0, got 'much'"),
        (
            ["matching", "--out", "no/such/x.csv"],
            "argument --out: must be in a folder that exists, got 'no/such/x.csv'",
        ),
        (["conventions", "--record", "no/such/x.json"], "must be in a folder that exists, got 'no/such/x.json'"),
        (["picture", "--out", "no/such/x.webp"], "must be in a folder that exists, got 'no/such/x.webp'"),
        (["profile", "resnet18", "--top", "-1"], "argument --top: must be a whole number, 1 or more, got '-1'"),
        (["loading", "--gigabytes", "0"], "argument --gigabytes: must be a number above 0, got '0'"),
        (["speed", "--processes", "0"], "argument --processes: must be a whole number, 1 or more, got '0'"),
        (
            ["speed", "--ways", "forwards"],
            "no way is called 'forwards'; there are flop_counter, symbolic_trace, export",
        ),
    ],
)
def test_wrong_options_are_refused_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    """Before anything runs, and with status 2."""
    monkeypatch.chdir(tmp_path)
    try:
        status = main(args)
    except SystemExit as err:
        status = int(err.code or 0)
    out, said = capsys.readouterr()
    assert (status, out) == (2, "") and message in said


def test_detectors_keep_all_boxes_on_random_weights() -> None:
    """The reference's detectors are set to keep what fxprof assumes they keep at most."""

    class Head(nn.Module):
        score_thresh, nms_thresh = 0.05, 0.5

    accuracy.keep_all_boxes(head := Head())
    assert (head.score_thresh, head.nms_thresh) == (-1.0, 1.0)
    assert torch.is_grad_enabled()
