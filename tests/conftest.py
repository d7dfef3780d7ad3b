"""Shared fixtures: golden files, a hand-made report, and Hypothesis without a clock."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fxprof.report import Report
from tests.commands import MODEL
from tests.strategies import hand_made

# Timings on a shared machine say nothing about a law.
settings.register_profile("fxprof", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fxprof")

# A job that a script runs in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-golden``."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from the current output")


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/NAME``, or rewrite it."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text + "\n", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text + "\n", "run pytest --update-golden if the change is meant"

    return check


@pytest.fixture
def report() -> Report:
    """The hand-made report after a trip through JSON, as every view must take it."""
    return Report.from_dict(hand_made().to_dict())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a user's model file in it."""
    (tmp_path / "my_net.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    # What one test imported as my_net is not what the next one wrote.
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    return tmp_path


@pytest.fixture
def saved(here: Path) -> Path:
    """A saved report in the working directory."""
    (here / "report.json").write_text(hand_made().to_json(), encoding="utf-8")
    return here / "report.json"
