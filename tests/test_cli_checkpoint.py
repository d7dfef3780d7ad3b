"""The commands inspect, match and load: what they print, their exit status, what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fxprof.cli
from fxprof.checkpoint.plan import Plan
from fxprof.checkpoint.reading import read
from tests.commands import ROOT, fails, files

NET = "my_net.py:Net"  # two linear layers, from tests.commands.MODEL


def state(width: int = 16) -> dict[str, Any]:
    """A checkpoint of my_net.Net."""
    torch.manual_seed(1)
    a, b = torch.nn.Linear(10, width), torch.nn.Linear(width, 4)
    return {"a.weight": a.weight.data, "a.bias": a.bias.data, "b.weight": b.weight.data, "b.bias": b.bias.data}


@pytest.fixture
def file(here: Path) -> str:
    """A checkpoint in the working directory."""
    torch.save({"model": state(), "epoch": 3}, here / "net.pth")
    return "net.pth"


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Run in this process; return the status and what was printed."""
    status = fxprof.cli.main(args)
    return status, capsys.readouterr().out


def test_help_needs_no_torch() -> None:
    """--help of every command comes without importing torch."""
    code = (
        "import sys; from fxprof.cli import main\n"
        "for command in ('inspect', 'match', 'load'): assert main([command, '--help']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    for option in ("--rename", "--adapt", "--include", "--exclude", "--container", "--trust", "--strict", "--plan"):
        assert option in done.stdout


# -- inspect -----------------------------------------------------------------------------------


def test_inspect(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, shapes, what was unwrapped and what lies beside; the same as JSON."""
    status, out = run(capsys, "inspect", file)
    assert status == 0
    for part in ("a.weight", "epoch", "model"):
        assert part in out
    status, out = run(capsys, "inspect", file, "--format", "json")
    assert status == 0
    assert json.loads(out) == read(file).to_dict()


# -- match -------------------------------------------------------------------------------------


def test_match_everything(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0 when everything fits; the JSON is the plan."""
    status, out = run(capsys, "match", NET, file)
    assert status == 0
    assert "4 of the model's 4 tensors" in out
    status, out = run(capsys, "match", NET, file, "--format", "json")
    assert status == 0
    assert {m.target for m in Plan.from_dict(json.loads(out)).matches} == set(state())


def test_match_something_left(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 when something is left, and it is listed."""
    torch.save({**state(), "extra": torch.ones(3)}, "net.pth")
    status, out = run(capsys, "match", NET, "net.pth")
    assert status == 1
    assert "extra" in out


def test_match_another_architecture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ViT's checkpoint on a ResNet: said plainly, nothing loaded, nothing written."""
    from torchvision.models import vit_b_16

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in vit_b_16().state_dict().items()}
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, "vit.pth")
    status, out = run(capsys, "match", "resnet50", "vit.pth")
    assert status == 1
    assert "architecture" in out
    message = fails(capsys, "load", "resnet50", "vit.pth", "-o", "out.pth")
    assert "nothing was loaded" in message
    assert "architecture" in message
    assert message.count("\n") == 1
    assert files() == ["my_net.py", "vit.pth"]


# -- load --------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["out.safetensors", "out.pth"])
def test_load_converts(out: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights of the model after loading, in the format of the suffix."""
    status, printed = run(capsys, "load", NET, file, "-o", out)
    assert status == 0
    assert "were loaded" in printed
    found = read(out)
    assert all(torch.equal(found.tensor(name), value) for name, value in state().items())
    status, printed = run(capsys, "load", NET, file, "-o", out, "--format", "json")
    assert json.loads(printed)["coverage"]["model"] == 1.0


def test_load_with_names_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--rename settles names, --exclude leaves some, --plan replays what match printed."""
    torch.save({name.replace("a.", "first.").replace("b.", "second."): v for name, v in state().items()}, "net.pth")
    names = ("--rename", "first=a", "--rename", "second=b")
    assert run(capsys, "load", NET, "net.pth", "-o", "out.pth", *names)[0] == 0
    found = read("out.pth")
    assert all(torch.equal(found.tensor(name), value) for name, value in state().items())
    _, plan = run(capsys, "match", NET, "net.pth", "--exclude", "b.*", "--format", "json", *names)
    Path("plan.json").write_text(plan, encoding="utf-8")
    run(capsys, "load", NET, "net.pth", "-o", "out2.pth", "--plan", "plan.json")
    found = read("out2.pth")
    assert torch.equal(found.tensor("a.weight"), state()["a.weight"])
    assert not torch.equal(found.tensor("b.weight"), state()["b.weight"])


def test_load_containers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--container takes the averaged weights instead."""
    torch.save({"state_dict": state(), "state_dict_ema": {k: v * 0 for k, v in state().items()}}, "net.pth")
    assert run(capsys, "load", NET, "net.pth", "-o", "out.pth", "--container", "state_dict_ema")[0] == 0
    assert read("out.pth").tensor("a.weight").abs().max() == 0


# -- status 2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["inspect", "none.pth"], "none.pth"),
        (["match", NET, "none.pth"], "none.pth"),
        (["match", "resnet51", "net.pth"], "no torchvision model is called 'resnet51'"),
        (["match", NET, "net.pth", "--rename", "a"], "--rename must be"),
        (["match", NET, "net.pth", "--container", "nope"], "nope"),
        (["match", NET, "my_net.py"], "my_net.py"),
        (["load", NET, "net.pth", "-o", "out.npz"], "must end in .safetensors"),
        (["load", NET, "net.pth", "-o", "no/out.pth"], "no such folder"),
        (["load", NET, "net.pth", "-o", "out.pth", "--plan", "none.json"], "cannot read 'none.json'"),
        (["load", NET, "net.pth", "-o", "out.pth", "--plan", "p", "--rename", "best"], "give --rename to match"),
        (["load", NET, "net.pth", "-o", "out.pth", "--plan", "p", "--prefix", "a"], "give --prefix to match"),
        (["load", NET, "net.pth", "-o", "out.pth", "--plan", "my_net.py"], "must be a plan saved by"),
        (["load", "my_net.py:Tokens", "net.pth", "-o", "out.pth", "--strict"], "--strict needs every tensor"),
    ],
)
def test_bad_input(args: list[str], message: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, and nothing is written."""
    err = fails(capsys, *args)
    assert message in err
    assert err.count("\n") == 1
    assert files() == ["my_net.py", "net.pth"]


def test_hints_are_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a message tells to do is written as it is typed, in errors and under tables."""
    torch.save({"one": state(), "two": state(width=8)}, here / "net.pth")
    assert "with --container: two (4)" in run(capsys, "inspect", "net.pth")[1]
    torch.save({**state(), "b.weight": torch.zeros(7, 16), "b.bias": torch.zeros(7)}, here / "net.pth")
    assert "--adapt head-rows keeps what both have" in run(capsys, "match", NET, "net.pth")[1]
    torch.save({**state(), "b.weight": torch.zeros(4, 16).to_sparse()}, here / "net.pth")
    assert "or leave it out with --exclude" in fails(capsys, "load", NET, "net.pth", "-o", "out.pth")


def test_pickles_need_trust(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole model in a pickle is refused, and inspected with --trust."""
    torch.save({"model": torch.nn.Linear(2, 3)}, "whole.pth")
    assert "pass --trust to load it anyway" in fails(capsys, "inspect", "whole.pth")
    assert run(capsys, "inspect", "whole.pth", "--trust")[0] == 0
