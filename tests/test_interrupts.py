"""Ctrl-C where no code of fxprof's runs: while libraries load, and on the way out."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from fxprof.__main__ import run as program
from fxprof.interrupts import ending_the_process
from tests.commands import run

# A library that meets the interrupt while it is imported, and keeps it to itself.
INTERRUPTED = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize(
    ("library", "args"),
    [
        ("tabulate", ["--help"]),
        ("torch", ["report", "resnet18"]),
        ("torch", ["sweep", "resnet18", "--batch", "1"]),
        ("torch", ["check", "resnet18", "--scaling"]),
        ("torch", ["inspect", "weights.pth"]),
        ("torch", ["match", "resnet18", "weights.pth"]),
        ("torch", ["load", "resnet18", "weights.pth", "-o", "out.pth"]),
        ("torchvision", ["report", "resnet18"]),
        ("timm", ["report", "timm:resnet18"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_while_a_library_loads(here: Path, library: str, args: list[str]) -> None:
    """The process ends at once, as the system ends one, without a word."""
    (here / f"{library}.py").write_text(INTERRUPTED, encoding="utf-8")
    done = run(*args)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_on_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Once the command is done, there is nothing left to interrupt but Python's own leaving."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["fxprof", "--version"])
            assert program() == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out.startswith("fxprof ")


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN, lambda *_: None])
def test_a_handler_is_back_afterwards(handler: Any) -> None:
    """Python's own gives way for a while; one that ignores interrupts, or is the user's, stays."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with ending_the_process():
            ours = handler is signal.default_int_handler
            assert signal.getsignal(signal.SIGINT) is (signal.SIG_DFL if ours else handler)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
