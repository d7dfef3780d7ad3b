"""Timing one forward: how often it runs, on what, and that the model stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fxprof.errors import InputError
from fxprof.report import TensorSpec
from fxprof.timing import Timing, time_forward


class Counting(nn.Module):
    """Counts its forwards and keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x, ids=None, scale=1.0):
        self.calls.append((self.training, torch.is_grad_enabled()))
        self.seen = (x.dtype, None if ids is None else ids.dtype, scale)
        return self.norm(x)


def test_warm_up_and_runs() -> None:
    """Every run is timed, the warm-up is not, in eval mode without gradients."""
    model = Counting().train()
    timing = time_forward(model, (2, 4), runs=5, warmup=2)
    assert len(model.calls) == 7
    assert len(timing.seconds) == 5 and min(timing.seconds) > 0
    assert set(model.calls) == {(False, False)}


def test_the_model_stays_as_it_was() -> None:
    """Mode, running statistics and the random generator."""
    model = Counting().train()
    model.norm.eval()
    state = torch.get_rng_state()
    time_forward(model, (2, 4), runs=1)
    assert (model.training, model.norm.training) == (True, False)
    assert model.norm.running_mean is not None and not model.norm.running_mean.any()
    assert torch.equal(state, torch.get_rng_state())


def test_inputs_of_every_kind() -> None:
    """A shape takes the model's dtype, a spec its own; plain values pass through."""
    model = Counting().double()
    time_forward(model, (2, 4), TensorSpec((2,), "int64"), kwargs={"scale": 2.0}, runs=1)
    assert model.seen == (torch.float64, torch.int64, 2.0)


def test_median_threads_and_device_are_stated() -> None:
    """The line says all there is to say of a measurement."""
    timing = Timing((0.004, 0.001, 0.002), 3, "cpu", 2)
    assert timing.median == 0.002
    assert str(timing) == (
        "Forward time: 2.00 ms, median of 3 runs (1.00 to 4.00 ms) after 3 to warm up, on cpu, 2 threads"
    )
    assert str(Timing((0.001,), 0, "NVIDIA H200", 2)).endswith("on NVIDIA H200")


def test_a_gpu_is_waited_for_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock starts and stops on an idle device."""
    from fxprof import timing

    events: list[str] = []
    monkeypatch.setattr(timing, "_waiter", lambda device: lambda: events.append("wait"))
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda *_: events.append("forward"))
    time_forward(model, (1, 2), runs=2, warmup=0)
    assert events == ["wait", "forward", "wait"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    """The device is named by the driver."""
    assert time_forward(nn.Linear(2, 2).cuda(), (1, 2)).device == torch.cuda.get_device_name()


def test_what_cannot_be_timed_is_refused() -> None:
    """Weights without data, and no runs."""
    with pytest.raises(InputError, match="timing needs real weights"):
        time_forward(nn.Linear(2, 2, device="meta"), (1, 2))
    with pytest.raises(InputError, match="runs must be 1 or more"):
        time_forward(nn.Linear(2, 2), (1, 2), runs=0)
