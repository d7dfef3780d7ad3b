"""Models of the user's own code base: what it may import, print and parse while the command line runs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fxprof.cli
from tests.commands import MODEL, fails, run


def write(files: dict[str, str]) -> None:
    """Write files below the working directory."""
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")


@pytest.fixture
def package(here: Path) -> Iterator[Path]:
    """A package in src, whose files import each other by dots; afterwards nothing of it is imported."""
    write({
        "src/own_net/__init__.py": "from .models.net import Net",
        "src/own_net/models/net.py": "from ..parts import Net",
        "src/own_net/parts.py": MODEL,
        "loose/first.py": MODEL,
        "loose/second.py": "from .first import Net",
    })  # fmt: skip
    yield here
    for name in [name for name in sys.modules if name.partition(".")[0] in ("own_net", "loose")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "model", ["own_net:Net", "own_net.models.net:Net", "src/own_net/models/net.py:Net", "src/own_net/__init__.py:Net",
              "src/own_net/parts.py:Net", "loose/second.py:Net"],
)  # fmt: skip
def test_packages(package: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    """A package in the folder src is found, and a file that imports by dots is what it is in its package."""
    assert fxprof.cli.main(["report", model, "--input", "3,10", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == model


def test_a_file_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what it defines, without running it; a file that is not there, and a colon too many, are told, too."""
    write({"stops.py": "raise RuntimeError\nclass Net: pass\ndef _own(): pass\ndef make(): pass", "torn.py": "def"})
    assert "as in stops.py:callable; it defines Net, make\n" in fails(capsys, "report", "stops.py")
    assert "as in torn.py:callable\n" in fails(capsys, "report", "torn.py")
    assert "no file 'none.py'" in fails(capsys, "report", "none.py")
    assert "path/to/file.py:callable, got 'stops.py::Net'" in fails(capsys, "report", "stops.py::Net")


def test_a_file_whose_package_has_the_name_of_another(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a module is imported already under the name that a file would have, neither is taken for the other."""
    write({"json/decoder.py": "from . import other", "json/__init__.py": "", "json/other.py": ""})
    assert "'json/decoder.py' must be imported as json.decoder" in fails(capsys, "report", "json/decoder.py:Net")


def test_prints_stay_out_of_the_report(here: Path) -> None:
    """What user code prints, as it is imported, built or traced, goes to stderr."""
    noisy = MODEL.replace("import torch", "import torch; print('imported')", 1)
    noisy = noisy.replace("super().__init__()", "super().__init__(); print('built')", 1)
    noisy = noisy.replace("x = self.b", "print('traced'); x = self.b", 1)
    write({"noisy.py": noisy})
    for command in ("report", "check --max-macs 1G", "sweep --batch 1,2"):
        name, *options = command.split()
        done = run(name, "noisy.py:Net", "--input", "3,10", "--format", "json", *options)
        assert json.loads(done.stdout), done.stderr
        assert {"imported", "built", "traced"} <= set(done.stderr.split())


def test_arguments_are_the_users(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that parses its arguments as it is imported finds none; one that needs some is named with its line."""
    parser = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr')\nparser.parse_args()\n"
    write({"free.py": parser + MODEL, "needs.py": parser.replace("'--lr'", "'--lr', required=True")})
    before = list(sys.argv)
    assert fxprof.cli.main(["report", "free.py:Net", "--input", "3,10"]) == 0
    capsys.readouterr()
    message = fails(capsys, "report", "needs.py:Net", "--input", "3,10")
    assert "needs.py: error: the following arguments are required: --lr" in message
    assert "needs.py:Net failed: SystemExit: 2 (" in message and "needs.py, line 4)" in message
    assert sys.argv == before


@pytest.mark.parametrize("body", ["raise RuntimeError('boom')", "raise SystemExit('boom')", "import boom"])
def test_a_package_that_fails(here: Path, capsys: pytest.CaptureFixture[str], body: str) -> None:
    """What the package of a module raises as it is imported is told, and not taken for a module that is missing."""
    write({"broken_package/__init__.py": body, "broken_package/net.py": MODEL})
    message = fails(capsys, "report", "broken_package.net:Net", "--input", "3,10")
    assert message.startswith("fxprof: broken_package.net:Net failed: ")
    assert "boom" in message and "__init__.py, line 1)" in message
