"""The list of conventions, what each says of itself, and numbers published elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

import fxprof
from benchmarks.cases import CASES
from fxprof.conventions import CONVENTIONS, conventions, count, find
from fxprof.errors import InputError
from fxprof.report import Report

ROOT = Path(__file__).parents[2]


def resnet() -> Report:
    """ResNet-50 at its usual size."""
    with torch.device("meta"):
        return fxprof.analyze(resnet50().eval(), (1, 3, 224, 224))


def test_the_list() -> None:
    """Every tool of the list, and fxprof's own two numbers."""
    assert conventions() == (
        "macs", "flops", "torchreid", "torchreid-conv-linear", "torch", "fvcore", "thop", "ptflops", "torchinfo",
        "deepspeed", "torchsummaryX", "timm",
    )  # fmt: skip


@pytest.mark.parametrize("name", CONVENTIONS)
def test_each_says_what_it_is(name: str) -> None:
    """Tool and version, unit, where the formulas were read; a foreign tool also what it cannot see."""
    convention = CONVENTIONS[name]
    assert convention.name == name and convention.tool and convention.unit and convention.source
    assert convention.misses or convention.tool == "fxprof"


def test_a_layer_with_an_empty_child_is_no_leaf() -> None:
    """An ``nn.Sequential()`` is a child, though it is false; a child that is None is none."""
    layer = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    layer[0].add_module("extra", nn.Sequential())
    layer[1].register_module("extra", None)
    leaves = {info.path: info.leaf for info in fxprof.analyze(layer, (1, 4)).modules}
    assert leaves == {"": False, "0": False, "0.extra": True, "1": True}


def test_names_are_found_in_any_case() -> None:
    """``torchsummaryx`` is torchsummaryX."""
    assert find("TorchSummaryx").name == "torchsummaryX"


def test_an_unknown_name_is_refused() -> None:
    """The error lists what there is, and what was probably meant."""
    with pytest.raises(InputError, match=r"must be one of macs, .* got 'torchinfos'; did you mean torchinfo"):
        find("torchinfos")
    with pytest.raises(InputError, match=r"a convention must be one of macs, .*, got None"):
        find(None)  # type: ignore[arg-type]


def test_a_report_with_a_backward_is_refused() -> None:
    """The tools count a forward."""
    report = fxprof.analyze(nn.Linear(4, 4), (1, 4), training=True)
    with pytest.raises(InputError, match="analyze without"):
        report.count("thop")


def test_own_numbers_are_the_report_s() -> None:
    """``macs`` and ``flops`` are what the report says."""
    for make, shape in CASES.values():
        report = fxprof.analyze(make().eval(), shape)
        assert (report.count("macs").flops, report.count("flops").flops) == (report.macs, report.flops)


def test_published_by_timm() -> None:
    """timm's table says 4.1 GMACs and 11.1 M activations for ResNet-50."""
    counted = resnet().count("timm")
    assert (
        counted.activations == 44_455_936 // 4 + 1_000
    )  # every convolution has a norm, of 4 per element; and the head
    assert round(counted.flops / 1e9, 1) == 4.1


def test_only_timm_counts_activations() -> None:
    """The others have none, which is not 0."""
    report = fxprof.analyze(nn.Linear(4, 4), (1, 4))
    assert [name for name in conventions() if report.count(name).activations is not None] == ["timm"]


def test_by_type_is_in_call_order() -> None:
    """Types come as their layers are called first."""
    assert list(count(resnet(), "torchreid").by_type) == [
        "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "AdaptiveAvgPool2d", "Linear",
    ]  # fmt: skip


def test_without_torch() -> None:
    """Counting a saved report as another tool would needs no torch."""
    modules = "fxprof.conventions.difference, fxprof.views.explain, fxprof.views.layers"
    code = f"import {modules}, sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["fvcore", "deepspeed"])
def test_a_report_with_impossible_shapes_is_refused_where_it_is_counted(name: str) -> None:
    """One edited by hand: in a sentence."""
    data = fxprof.analyze(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Upsample(5)), (1, 3, 8, 8)).to_dict()
    edited = fxprof.Report.from_dict({**data, "ops": [{**op, "inputs": []} for op in data["ops"]]})

    for call in (edited.count, edited.explain):
        with pytest.raises(fxprof.InputError, match="must have the shapes that they were recorded with, got others"):
            call(name)
