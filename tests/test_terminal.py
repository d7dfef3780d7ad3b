"""What a terminal gets and a pipe does not: colour, its width, and progress on stderr."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fxprof import progress as module
from fxprof.progress import progress
from tests.commands import ROOT, run
from tests.strategies import hand_made

CODES = re.compile(r"\x1b\[[\d;]*m")


def on_terminal(*args: str, columns: int = 120, **environment: str) -> str:
    """Run ``python -m fxprof`` with its stdout on a terminal of its own; return what that shows."""
    reader, writer = pty.openpty()
    env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **environment}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env |= {"PYTHONPATH": path, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "fxprof", *args]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, env=env):
        os.close(writer)
        shown = b""
        try:
            while chunk := os.read(reader, 1 << 16):
                shown += chunk
        except OSError as err:
            assert err.errno == errno.EIO, "what Linux says where the other side has hung up"
        os.close(reader)
    return shown.decode("utf-8").replace("\r\n", "\n")


COMMANDS = (
    ["report", "report.json"],
    ["compare", "report.json", "report.json"],
    ["check", "report.json", "--max-macs", "1", "--max-params", "1k"],
    ["explain", "report.json"],
)


@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_colour_is_for_terminals(saved: Path, args: list[str]) -> None:
    """A terminal gets colour, unless NO_COLOR is set or it has none; the words are the same, as in a pipe."""
    coloured = on_terminal(*args)
    plain = on_terminal(*args, NO_COLOR="1")
    assert CODES.search(coloured) and not CODES.search(plain)
    assert CODES.sub("", coloured) == plain == on_terminal(*args, TERM="dumb")
    assert not CODES.search(run(*args).stdout)


@pytest.mark.parametrize("columns", [60, 80])
def test_width_is_the_terminals(saved: Path, columns: int) -> None:
    """Nothing is wider than the terminal."""
    for args in (["report", "report.json"], ["compare", "report.json", "report.json"], ["explain", "report.json"]):
        lines = on_terminal(*args, columns=columns, NO_COLOR="1").split("\n")
        assert max(map(len, lines)) <= columns


def test_files_are_plain(saved: Path) -> None:
    """-o writes plain text, whatever the terminal."""
    on_terminal("report", "report.json", "-o", "out.txt", columns=60)
    assert Path("out.txt").read_text(encoding="utf-8") == f"{hand_made()}\n"


# -- progress ----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """stderr as a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "delay", "shown"), [(Terminal, 0.0, True), (Terminal, 60.0, False), (io.StringIO, 0.0, False)]
)
def test_progress(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], delay: float, shown: bool) -> None:
    """A bar names what is running, on a terminal, once it takes long; every item comes through, bar or no bar."""
    shows = stream()
    monkeypatch.setattr(sys, "stderr", shows)
    monkeypatch.setattr(module, "DELAY", delay)
    found = []
    for item in progress(["first", "second", "third"], "model"):
        found.append(item)
        time.sleep(0.11)  # tqdm draws ten times a second
    assert found == ["first", "second", "third"]
    written = shows.getvalue()
    assert ("1/3" in written and "second" in written) == shown
    assert bool(written) == shown
