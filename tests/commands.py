"""Running the command line, and a user's model file to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fxprof.cli

ROOT = Path(__file__).parent.parent

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.a, self.b = nn.Linear(10, width), nn.Linear(width, 4)
    def forward(self, x, scale=None):
        x = self.b(self.a(x).relu())
        return x if scale is None else x * scale

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(100, 16), nn.Linear(16, 100)
    def forward(self, *, ids):
        return self.head(self.table(ids))

net = Net()
number = 7
def dictionary(): return {}
def broken(): raise ValueError("no such width")
def leaves(): raise SystemExit("usage: train")
"""


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m fxprof`` in the working directory."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "fxprof", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})


def files() -> list[str]:
    """Everything in the working directory."""
    return sorted(path.name for path in Path().iterdir() if path.name != "__pycache__")


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run in this process, expect status 2 and nothing printed; return the message, which is no traceback."""
    assert fxprof.cli.main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err
