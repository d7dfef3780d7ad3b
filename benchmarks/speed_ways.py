"""``python -m benchmarks.speed_ways MODEL [WAY ...]``: one process's measurement of one model, as a line of JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from benchmarks import peers
from benchmarks.zoos import tensors
from fxprof import repeated, zoo
from fxprof.report import TensorSpec

_AGAIN = 5  # repeats of what is measured warm
_PEERS = ("fvcore", "thop", "ptflops", "torchinfo", "deepspeed")

Made = tuple[nn.Module, tuple[Any, ...], Mapping[str, Any]]  # a model, its inputs and keyword inputs


def _fxprof(made: Made) -> None:
    model, inputs, kwargs = made
    fxprof.analyze(model, *inputs, kwargs=kwargs)


def _traced(made: Made) -> None:
    repeated.forget()
    _fxprof(made)


def _forward(made: Made) -> None:
    model, inputs, kwargs = made
    with torch.no_grad():
        model(*inputs, **kwargs)


def _flop_counter(made: Made) -> None:
    with FlopCounterMode(display=False):
        _forward(made)


def _symbolic_trace(made: Made) -> None:
    from torch.fx.passes.shape_prop import ShapeProp

    model, inputs, _ = made
    with torch.no_grad():
        ShapeProp(torch.fx.symbolic_trace(model)).propagate(*inputs)


def _export(made: Made) -> None:
    model, inputs, kwargs = made
    with torch.no_grad():
        torch.export.export(model, inputs, dict(kwargs))


def _peer(name: str) -> Callable[[Made], None]:
    def ask(made: Made) -> None:
        model, inputs, kwargs = made
        if kwargs or len(inputs) != 1:
            raise ValueError("it is asked about models of one input by position only")
        peers.ask(name, model, *inputs)

    return ask


# On meta tensors; the first two by name also on specs.
ON_META: dict[str, Callable[[Made], None]] = {
    "flop_counter": _flop_counter, "symbolic_trace": _symbolic_trace, "export": _export,
}  # fmt: skip
ON_CPU = {name: _peer(name) for name in _PEERS}


def _taken(way: Callable[[Made], None], made: Made) -> float:
    """CPU seconds, with what others left behind out of the way."""
    gc.collect()
    return _timed(way, made)


def _timed(way: Callable[[Made], None], made: Made) -> float:
    start = time.process_time()
    way(made)
    return time.process_time() - start


def _made(spec: str, device: str) -> Made:
    """The model with tensors of that device for inputs."""
    built = zoo.build(spec, device)
    built.model.eval().to(device)
    args, kwargs = tensors((built.inputs, dict(built.kwargs)), lambda given: _tensor(given, device), device)
    return built.model, tuple(args), kwargs


def _tensor(spec: TensorSpec, device: str) -> torch.Tensor:
    return torch.ones(spec.shape, dtype=getattr(torch, spec.dtype or "float32"), device=device)


def _toy(device: str) -> Made:
    """A model with the common layers, for what is imported and set up on first use."""
    layers = [
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Hardswish(), nn.SiLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 4),
    ]  # fmt: skip
    return nn.Sequential(*layers).eval().to(device), (torch.ones(1, 3, 32, 32, device=device),), {}


def measured(spec: str, wanted: list[str]) -> dict[str, Any]:
    """CPU seconds by way, and the reasons of those that did not run."""
    seconds: dict[str, float] = {}
    missing: dict[str, str] = {}
    made = _made(spec, "meta")
    _fxprof(_toy("meta"))
    _forward(_toy("meta"))
    seconds["fxprof"] = _taken(_fxprof, made)
    _forward(made)
    rounds = [[_timed(way, made) for way in (_forward, _fxprof, _traced)] for _ in range(_AGAIN)]
    seconds["forward"], _, seconds["traced"] = map(min, zip(*rounds))
    seconds["again"] = max(again for _, again, _ in rounds)  # each of them has to be fast
    for ways, device in ((ON_META, "meta"), (ON_CPU, "cpu")):
        for name, way in ways.items():
            if not wanted or name in wanted:
                try:
                    way(_toy(device))
                    seconds[name] = _taken(way, _made(spec, device))
                except Exception as err:
                    missing[name] = f"{type(err).__name__}: {' '.join(str(err).split())[:80]}"
    return {"seconds": seconds, "missing": missing}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(json.dumps(measured(sys.argv[1], sys.argv[2:])))
