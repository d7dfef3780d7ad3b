"""The layer listing in torchsummaryX's columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet50

import fxprof
from benchmarks.case_nets import called_twice, frozen_half
from fxprof.report import Report
from fxprof.views.layers import layers, render

ROWS = Path(__file__).with_name("resnet50_torchsummaryx.csv")


def resnet() -> Report:
    """ResNet-50's report, saved and read again."""
    with torch.device("meta"):
        report = fxprof.analyze(resnet50().eval(), (1, 3, 224, 224))
    return Report.from_dict(json.loads(report.to_json()))


def test_resnet50_as_torchsummaryx_lists_it() -> None:
    """All 158 rows: index and path, kernel shape, output shape."""
    with ROWS.open(encoding="utf-8") as file:
        expected = [(row["row_name"], row["kernel_shape"], row["output_shape"]) for row in csv.DictReader(file)]

    found = [
        (row.name, str(list(row.kernel)) if row.kernel else "-", str(list(row.output))) for row in layers(resnet())
    ]

    assert len(found) == 158
    assert found == expected


def test_the_columns_add_up() -> None:
    """Parameters are the model's, mult-adds the convention's."""
    report = resnet()
    rows = layers(report)
    assert sum(row.params or 0 for row in rows) == report.params
    assert sum(row.mult_adds for row in rows) == report.count("torchsummaryX").flops == 4_089_210_816


def test_rendered() -> None:
    """A line per row, then the totals."""
    lines = render(resnet()).splitlines()
    assert lines[0].split() == ["Layer", "Kernel", "Shape", "Output", "Shape", "Params", "Mult-Adds"]
    assert lines[6].split() == [
        "4_layer1.0.Conv2d_conv1", "[64,", "64,", "1,", "1]", "[1,", "64,", "56,", "56]", "4,096", "12,845,056",
    ]  # fmt: skip
    assert lines[161].split() == ["Total", "params", "25,557,032"]
    assert lines[164].split() == ["Mult-Adds", "4,089,210,816"]


def test_a_layer_called_again_is_recursive() -> None:
    """Its parameters are listed once, its mult-adds per call."""
    first, second = layers(fxprof.analyze(called_twice(), (3, 10)))
    assert (first.params, second.params) == (100, None)
    assert (first.mult_adds, second.mult_adds) == (100, 100)
    assert "(recursive)" in render(fxprof.analyze(called_twice(), (3, 10)))


def test_frozen_layers_have_no_mult_adds() -> None:
    """As in the tool."""
    assert [row.mult_adds for row in layers(fxprof.analyze(frozen_half(), (3, 10)))] == [100, 0]


def test_a_single_layer_and_a_model_without_any() -> None:
    """The root is a layer of its own name; no layers make an empty listing."""

    class Plain(nn.ModuleList):
        def forward(self, x):
            return x

    [row] = layers(fxprof.analyze(nn.Linear(3, 4), (2, 3)))
    assert (row.name, row.kernel, row.output, row.params) == ("0_Linear", (3, 4), (2, 4), 16)
    assert "Total params" in render(fxprof.analyze(Plain([nn.ReLU()]), (2, 3)))
