"""The README's help of each command is what the command prints, whatever the terminal."""

from __future__ import annotations

import argparse
import re

import pytest

import fxprof.cli
from benchmarks import readme
from fxprof.cli import build_parser
from fxprof.commands.help import commands, text
from fxprof.errors import InputError


def test_the_readme_is_up_to_date() -> None:
    """What it says of each command is what the command says of itself."""
    said = readme.README.read_text(encoding="utf-8")
    assert said == readme.updated(said), "the help has changed: run python -m benchmarks readme"


def test_the_help_is_the_commands_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """``fxprof COMMAND --help`` at the README's width prints what stands there, for every command."""
    monkeypatch.setenv("COLUMNS", "102")  # argparse keeps two free
    monkeypatch.setenv("NO_COLOR", "1")
    blocks = re.findall(r"```text\n(usage: .*?)\n```", readme.generated(), re.DOTALL)
    names = list(commands(build_parser()))
    assert len(blocks) == len(names) >= 8
    for name, block in zip(names, blocks):
        assert fxprof.cli.main([name, "--help"]) == 0
        assert capsys.readouterr().out == block + "\n"


@pytest.mark.parametrize("columns", ["20", "60", "300"])
def test_the_help_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """The README comes out the same wherever it is written."""
    before = readme.generated()
    monkeypatch.setenv("COLUMNS", columns)
    assert readme.generated() == before


def test_a_narrow_help_names_every_option() -> None:
    """At any width, each option is listed once, with its value named once."""
    for command in commands(build_parser()).values():
        for width in (40, 100):
            shown = text(command, width)
            for option in (o for action in command._actions for o in action.option_strings):
                assert len(re.findall(rf"^  (?:-\w, )?{re.escape(option)}[ ,\n]", shown + "\n", re.MULTILINE)) == 1


def test_markers_are_needed() -> None:
    """A README without the place for it is refused, not rewritten."""
    with pytest.raises(InputError, match=r"README.md must hold the lines '<!-- what follows"):
        readme.updated("# fxprof\n")


def test_staleness_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    """``--check`` writes nothing and fails; without it the file is written, and then it passes."""
    stale = tmp_path / "README.md"
    stale.write_text(f"a\n{readme.BEGIN}STALE\n{readme.END}b\n", encoding="utf-8")
    monkeypatch.setattr(readme, "README", stale)
    assert not readme.main(argparse.Namespace(check=True))
    assert readme.main(argparse.Namespace(check=False))
    assert readme.main(argparse.Namespace(check=True))
    assert "run python -m benchmarks readme" in capsys.readouterr().out
    assert stale.read_text(encoding="utf-8").startswith("a\n") and "STALE" not in stale.read_text(encoding="utf-8")
