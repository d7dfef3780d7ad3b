"""The model and the process are the same before and after, whatever forward does."""

from __future__ import annotations

import functools
import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxprof
from tests.tracing.made import module
from tests.tracing.same import fingerprint, process, warmed_up


class Hostile(nn.Module):
    """A forward that changes everything it can reach."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self.fails = fails
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.count: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.history: list[Any] = [1]
        self.cache: dict[str, Any] = {"nested": {"deep": []}}
        self.helper = Helper()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layer(x))
        self.count += 1
        self.last = x
        self.history.append(x)
        self.cache["nested"]["deep"].append(x)
        self.cache["mask"] = torch.ones(4)
        self.helper.seen = x
        self.layer.train(not self.layer.training)
        self.layer.weight.data = self.layer.weight.data * 2
        self.layer.bias.zero_()
        self.layer.weight.requires_grad_(False)
        self.layer.extra = nn.Linear(1, 1)
        self.layer.register_forward_hook(lambda *args: None)
        self.register_buffer("late", torch.zeros(1))
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(7)
        random.random()
        np.random.rand(3)
        torch.randn(3)
        if self.fails:
            raise KeyError("on purpose")
        return x


class Helper:
    """A plain object that a module keeps."""

    seen: Any = None

    def __init__(self) -> None:
        self.seen = None


@pytest.mark.parametrize("fails", [False, True])
def test_a_forward_that_changes_everything_changes_nothing(fails: bool) -> None:
    """Attributes, containers, tensors, hooks, seeds and defaults set during forward are taken back."""
    model = Hostile(fails)
    values = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    warmed_up()
    before = fingerprint(model), process()

    if fails:
        with pytest.raises(fxprof.TraceError, match="Hostile raised KeyError: 'on purpose'"):
            fxprof.analyze(model, (2, 4))
    else:
        assert fxprof.analyze(model, (2, 4)).macs == 2 * 4 * 4

    assert (fingerprint(model), process()) == before
    assert model.history == [1] and model.cache == {"nested": {"deep": []}} and model.helper.seen is None
    assert all(torch.equal(tensor, values[name]) for name, tensor in model.state_dict().items())


@functools.lru_cache
def cached_table(size: int) -> Tensor:
    """What many vision models do with their position tables."""
    return torch.arange(size).float() * 0.5


def test_cached_functions_do_not_keep_traced_tensors() -> None:
    """After a trace, a cached table has values again."""
    fxprof.analyze(module(lambda self, x: x + cached_table(200_000)), (200_000,))

    assert not cached_table(200_000).is_meta


def test_other_threads_run_their_models_meanwhile() -> None:
    """A model that another thread runs during a trace computes what it always does."""
    shared = nn.Linear(4, 4)
    x = torch.randn(2, 4)
    expected = shared(x)
    entered, checked = threading.Event(), threading.Event()
    seen: list[Tensor] = []

    def forward(self: Any, value: Tensor) -> Tensor:
        entered.set()
        assert checked.wait(30)
        return self.shared(value)

    def other() -> None:
        assert entered.wait(30)
        try:
            seen.append(shared(x))
        finally:
            checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    report = fxprof.analyze(module(forward, shared=shared), (2, 4))
    thread.join()

    assert torch.equal(seen[0], expected)
    assert report.macs == 2 * 4 * 4


def test_no_weight_is_copied_or_read() -> None:
    """A model of 400 GB on the meta device is analyzed like any other."""
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(100_000, 100_000, bias=False) for _ in range(10)))

    assert fxprof.analyze(model, (1, 100_000)).macs == 10 * 100_000 * 100_000
