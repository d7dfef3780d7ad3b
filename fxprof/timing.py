"""How long one forward takes: measured, not derived, so it holds for one machine only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from fxprof.errors import InputError
from fxprof.modes import evaluating
from fxprof.report import TensorSpec


@dataclass(frozen=True)
class Timing:
    """Seconds of every counted run, and under which conditions they were taken."""

    seconds: tuple[float, ...]
    warmup: int
    device: str
    threads: int

    @property
    def median(self) -> float:
        """Median seconds of one forward."""
        return median(self.seconds)

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else ""
        return (
            f"Forward time: {_ms(self.median)} ms, median of {len(self.seconds)} runs "
            f"({_ms(min(self.seconds))} to {_ms(max(self.seconds))} ms) after {self.warmup} to warm up, "
            f"on {self.device}{threads}"
        )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}"


def time_forward(
    model: nn.Module, *inputs: Any, kwargs: Mapping[str, Any] | None = None, runs: int = 10, warmup: int = 3
) -> Timing:
    """Run ``model`` on made-up data and take the median of several forwards, in eval mode without gradients.

    Args:
        model: a module with real weights, on the device to measure.
        *inputs: as for ``analyze``: shapes, TensorSpecs, tensors or plain values.
        kwargs: the same for keyword arguments.
        runs: how many forwards are counted.
        warmup: how many run before them.

    Raises:
        InputError: the weights are on the meta device, or ``runs`` is no positive number.
    """
    if runs < 1 or warmup < 0:
        raise InputError(f"runs must be 1 or more and warmup 0 or more, got {runs} and {warmup}")
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    if device.type == "meta":
        raise InputError("timing needs real weights, but the model's are on the meta device; build it on a real one")
    floating = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())
    args, named = tree_map(lambda leaf: _real(leaf, device, floating), (_shapes(inputs), dict(kwargs or {})))
    wait = _waiter(device)
    with evaluating(model), torch.no_grad():
        seconds = [_timed(lambda: model(*args, **named), wait) for _ in range(warmup + runs)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return Timing(tuple(seconds[warmup:]), warmup, name, torch.get_num_threads())


def _timed(forward: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Seconds of one forward; a GPU returns before it is done, so it is waited for before and after."""
    wait()
    start = time.perf_counter()
    forward()
    wait()
    return time.perf_counter() - start


def _waiter(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    backend = getattr(torch, device.type, None)
    wait = getattr(backend, "synchronize", None)
    return wait if callable(wait) else lambda: None


def _shapes(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A tuple of sizes stands for a floating tensor, as for ``analyze``."""
    return tuple(TensorSpec(item) if _is_shape(item) else item for item in inputs)


def _is_shape(item: Any) -> bool:
    return isinstance(item, tuple) and bool(item) and all(type(size) is int for size in item)


def _real(leaf: Any, device: torch.device, floating: torch.dtype) -> Any:
    """A tensor for a spec: random, from a generator of its own, or ones where it is not floating."""
    if isinstance(leaf, torch.Tensor):
        return leaf.to(device)
    if not isinstance(leaf, TensorSpec):
        return leaf
    dtype = getattr(torch, leaf.dtype) if leaf.dtype else floating
    if not dtype.is_floating_point:
        return torch.ones(leaf.shape, dtype=dtype, device=device)
    made = torch.rand(leaf.shape, generator=torch.Generator().manual_seed(0))
    return made.to(device=device, dtype=dtype)
