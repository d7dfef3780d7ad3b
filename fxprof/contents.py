"""What a traced model consists of: its modules, in order of first call, and the parameters and buffers of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast

import torch
from torch import nn

from fxprof import observed
from fxprof.records import CallProfile, ModuleInfo, StateProfile, TensorSpec, Weight
from fxprof.tracing import Trace
from fxprof.tracing.layouts import spec_of

_path_of = attrgetter("path")


def modules(traced: Trace, made: Sequence[CallProfile], shares: Mapping[str, Fraction]) -> Iterator[ModuleInfo]:
    """Modules in order of first call, then the uncalled ones in registration order; ``made`` are the calls."""
    paths = traced.model.paths
    every = {path: module for module, names in paths.items() for path in names}
    calls = Counter(map(_path_of, made))
    outputs = {call.path: call.outputs for call in reversed(made)}
    places: Mapping[nn.Module, int] = {}
    if len(every) > len(paths):
        places = observed.places(traced.model.model)
        wanted = _wanted(traced, calls)
        every = {path: module for path, module in every.items() if path in wanted}
    state = _State(traced, shares)
    for path in [*filter(every.__contains__, calls), *[path for path in every if path not in calls]]:
        module = every[path]
        kind, below = type(module), module._modules
        held, weights = state.of(module, path)
        leaf = not below or all(child is None for child in below.values())
        yield ModuleInfo(
            path, kind.__name__, calls.get(path, 0), held, outputs.get(path, ()), observed.bases(cast(Any, kind)), leaf,
            places.get(module, 1), paths[module][0], weights, observed.hyperparameters(module),
        )  # fmt: skip


def _wanted(traced: Trace, called: Collection[str]) -> set[str]:
    """Of modules with several paths the first, and those by which they ran."""
    ran = {node.call.path for node in traced.graph.nodes}
    wanted = {names[0] for names in traced.model.paths.values()}
    for path in ran.union(called) - wanted:  # a second path may have parents that are second paths too
        while path not in wanted:
            wanted.add(path)
            path = path.rpartition(".")[0]
    return wanted


class _State:
    """Parameters and buffers, listed once each, at the module that they are reached by first."""

    def __init__(self, traced: Trace, shares: Mapping[str, Fraction]) -> None:
        self._listed = traced.model.names
        self._used = traced.attributes
        self._shares = shares

    def of(self, module: nn.Module, path: str) -> tuple[tuple[StateProfile, ...], tuple[Weight, ...]]:
        """What a module is listed with, and all parameters that it holds."""
        parameters, buffers = module._parameters, module._buffers
        if not parameters and not buffers:
            return (), ()
        prefix = f"{path}." if path else ""
        listed, used, shares = self._listed, self._used, self._shares
        state, weights = [], []
        for key, parameter in parameters.items():
            if parameter is not None:
                name, trainable = prefix + key, parameter.requires_grad
                weight, spec = _weight(key, parameter.shape, parameter.dtype, trainable)
                weights.append(weight)
                if listed.get(id(parameter)) == name:
                    share = shares[name].as_integer_ratio() if name in shares else (1, 1)
                    state.append(StateProfile(name, spec, "parameter", trainable, name in used, share))
        for key, buffer in buffers.items():
            if buffer is not None and listed.get(id(buffer)) == (name := prefix + key):
                state.append(StateProfile(name, spec_of(buffer.shape, buffer.dtype), "buffer", False, name in used))
        return tuple(state), tuple(weights)


@lru_cache(maxsize=4096)
def _weight(name: str, shape: torch.Size, dtype: torch.dtype, trainable: bool) -> tuple[Weight, TensorSpec]:
    return Weight(name, tuple(shape), trainable), spec_of(shape, dtype)
