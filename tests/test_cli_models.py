"""The command line on models: the user's own, and torchvision's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import fxprof.cli
from fxprof import zoo
from fxprof.report import Report
from tests.commands import MODEL, ROOT, fails, run


@pytest.mark.parametrize("model", ["my_net.py:Net", "my_net.py:net", "my_net:Net", "./my_net.py:Net"])
def test_users_model(here: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    """A class, a factory or an instance, in a file or a module: 3 x (10 x 16 + 16 x 4) = 672 MACs."""
    assert fxprof.cli.main(["report", model, "--input", "3,10", "--format", "json"]) == 0
    report = Report.from_dict(json.loads(capsys.readouterr().out))
    assert (report.name, report.macs, report.params) == (model, 672, 244)


def test_named_and_integer_inputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NAME= goes to the keyword of that name, and :int64 makes ids: 2 x 5 x 16 x 100 = 16,000 MACs."""
    assert fxprof.cli.main(["report", "my_net:Tokens", "--input", "ids=2,5:int64"]) == 0
    assert "16,000" in capsys.readouterr().out
    assert fxprof.cli.main(["report", "my_net:Net", "--input", "3,10", "--input", "scale=1"]) == 0


def test_blanks_in_a_shape(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may stand around commas; where they stand for them, nothing is guessed."""
    assert fxprof.cli.main(["report", "my_net:Net", "--input", " x = 3 , 10 : float32 "]) == 0
    assert "672" in capsys.readouterr().out
    assert "must be sizes" in fails(capsys, "report", "my_net:Net", "--input", "3 10")


def test_integers_that_were_not_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message is the option to write instead, which works."""
    assert "on the command line --input ids=2,5:int64" in fails(capsys, "report", "my_net:Tokens", "--input", "ids=2,5")
    nested = "\nclass Batches(Tokens):\n    def forward(self, batch): return super().forward(ids=batch['text'])\n"
    Path("nested.py").write_text(MODEL + nested, encoding="utf-8")
    message = fails(capsys, "report", "nested.py:Batches", "--input", "batch.text=2,5")
    assert "on the command line --input batch.text=2,5:int64" in message


def test_arguments_of_what_builds_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What follows a question mark are keyword arguments: 3 x (10 x 32 + 32 x 4) = 1,344 MACs."""
    for model in ("my_net.py:Net?width=32", "my_net:Net?width=32"):
        assert fxprof.cli.main(["report", model, "--input", "3,10", "--format", "json"]) == 0
        report = Report.from_json(capsys.readouterr().out)
        assert (report.name, report.macs) == (model, 1344)
    assert "Net?width must have key=value after the question" in fails(capsys, "report", "my_net:Net?width")
    message = fails(capsys, "report", "my_net:Net?path=a.json")
    assert "my_net:Net with path='a.json' failed: TypeError" in message
    assert "'path'; arguments stand behind it, as in 'my_net:Net?name=value'" in message
    # What fails further in is not about the arguments of what is named.
    assert "name=value" not in fails(capsys, "report", "my_net:broken")
    assert zoo.build("resnet18?num_classes=7").model.get_parameter("fc.bias").shape == (7,)


def test_inputs_in_a_dict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name with dots goes into a dict: 2 x 5 x 16 x 100 = 16,000 MACs; a name is given once."""
    body = "\nclass Batches(Tokens):\n    def forward(self, batch): return super().forward(ids=batch['text']['ids'])\n"
    Path("batches.py").write_text(MODEL + body, encoding="utf-8")
    command = ["report", "batches.py:Batches", "--input", "batch.text.ids=2,5:int64"]
    assert fxprof.cli.main(command) == 0
    assert "16,000" in capsys.readouterr().out
    for other in ("batch.text.ids", "batch.text", "batch.text.ids.more"):
        assert f"--input must name a tensor once, and not also what holds it, got {other} again" in fails(
            capsys, *command, "--input", f"{other}=3"
        )


def test_path_is_left_as_it_was(here: Path) -> None:
    """What user code needs on the path is there while it runs, and only then."""
    before = list(sys.path)
    fxprof.cli.main(["report", "my_net.py:Net", "--input", "3,10"])
    assert sys.path == before


def test_a_wrong_shape_is_one_sentence(here: Path) -> None:
    """A forward that raises is reported with where, not with a traceback."""
    done = run("report", "my_net.py:Net", "--input", "3,11")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "my_net.py" in done.stderr


def test_resnet50_end_to_end() -> None:
    """The README's first command: all digits of ResNet-50's MACs and parameters."""
    done = run("report", "resnet50")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "4,089,184,256" in done.stdout
    assert "25,557,032" in done.stdout
    assert "Exact: every op is counted and no size was assumed." in done.stdout


def test_resnet18_saved_and_rendered_again(here: Path) -> None:
    """A report written to a file and read back is the same table."""
    direct, written = run("report", "resnet18"), run("report", "resnet18", "-o", "r18.json")
    assert (direct.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert run("report", "r18.json").stdout == direct.stdout


def test_broken_torchvision_is_one_sentence(here: Path) -> None:
    """A torchvision that does not match torch fails its own models, not the user's."""
    broken = here / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    done = run("report", "resnet50")
    assert done.returncode == 2
    assert done.stderr == (
        "fxprof: torchvision cannot be imported (RuntimeError: operator torchvision::nms does not exist); it must come "
        "from the same place as torch: pip install --upgrade torch torchvision\n"
    )
    assert run("report", "my_net.py:Net", "--input", "3,10").returncode == 0


def test_the_readmes_table_is_real(capsys: pytest.CaptureFixture[str]) -> None:
    """What the README shows is what its command prints."""
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    command, _, output = shown.partition("$ python -m fxprof ")[2].partition("```")[0].partition("\n")
    assert fxprof.cli.main(command.split()) == 0
    assert capsys.readouterr().out == output
