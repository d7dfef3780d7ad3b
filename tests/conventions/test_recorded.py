"""What the real tools said, from recorded.json, against fxprof's conventions.

``python -m benchmarks conventions [--cases] --record tests/conventions/recorded.json`` makes it anew.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import fxprof
from benchmarks.cases import CASES
from benchmarks.conventions import counted
from benchmarks.zoos import built
from fxprof.report import Report

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
ANSWERS: dict[str, dict[str, Any]] = RECORDED["answers"]
TOOLS = tuple(RECORDED["versions"])
# One of every family; the benchmark has the rest.
FAMILIES = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_large regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x1_0 squeezenet1_0 swin_t
    swin_v2_t vgg11_bn vit_b_16 wide_resnet50_2
""".split()
SHARE = 0.95


@cache
def case(name: str) -> Report:
    """The report of a small model."""
    make, shape = CASES[name]
    return fxprof.analyze(make().eval(), shape)


@cache
def zoo_model(name: str) -> Report:
    """The report of a model of torchvision."""
    made = built("torchvision", name, "meta")
    return fxprof.analyze(made.model, *made.inputs)


def numbers(report: Report, tool: str) -> list[int | None]:
    """What fxprof says, in the order in which answers are recorded."""
    own = counted(report, tool)
    if tool == "torch":
        return [own.flops]
    return [own.flops, own.activations] if tool == "fvcore" else [own.flops, own.params]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", CASES)
def test_small_models(name: str, tool: str) -> None:
    """FLOPs and parameters are the tool's, to the last digit, wherever the tool runs."""
    answer = ANSWERS[name][tool]
    if isinstance(answer, str):
        pytest.skip(f"{tool} fails on it: {answer}")
    assert numbers(case(name), tool) == answer


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision(name: str) -> None:
    """All tools on one model of every family."""
    assert {tool: numbers(zoo_model(name), tool) for tool in TOOLS} == ANSWERS[name]


def test_the_record_covers_the_zoo() -> None:
    """Every classification model of torchvision was asked of every tool, and each tool ran."""
    models = [name for name in ANSWERS if name not in CASES]
    assert len(models) >= 80
    for tool in TOOLS:
        ran = sum(isinstance(ANSWERS[name][tool], list) for name in models)
        assert ran >= SHARE * len(models)
