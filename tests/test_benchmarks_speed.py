"""The benchmarks of speed: what they measure, and when they say that it is too slow."""

from __future__ import annotations

import pytest

from benchmarks import growth, profile, speed
from benchmarks.__main__ import main
from benchmarks.growth import Series
from benchmarks.speed import Speed


def test_speed_measures_each_way_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Cold and again, beside the forward and PyTorch's own ways, where they run."""
    [found] = speed.run(["squeezenet1_1"], 1, ["flop_counter", "symbolic_trace"])

    assert set(found.seconds) == {"fxprof", "again", "traced", "forward", "flop_counter", "symbolic_trace"}
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert main(["speed", "--models", "no_such_model", "--processes", "1"]) == 1
    assert "no torchvision model is called" in capsys.readouterr().out


def test_medians_beyond_a_limit_fail() -> None:
    """Over the models that have the way."""
    rest = {"forward": 1.0, "again": 0.1, "traced": 0.4}  # for which there is no limit
    models = [Speed(name, {**rest, "fxprof": cost}, {}) for name, cost in zip("abc", (0.1, 0.3, 9))]

    printed, good = speed.lines(models)
    assert good and "median first/forward over 3 models: 0.300 (at most 0.35)" in printed
    printed, good = speed.lines([*models, Speed("d", {**rest, "fxprof": 8.0}, {})])
    assert not good
    printed, good = speed.lines([Speed("a", {**rest, "fxprof": 0.1, "again": 0.3}, {"fvcore": "not there"})])
    assert not good and "missing fvcore: not there" in printed


def test_growth_beyond_a_limit_fails() -> None:
    """The last size in units of the first."""
    printed, good = growth.lines([Series("flat", (1, 100), (0.1, 0.11), 1.5), Series("steep", (1, 10), (0.1, 2.0), 15)])

    assert not good
    assert printed[0].startswith("ok") and printed[1].startswith("GROWS") and "x 20.00" in printed[1]


def test_profile_shares_out_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    """By file and by function, largest first."""
    assert main(["profile", "squeezenet1_1", "--cold", "--top", "3"]) == 0
    text = capsys.readouterr().out.splitlines()
    shares = [float(line.split("%")[0]) for line in text[2:5]]

    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 100
    assert any("fxprof/" in line for line in profile.lines(profile.run("squeezenet1_1", cold=False), 20))
