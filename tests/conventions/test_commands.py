"""``fxprof explain`` and what ``fxprof report`` does for --by layer and --time, as the command line calls them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fxprof import cli
from fxprof.commands.models import add_model
from fxprof.commands.time import add_time, forward_time
from fxprof.conventions import conventions
from fxprof.errors import InputError

MODEL = "def net():\n    from torch import nn\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU())\n"


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A MODEL string."""
    (tmp_path / "layers.py").write_text(MODEL, encoding="utf-8")
    return f"{tmp_path / 'layers.py'}:net"


@pytest.fixture
def run(model: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What ``fxprof explain MODEL ...`` prints."""

    def call(*options: str) -> str:
        assert cli.main(["explain", model, "--input", "2,4", *options]) == 0
        return capsys.readouterr().out

    return call


def test_explain_against_a_tool(run: Callable[..., str]) -> None:
    """Both numbers, the causes and their sum."""
    text = run("--vs", "ptflops")
    assert text.splitlines()[0].split()[:2] == ["ptflops", "80"]
    assert text.splitlines()[1].split()[:2] == ["macs", "64"]
    assert text.splitlines()[6].split()[:2] == ["bias", "+16"]


def test_explain_against_another_base(run: Callable[..., str]) -> None:
    """--base names what to compare with."""
    text = run("--vs", "torch", "--base", "ptflops")
    assert "unit: a multiply-add is 2 FLOPs" in text and "bias" in text


def test_explain_without_a_tool_lists_all(run: Callable[..., str]) -> None:
    """One line per convention."""
    text = run()
    assert [line.split()[0] for line in text.splitlines()[2:]] == list(conventions())


def test_explain_as_json(run: Callable[..., str]) -> None:
    """The causes with every place, or every count."""
    data = json.loads(run("--vs", "ptflops", "--format", "json"))
    assert sum(cause["flops"] for cause in data["causes"]) == data["other_flops"] - data["base_flops"] == 16
    assert data["causes"][0]["places"] == [{"op": "linear", "module": "0", "flops": 16}]
    assert json.loads(run("--format", "json"))["thop"]["flops"] == 64


def test_an_unknown_tool_is_refused(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists what there is."""
    assert cli.main(["explain", model, "--input", "2,4", "--vs", "calc"]) == 2
    assert "a convention must be one of" in capsys.readouterr().err


@pytest.mark.parametrize("options", ["--base thop", "--ops 1", "--vs thop --ops 1 --format json"])
def test_options_that_would_do_nothing_are_refused(
    model: str, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    """--base and --ops are about one difference, and JSON has every place."""
    assert cli.main(["explain", model, "--input", "2,4", *options.split()]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(("fxprof: --base and --ops are about the difference to one tool", "fxprof: json names every"))
    assert out == ""


def test_no_places_are_counted(run: Callable[..., str]) -> None:
    """With --ops 0 the places of a cause are a number."""
    text = run("--vs", "ptflops", "--ops", "0")
    assert "  1 more\n" in text and "and 1 more" not in text


def timed(*argv: str) -> str:
    """What --time adds."""
    parser = argparse.ArgumentParser()
    add_model(parser)
    add_time(parser)
    return forward_time(parser.parse_args(argv))


def test_time(model: str) -> None:
    """A median with its device and threads."""
    assert " ms, median of 10 runs (" in timed(model, "--input", "2,4", "--time")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("report.json --time", "a saved report has none"),
        ("net.py:net --device cpu", "--device is where --time runs the model: add --time"),
        ("net.py:net --time --format json", "--time prints a line of text, which is no json: add -o FILE"),
    ],
)
def test_time_is_refused_before_any_work(capsys: pytest.CaptureFixture[str], options: str, message: str) -> None:
    """A saved report cannot run, a device is for --time only, and the line it prints must not end up in data."""
    assert cli.main(["report", *options.split()]) == 2
    out, err = capsys.readouterr()
    assert message in err and out == ""


def test_time_needs_a_device(model: str) -> None:
    """A device must be there."""
    with pytest.raises(InputError, match="--device must be a device of this machine, got 'gpu'"):
        timed(model, "--input", "2,4", "--time", "--device", "gpu")
