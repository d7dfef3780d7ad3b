"""One model of every torchvision family: executable graphs, untouched models, one count in every mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fxprof
from tests.tracing.models import EXECUTABLE, FAMILIES, random_like, small
from tests.tracing.same import assert_same, fingerprint, process, warmed_up


@pytest.mark.parametrize("family", EXECUTABLE)
def test_the_graph_of_every_family_returns_what_the_model_returns(family: str) -> None:
    """Classification, segmentation and quantizable models, on random input, to the last bit."""
    made = small(EXECUTABLE[family])
    made.model.eval()
    graph_module = fxprof.trace(made.model, *made.inputs)

    assert_same(made.model, graph_module, *random_like(made.inputs))


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_16", "mobilenet_v3_small"])
def test_real_models_count_the_same_on_every_device_and_in_every_mode(name: str) -> None:
    """CPU, meta, train, eval, bfloat16."""
    made = small(name)
    reports = [
        fxprof.analyze(model, *made.inputs)
        for model in (
            made.model.eval(), made.model.train(), small(name, "meta").model, made.model.to(torch.bfloat16),
            made.model.to("meta"),
        )
    ]  # fmt: skip

    assert len({report.macs for report in reports}) == 1
    assert len({report.params for report in reports}) == 1


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_torchvision_family_is_left_untouched(family: str, training: bool) -> None:
    """Modules, tensors, hooks, flags, generators, defaults and torch's functions are as before."""
    made = small(FAMILIES[family])
    made.model.train(training)
    next(iter(made.model.children())).train(not training)  # a mixed state must survive too
    warmed_up()
    before = fingerprint(made.model), process()

    try:
        report = fxprof.analyze(made.model, *made.inputs)
    except fxprof.TraceError as err:  # a detector in train mode asks for targets
        assert training and "targets should not be none" in str(err)
    else:
        assert report.macs > 0

    assert (fingerprint(made.model), process()) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forward_that_raises_midway_leaves_it_untouched(family: str) -> None:
    """The same when one of the last modules raises."""
    made = small(FAMILIES[family])
    made.model.eval()
    leaves = [part for part in made.model.modules() if not list(part.children())]

    def stop(*_: Any) -> None:
        raise ValueError("stopped midway")

    handle = leaves[len(leaves) // 2].register_forward_pre_hook(stop)
    warmed_up()
    before = fingerprint(made.model), process()

    with pytest.raises(fxprof.TraceError, match="stopped midway"):
        fxprof.analyze(made.model, *made.inputs)

    assert (fingerprint(made.model), process()) == before
    handle.remove()
