"""Large tensors are copied stretch by stretch: every value arrives, none that is not finite is missed."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fxprof.checkpoint import copying
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.plan import Match, Plan
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import same, snapshot, unchanged


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches so short that small tensors have many; two threads share them."""
    monkeypatch.setattr(copying, "STRETCH", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


def model_of(size: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """Two large parameters and a small one between them, all random."""
    torch.manual_seed(seed)
    model = nn.Module()
    for name, count in (("a", size), ("b", 3), ("c", size + 1)):
        model.register_parameter(name, nn.Parameter(torch.randn(count).to(dtype)))
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "-inf", "max", "-max", "tiny", "-0"])
@pytest.mark.parametrize("at", [0, 63, 64, 999])
def test_each_value_that_is_not_finite_is_found(dtype: torch.dtype, value: str, at: int) -> None:
    """At the start, the end, and either side of a border between stretches; the largest finite numbers are none."""
    info = torch.finfo(dtype)
    numbers = {"max": info.max, "-max": info.min, "tiny": info.tiny, "-nan": float("nan"), "-0": -0.0}
    odd = torch.tensor(numbers[value] if value in numbers else float(value), dtype=dtype)
    if value == "-nan":
        odd = torch.copysign(odd, torch.tensor(-1.0, dtype=dtype))
    model, source = model_of(1000, dtype), dict(model_of(1000, dtype, seed=1).state_dict())
    source["c"][at] = odd
    found = [(change.target, change.text) for change in load(model, source).changes]
    assert found == ([] if torch.isfinite(odd) else [("c", "1 values are NaN or infinite")])
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    assert all(torch.equal(p.detach().view(bits), source[name].view(bits)) for name, p in model.named_parameters())


def test_a_tensor_copied_in_parts_is_looked_at_whole() -> None:
    """Where three sources fill one tensor, each is large, and one of them is not finite."""
    model: Any = nn.Module()
    model.qkv = nn.Parameter(torch.zeros(48, 16))
    source = {name: torch.randn(16, 16) for name in "qkv"}
    source["k"][3, 5] = float("-inf")
    plan = Plan((Match("qkv", ("q", "k", "v"), "qkv"),))
    result = load(model, source, plan=plan, force=True)
    assert [(change.target, change.kind) for change in result.changes] == [("qkv", "non-finite")]
    assert torch.equal(model.qkv.detach(), torch.cat(list(source.values())))


def test_autograd_sees_the_write() -> None:
    """A value saved for backward before the load is known to be stale after it."""
    model = model_of(1000)
    out = (model.a * model.a).sum()
    load(model, model_of(1000, seed=1).state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("context", [torch.inference_mode, lambda: torch.device("meta"), torch.enable_grad])
def test_contexts_of_torch(context: Callable[[], Any]) -> None:
    """Modes and default devices that are in force where load is called change nothing about the copies."""
    model, source = model_of(1000), model_of(1000, seed=1).state_dict()
    with torch.inference_mode():
        made_inside = model_of(1000)
    with context():
        load(model, source)
    with torch.inference_mode():
        load(made_inside, source)
    assert same(model, source)
    assert same(made_inside, source)


def test_views_and_other_layouts() -> None:
    """A target in another memory format, a source that is a transposed view, a part of a larger tensor."""
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(8, 4, 5, 5).to(memory_format=torch.channels_last))
    model.v = nn.Parameter(torch.zeros(40, 30))
    whole = torch.zeros(100)
    model.register_buffer("part", whole[10:90])
    source = {"w": torch.randn(8, 4, 5, 5), "v": torch.randn(30, 40).t(), "part": torch.randn(80)}
    load(model, source)
    assert same(model, source)
    assert whole[:10].eq(0).all()
    assert whole[90:].eq(0).all()


# -- all or nothing ----------------------------------------------------------------------------


def test_a_damaged_byte_at_the_end_leaves_all_as_it_was(tmp_path: Path) -> None:
    """Every checksum is compared before the first stretch is written."""
    path = tmp_path / "w.pth"
    torch.save(model_of(5000, seed=1).state_dict(), path)
    data = bytearray(path.read_bytes())
    raw = model_of(5000, seed=1).state_dict()["c"].numpy().tobytes()
    data[data.index(raw) + len(raw) - 1] ^= 1
    path.write_bytes(data)
    model = model_of(5000)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="does not have the checksum"):
        load(model, path)
    assert unchanged(model, before)


def test_an_interrupt_between_two_stretches_finds_all_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, sent while part of the values is there: the load ends with all of them."""
    model, source = model_of(200_000), model_of(200_000, seed=1).state_dict()
    arrived: list[bool] = []
    original, last, first = np.copyto, model.c.detach(), threading.Lock()

    def interrupted(*args: Any) -> None:
        if first.acquire(blocking=False):  # both threads may be here
            arrived.append(not torch.equal(last, source["c"]))
            _thread.interrupt_main()
        original(*args)

    monkeypatch.setattr(np, "copyto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(model, source, freeze=True)
    assert arrived == [True]
    assert same(model, source)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_whatever_stops_the_stretches_finds_all_copied(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the small tensors are there, the large ones follow, however the copy of a stretch ends."""
    model, source = model_of(1000), model_of(1000, seed=1).state_dict()
    original, left = np.copyto, 5

    def stop(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        original(*args)

    monkeypatch.setattr(np, "copyto", stop)
    with pytest.raises(type(error)), torch.device("meta"):  # where new tensors go is no matter
        load(model, source)
    assert same(model, source)


def test_without_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads, the one that there is copies all."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    model, source = model_of(1000), model_of(1000, seed=1).state_dict()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    load(model, source)
    assert same(model, source)


def test_threads_share_the_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as torch uses, and each stretch once."""
    seen: list[tuple[int, int]] = []
    original = np.copyto
    both = threading.Barrier(2, timeout=20)

    def noted(target: Any, source: Any) -> None:
        if not seen:
            both.wait()
        seen.append((threading.get_ident(), target.size))
        original(target, source)

    monkeypatch.setattr(np, "copyto", noted)
    model, source = model_of(1000), model_of(1000, seed=1).state_dict()
    load(model, source)
    assert len({ident for ident, _ in seen}) == 2
    assert sum(size for _, size in seen) == 2001
    assert same(model, source)
