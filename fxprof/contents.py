"""What a traced model consists of: its modules, in order of first call, and the parameters and buffers of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, cast

from fxprof import observed
from fxprof.records import ModuleInfo, StateProfile, TensorSpec
from fxprof.tracing import Trace
from fxprof.tracing.layouts import spec_of


def modules(traced: Trace, shares: Mapping[str, Fraction]) -> Iterator[ModuleInfo]:
    """Modules in order of first call, then the uncalled ones in registration order."""
    every = {path: module for module, paths in traced.model.paths.items() for path in paths}
    own = {paths[0] for paths in traced.model.paths.values()}
    calls: dict[str, int] = {}
    outputs: dict[str, tuple[TensorSpec, ...]] = {}
    for call in traced.calls:
        calls[call.path] = calls.get(call.path, 0) + 1
        outputs.setdefault(call.path, call.outputs)
    ran = {node.meta["module_path"] for node in traced.graph.nodes if "module_path" in node.meta}
    state = _state(traced, shares)
    places = observed.places(traced.model.model)
    order = {path: position for position, path in enumerate(calls)}
    wanted = set(own)
    for path in (calls.keys() | ran) - own:  # a shared module's second path may have parents that are second paths too
        while path not in wanted:
            wanted.add(path)
            path = path.rpartition(".")[0]
    for path in sorted((path for path in every if path in wanted), key=lambda p: order.get(p, len(order))):
        module = every[path]
        yield ModuleInfo(
            path, type(module).__name__, calls.get(path, 0), tuple(state.get(path, ())), outputs.get(path, ()),
            observed.bases(cast(Any, type(module))), not any(module._modules.values()), places[module],
            traced.model.paths[module][0], observed.weights(module), observed.hyperparameters(module),
        )  # fmt: skip


def _state(traced: Trace, shares: Mapping[str, Fraction]) -> dict[str, list[StateProfile]]:
    """Parameters and buffers by the module that owns them."""
    found: dict[str, list[StateProfile]] = {}
    used = traced.attributes
    for kind, entries in (("parameter", traced.model.parameters), ("buffer", traced.model.buffers)):
        for name, tensor in entries.items():
            spec = spec_of(tensor.shape, tensor.dtype)
            trainable = kind == "parameter" and tensor.requires_grad
            share = shares[name].as_integer_ratio() if name in shares else (1, 1)
            entry = StateProfile(name, spec, kind, trainable, name in used, share)
            found.setdefault(name.rpartition(".")[0], []).append(entry)
    return found
