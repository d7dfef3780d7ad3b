"""``fxprof explain`` and what ``fxprof report`` does for --by layer and --time, as the command line calls them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from torch import nn

import fxprof
from fxprof import cli
from fxprof.commands import conventions as commands
from fxprof.conventions import conventions
from fxprof.errors import InputError
from fxprof.report import Report

MODEL = "def net():\n    from torch import nn\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU())\n"


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A MODEL string."""
    (tmp_path / "layers.py").write_text(MODEL, encoding="utf-8")
    return f"{tmp_path / 'layers.py'}:net"


def load(args: argparse.Namespace) -> Report:
    """What the command line makes of MODEL and --input, for the one model of these tests."""
    return fxprof.analyze(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), args.inputs[0][1].shape)


def run(*argv: str) -> str:
    """What a command prints."""
    shown: list[str] = []
    parser = argparse.ArgumentParser()
    commands.add(parser.add_subparsers(required=True), cli._add_model, load, shown.append)
    args = parser.parse_args(argv)
    assert args.run(args) == 0
    return "\n".join(shown)


def test_explain_against_a_tool() -> None:
    """Both numbers, the causes and their sum."""
    text = run("explain", "net", "--input", "2,4", "--vs", "ptflops")
    assert text.splitlines()[0].split()[:2] == ["ptflops", "80"]
    assert text.splitlines()[1].split()[:2] == ["macs", "64"]
    assert text.splitlines()[6].split()[:2] == ["bias", "+16"]


def test_explain_against_another_base() -> None:
    """--base names what to compare with."""
    text = run("explain", "net", "--input", "2,4", "--vs", "torch", "--base", "ptflops")
    assert "unit: a multiply-add is 2 FLOPs" in text and "bias" in text


def test_explain_without_a_tool_lists_all() -> None:
    """One line per convention."""
    text = run("explain", "net", "--input", "2,4")
    assert [line.split()[0] for line in text.splitlines()[2:]] == list(conventions())


def test_explain_as_json() -> None:
    """The causes with every place, or every count."""
    data = json.loads(run("explain", "net", "--input", "2,4", "--vs", "ptflops", "--format", "json"))
    assert sum(cause["flops"] for cause in data["causes"]) == data["other_flops"] - data["base_flops"] == 16
    assert data["causes"][0]["places"] == [{"op": "linear", "module": "0", "flops": 16}]
    assert json.loads(run("explain", "net", "--input", "2,4", "--format", "json"))["thop"]["flops"] == 64


def test_an_unknown_tool_is_refused() -> None:
    """The error lists what there is."""
    with pytest.raises(InputError, match="a convention must be one of"):
        run("explain", "net", "--input", "2,4", "--vs", "calc")


def timed(*argv: str) -> str:
    """What --time adds."""
    parser = argparse.ArgumentParser()
    cli._add_model(parser)
    commands.add_time(parser)
    return commands.forward_time(parser.parse_args(argv))


def test_time(model: str) -> None:
    """A median with its device and threads."""
    assert " ms, median of 10 runs (" in timed(model, "--input", "2,4", "--time")


def test_time_needs_a_model_and_a_device(model: str) -> None:
    """A saved report cannot run, and neither can a device that is not there."""
    with pytest.raises(InputError, match="a saved report has none"):
        timed("report.json", "--time")
    with pytest.raises(InputError, match="--device must be a device of this machine, got 'gpu'"):
        timed(model, "--input", "2,4", "--time", "--device", "gpu")
