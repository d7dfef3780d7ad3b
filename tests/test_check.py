"""Budgets: what is over is named with those to blame, what is misspelled is refused, what is kept exits 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fxprof.cli
from fxprof.budget import METRICS, Budget, check, from_limits, from_table, merged
from fxprof.errors import InputError
from fxprof.report import Report
from fxprof.views import check as view
from tests.commands import ROOT, fails
from tests.strategies import reports

CONFIG = """
[tool.fxprof]
max-macs = "30k"
max-params = 1_000

[tool.fxprof.modules."body.*.conv"]
max-macs = "20k"
"""


@settings(max_examples=50)
@given(reports(), st.sampled_from(sorted(METRICS)))
def test_a_limit_is_exceeded_only_above_it(report: Report, metric: str) -> None:
    """A budget of exactly what is used is kept, and one below that is not."""
    used = METRICS[metric].total(report)
    assert not check(report, [Budget(metric, used)])[0].over
    assume(used)
    assert check(report, [Budget(metric, used - 1)])[0].over


@settings(max_examples=50)
@given(reports(), st.sampled_from(sorted(METRICS)))
def test_those_to_blame_are_parts_of_what_is_used(report: Report, metric: str) -> None:
    """Modules to blame are disjoint parts, largest first; up to five of them they are all of it."""
    verdict = check(report, [Budget(metric, 0)])[0]
    sizes = [size for _, size in verdict.heaviest]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) <= verdict.used
    assert len(sizes) == 5 or sum(sizes) == verdict.used


@settings(max_examples=40)
@given(reports())
def test_live_tensors_add_up_to_the_peak(report: Report) -> None:
    """What is alive at the worst op, with all weights and buffers, is the peak."""
    assert sum(report.peak.live.values()) + report.param_bytes + report.buffer_bytes == report.peak_bytes


def test_modules_by_glob(report: Report) -> None:
    """A glob stands for each module that it matches, with everything below it."""
    verdicts = check(report, [Budget("macs", 18432, "body.?"), Budget("macs", 18431, "body.?.conv")])
    assert [(v.path, v.used, v.over) for v in verdicts] == [
        ("body.0", 18432, False), ("body.1", 18432, False),
        ("body.0.conv", 18432, True), ("body.1.conv", 18432, True),
    ]  # fmt: skip


def test_the_root_goes_by_the_name_of_the_model(report: Report) -> None:
    """A glob may match it, and its path is empty."""
    verdicts = check(report, [Budget("params", 1, "*")])
    assert "\nParameters of net " in view.render(report, verdicts)
    assert "\n| `Parameters of net` |" in view.to_markdown(report, verdicts)


def test_what_cannot_be_checked_is_refused(report: Report) -> None:
    """A glob without a module, and a peak of some modules, are no budgets that are kept."""
    with pytest.raises(InputError, match="no module of net matches 'bodi', which max-macs is for"):
        check(report, [Budget("macs", 1, "bodi")])
    with pytest.raises(InputError, match="max-peak is of the whole model, got one for the modules 'body'"):
        check(report, [Budget("peak", 1, "body")])


def test_a_table_of_budgets() -> None:
    """TOML's table gives the same budgets as keywords do, and the command line goes before it."""
    table = {"max-macs": "5G", "max-peak": "1GiB", "modules": {"layer*": {"max-macs": 7}}}
    assert from_table(table) == from_limits({"macs": "5G", "peak": "1GiB"}, {"layer*": {"macs": 7}})
    assert from_table(table) == [Budget("macs", 5 * 10**9), Budget("peak", 1 << 30), Budget("macs", 7, "layer*")]
    assert merged([Budget("macs", 1)], from_table(table))[0] == Budget("macs", 1)
    assert from_table({}) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"max-mac": "5G"}, r"no budget is called 'max-mac' in \[tool.fxprof\]; did you mean max-macs"),
        ({"macs": "5G"}, r"no budget is called 'macs' in \[tool.fxprof\]; known are max-macs, max-flops"),
        ({"max-macs": "5 gigs"}, r"max-macs in \[tool.fxprof\]: a count must be a number"),
        ({"max-macs": True}, r"max-macs in \[tool.fxprof\]: a count must be a number"),
        ({"max-macs": -1}, r"max-macs in \[tool.fxprof\]: a count must be a number"),
        ({"modules": 5}, r"there must be a table per glob in \[tool.fxprof.modules\], got 5"),
        ({"modules": {"a": 5}}, r"there must be a table of limits in \[tool.fxprof.modules.\"a\"\], got 5"),
        ({"max-macs": 5, "modules": {"": {"max-macs": 7}}}, r"a glob of \[tool.fxprof.modules\] must match modules"),
        ({"modules": {"a": {"max-x": 5}}}, r"no budget is called 'max-x' in \[tool.fxprof.modules.\"a\"\]"),
    ],
)
def test_a_misspelled_budget_is_refused(table: dict, message: str) -> None:
    """What is no budget is named with where it stands."""
    with pytest.raises(InputError, match=message):
        from_table(table)


# -- the command -------------------------------------------------------------------------------


def test_resnet50(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-50 has more than 4 and less than 5 GMACs; its first layer is the heaviest of those to blame."""
    monkeypatch.chdir(tmp_path)
    assert fxprof.cli.main(["check", "resnet50", "--max-macs", "4G"]) == 1
    out = capsys.readouterr().out
    assert "MACs: 89.2 M over the limit; the 5 heaviest modules by themselves:" in out
    listed = out.split("by themselves:\n")[1].split("\n")[2:7]
    assert [line.split()[0] for line in listed] == [
        "conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2", "layer2.0.conv2",
    ]  # fmt: skip
    assert fxprof.cli.main(["check", "resnet50", "--max-macs", "5G"]) == 0
    assert "1 of 1 budget is kept." in capsys.readouterr().out


def test_budgets_in_pyproject(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets are read from the nearest pyproject.toml above; the command line replaces them one by one."""
    Path("pyproject.toml").write_text(CONFIG, encoding="utf-8")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert fxprof.cli.main(["check", "../report.json", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [(b["budget"]["metric"], b["path"], b["over"]) for b in data["budgets"]] == [
        ("macs", None, True), ("params", None, False), ("macs", "body.0.conv", False), ("macs", "body.1.conv", False),
    ]  # fmt: skip
    assert not data["exact"]
    assert fxprof.cli.main(["check", "../report.json", "--max-macs", "40k"]) == 0
    assert fxprof.cli.main(["check", "../report.json", "--max-macs", "40k", "--max-macs", "body.*=10k"]) == 1


def test_wrong_use(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No budget, no number, no table: one sentence and status 2."""
    assert "nothing to check: add --max-macs 5G" in fails(capsys, "check", "report.json")
    assert "--max-macs: a count must be a number" in fails(capsys, "check", "report.json", "--max-macs", "a=b")
    assert "no module of net matches 'a'" in fails(capsys, "check", "report.json", "--max-macs", "a=5")
    for text, message in [
        ("=", "must be TOML"),
        ("tool = 3", "must be TOML with tables"),
        ("[tool]\nfxprof=1", "table"),
    ]:
        Path("pyproject.toml").write_text(text, encoding="utf-8")
        assert message in fails(capsys, "check", "report.json")


def test_an_uncounted_op_is_named(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A budget that is kept only as far as was counted says so, and --strict does not let it pass."""
    assert fxprof.cli.main(["check", "report.json", "--max-macs", "1M"]) == 0
    assert "Uncounted: stft" in capsys.readouterr().out
    assert fxprof.cli.main(["check", "report.json", "--max-macs", "1M", "--strict"]) == 1


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_golden(report: Report, check_golden, form: str) -> None:
    """The whole text, one budget over and one kept."""
    verdicts = check(report, [Budget("macs", 30_000), Budget("params", 1000), Budget("activations", 10**6, "body.0")])
    text = view.render(report, verdicts) if form == "table" else view.to_markdown(report, verdicts)
    check_golden(f"check-{form}.txt", text)


# -- the fixture -------------------------------------------------------------------------------

TESTS = """
import sys
assert "torch" not in sys.modules, "the plugin imported torch"
import pytest
import fxprof

def test_kept(fxprof_budget):
    from torch import nn
    report = fxprof_budget(nn.Linear(16, 32), (2, 16), macs=1024, params="1k", modules={"*": {"macs": "2k"}})
    assert report.macs == 1024

def test_over(fxprof_budget):
    from torch import nn
    fxprof_budget(nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4)), (2, 16), macs="1k")

def test_misspelled(fxprof_budget):
    from torch import nn
    with pytest.raises(fxprof.InputError, match="no budget is called 'mac'; did you mean macs"):
        fxprof_budget(nn.Linear(16, 32), (2, 16), mac="1k")
    with pytest.raises(fxprof.InputError, match="nothing to check: give at least one of macs, flops"):
        fxprof_budget(nn.Linear(16, 32), (2, 16))

def test_wrong_input(fxprof_budget):
    from torch import nn
    fxprof_budget(nn.Linear(16, 32), (2, 17), macs="1k")
"""


def test_the_pytest_fixture(tmp_path: Path) -> None:
    """A test with the fixture fails with the modules to blame; pytest has started without torch."""
    (tmp_path / "test_budget.py").write_text(TESTS, encoding="utf-8")
    plugins = ["-p", "no:cacheprovider", "-p", "no:fxprof", "-p", "fxprof.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "MACs: 280 over the limit; the 2 heaviest modules by themselves:" in done.stdout
    assert "test_budget.py::test_over" in done.stdout
    # What cannot be counted is one sentence below the test's own line, and nothing of torch's or fxprof's code.
    assert '>       fxprof_budget(nn.Linear(16, 32), (2, 17), macs="1k")' in done.stdout
    assert "given 2x17" in done.stdout and "direct cause" not in done.stdout and "tracer.py" not in done.stdout


def test_the_plugin_is_installed_by_its_entry_point() -> None:
    """Where fxprof is installed, pytest finds the fixture without being told."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nfxprof = "fxprof.pytest_plugin"' in text
