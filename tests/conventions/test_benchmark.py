"""``python -m benchmarks conventions``: equal, different and failing tools, and the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor, nn

from benchmarks import conventions, peers
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.peers import Answer


def wrong(model: nn.Module, x: Tensor) -> Answer:
    """A tool that is one off."""
    answer = peers._torch(model, x)
    return Answer(answer.flops + 1, 7)


def broken(model: nn.Module, x: Tensor) -> Answer:
    """A tool that fails."""
    raise ValueError("no\nanswer")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tools: torch's own, one that is off, and one that fails."""
    live = {"torch": peers._torch, "thop": wrong, "fvcore": broken}
    monkeypatch.setattr(peers, "LIVE", live)
    monkeypatch.setattr(peers, "installed", lambda: dict.fromkeys(live, "1.0"))


def test_each_model_is_compared(tools: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What differs is listed with both numbers, and the status is 1; the answers are kept."""
    path = tmp_path / "said.json"
    assert main(["conventions", "--models", "squeezenet1_1", "--record", str(path)]) == 1
    out = capsys.readouterr().out
    assert (
        "DIFFERS squeezenet1_1 (thop): flops fxprof 349,321,936, tool 698,303,873; params fxprof 1,235,496, tool 7"
        in out
    )
    assert "DIFFERS squeezenet1_1 (fvcore): the tool failed: ValueError: no answer" in out
    assert "conventions torch 1.0: 1/1 equal, 0 different" in out
    answers = json.loads(path.read_text(encoding="utf-8"))["answers"]["squeezenet1_1"]
    assert answers == {"torch": [698_303_872], "thop": [698_303_873, 7], "fvcore": "ValueError: no answer"}


def test_a_record_grows(tools: None, tmp_path: Path) -> None:
    """A second run adds to the first."""
    path = tmp_path / "said.json"
    for model in ("squeezenet1_1", "shufflenet_v2_x0_5"):
        assert main(["conventions", "--models", model, "--tools", "torch", "--record", str(path)]) == 0
    assert list(json.loads(path.read_text(encoding="utf-8"))["answers"]) == ["squeezenet1_1", "shufflenet_v2_x0_5"]


def test_the_small_models(tools: None, capsys: pytest.CaptureFixture[str]) -> None:
    """FlopCounterMode agrees on all of them."""
    assert main(["conventions", "--cases", "--tools", "torch"]) == 0
    assert f"{len(CASES)}/{len(CASES)} equal" in capsys.readouterr().out


def test_unknown_tools_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name is no empty success."""
    assert main(["conventions", "--tools", "thopp"]) == 2
    assert "no tool is called thopp" in capsys.readouterr().err


def test_tools_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary says who was not asked."""
    monkeypatch.setattr(peers, "installed", lambda: {"torch": "2"})
    assert conventions.lines([])[0] == [f"not installed: {', '.join(name for name in peers.LIVE if name != 'torch')}"]
