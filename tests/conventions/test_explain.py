"""The difference between two conventions: causes that add up, named after what they are."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torchvision.models import vit_b_16

import fxprof
from benchmarks.cases import CASES
from fxprof.conventions import conventions, parts
from fxprof.conventions.difference import explain
from fxprof.report import Report
from fxprof.views.explain import overview, render
from tests.conventions.strategies import SHAPE, models

NAMES = conventions()


def case(name: str) -> Report:
    """The report of one of the small models."""
    make, shape = CASES[name]
    return fxprof.analyze(make().eval(), shape)


def causes(report: Report, other: str, base: str = "macs") -> dict[str, int]:
    """Cause -> FLOPs."""
    return {cause.name: cause.flops for cause in explain(report, other, base).causes}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=40)
@given(models())
def test_causes_add_up_for_every_pair(model: nn.Module) -> None:
    """Causes sum to the difference of the counts, and each cause to its places, largest first."""
    report = fxprof.analyze(model.eval(), SHAPE)
    flops = {name: report.count(name).flops for name in NAMES}
    for base, other in permutations(NAMES, 2):
        found = explain(report, other, base)
        assert sum(cause.flops for cause in found.causes) == found.flops == flops[other] - flops[base]
        for cause in found.causes:
            assert sum(place.flops for place in cause.places) == cause.flops
        sizes = [abs(cause.flops) for cause in found.causes]
        assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=20)
@given(models())
def test_a_saved_report_gives_the_same_answers(model: nn.Module) -> None:
    """Counts and causes survive JSON, and need no model."""
    report = fxprof.analyze(model.eval(), SHAPE)
    saved = Report.from_dict(json.loads(report.to_json()))
    for name in NAMES:
        assert saved.count(name) == report.count(name)
        assert saved.explain(name) == report.explain(name)


@settings(max_examples=20)
@given(models())
def test_types_add_up_to_the_count(model: nn.Module) -> None:
    """by_type holds every FLOP."""
    report = fxprof.analyze(model.eval(), SHAPE)
    for name in NAMES:
        counted = report.count(name)
        assert sum(part.flops for part in counted.by_type.values()) == counted.flops
        assert counted.flops >= 0


def test_the_other_way_round_is_the_opposite() -> None:
    """Causes of (a, b) are those of (b, a) with the sign changed, and nothing differs from itself."""
    report = case("attention by hand")
    there, back = causes(report, "thop", "torch"), causes(report, "torch", "thop")
    assert there == {name: -flops for name, flops in back.items()}
    assert explain(report, "thop", "thop").causes == ()


@pytest.mark.parametrize(
    ("name", "tool", "expected"),
    [
        # 26,880 multiply-adds, 20,480 of them projections; in both tools nothing else is counted here.
        ("attention", "thop", {parts.ATTENTION_MISSED: -26_880}),
        ("attention", "fvcore", {parts.ATTENTION_MISSED: -6_400}),
        ("attention by hand", "thop", {parts.MATMUL_MISSED: -6_400}),
        ("fused attention", "fvcore", {parts.ATTENTION_MISSED: -6_400}),
        # 3 x 10 x 8 by a function on its own parameter.
        ("functional", "thop", {parts.FUNCTIONAL_MISSED: -240}),
        ("subclass", "thop", {parts.CLASS_MISSED: -300}),
        # 600 in two calls of a layer with two parents: hooked twice and added up twice.
        ("two parents", "thop", {parts.SHARED: 3 * 600}),
        ("two parents", "torchreid", {parts.SHARED: 600}),
        # 2 images: one is dropped, of 2 x 8 x 8 x 8 x 27.
        ("conv", "torchsummaryX", {parts.BATCH: -13_824}),
        # 25 inputs meet the kernel, and 121 outputs would: 2 x 4 x 8 x 9 x (121 - 25); 968 biases each.
        ("transposed", "torchinfo", {parts.TRANSPOSED: 55_296, parts.BIAS: 1_936}),
        # 2 x 10 tokens become 2, and the 32 biases of each of those.
        ("linear", "torchinfo", {parts.BATCH: -18 * 512, parts.BIAS: 64}),
        ("linear", "torch", {parts.UNIT: 10_240}),
        ("broadcast", "fvcore", {parts.BROADCAST: -210}),
        ("vector", "torch", {parts.UNIT: 192, parts.OPS_MISSED: -24}),
        ("lstm", "fvcore", {parts.RECURRENT_MISSED: -30_720}),
        # 2 x 10 steps of 16 units: 8 operations of the tool's own, and 8 biases.
        ("lstm", "thop", {parts.GATES: 20 * 16 * 16}),
    ],
)
def test_causes_are_named(name: str, tool: str, expected: dict[str, int]) -> None:
    """One reason, and its size by hand."""
    assert causes(case(name), tool) == expected


def test_vit_against_thop() -> None:
    """The attention that no hook sees, and the norms that fxprof's MACs leave out, are all of the difference."""
    with torch.device("meta"):
        report = fxprof.analyze(vit_b_16().eval(), (1, 3, 224, 224))

    found = report.explain("thop")

    assert (found.other_flops, found.base_flops) == (11_286_254_592, 17_563_828_224)
    assert sum(cause.flops for cause in found.causes) == found.flops == -6_277_573_632
    assert [(cause.name, cause.flops, len(cause.places)) for cause in found.causes] == [
        # 12 layers of 4 x 197 x 768 x 768 and 2 x 197 x 197 x 768
        (parts.ATTENTION_MISSED, -12 * (4 * 197 * 768 * 768 + 2 * 197 * 197 * 768), 12),
        (parts.NORMS, 25 * 4 * 197 * 768, 25),
    ]
    assert found.causes[0].places[0].module == "encoder.layers.encoder_layer_0.self_attention"


def test_both_miss_the_same() -> None:
    """What neither tool sees is no reason for a difference between them."""
    assert parts.ATTENTION_MISSED not in causes(case("fused attention"), "thop", "fvcore")


def test_rendered() -> None:
    """Both numbers with their tools, the causes with places, their sum, and what each cannot see."""
    text = render(explain(case("attention"), "thop"))
    assert text.splitlines()[0].split()[:2] == ["thop", "0"]
    assert text.splitlines()[2].split() == ["difference", "-26,880"]
    assert "attention missed  -26,880      1  a -26,880" in text
    assert "sum               -26,880" in text
    assert "thop does not see subclasses of the layers in its table" in text
    assert str(case("attention").explain("thop")) == text


def test_rendered_without_a_difference() -> None:
    """Equal numbers are said to be equal at every op."""
    assert "No difference" in render(explain(case("two parents"), "fvcore"))


def test_overview_lists_every_convention() -> None:
    """One line each, with its count."""
    text = overview(case("linear"))
    assert [line.split()[0] for line in text.splitlines()[2:]] == list(NAMES)
    assert "torchinfo                1,088" in text
