"""Records read back from what ``dataclasses.asdict`` and JSON made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxprof.records import (
    Attributes,
    CallProfile,
    Cost,
    ModuleInfo,
    OpProfile,
    StateProfile,
    TensorSpec,
    Weight,
)


def spec(data: Mapping[str, Any]) -> TensorSpec:
    """A TensorSpec."""
    return TensorSpec(tuple(data["shape"]), data["dtype"])


def op(data: Mapping[str, Any]) -> OpProfile:
    """An OpProfile."""
    cost = None if data["cost"] is None else Cost(**data["cost"])
    specs = {side: tuple(map(spec, data[side])) for side in ("inputs", "outputs")}
    names = {side: tuple(data[side]) for side in ("args", "memory")}
    return OpProfile(**{**data, **specs, **names, "cost": cost, "attributes": attributes(data["attributes"])})


def attributes(data: Any) -> Attributes:
    """Names with plain values; JSON knows no tuples."""
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in data)


def call(data: Mapping[str, Any]) -> CallProfile:
    """A CallProfile."""
    inputs, outputs = (tuple(map(spec, data[side])) for side in ("inputs", "outputs"))
    return CallProfile(data["path"], inputs, outputs, data["start"], data["stop"])


def module(data: Mapping[str, Any]) -> ModuleInfo:
    """A ModuleInfo."""
    state = tuple(
        StateProfile(**{**entry, "spec": spec(entry["spec"]), "share": tuple(entry.get("share", (1, 1)))})
        for entry in data["state"]
    )
    weights = tuple(Weight(entry["name"], tuple(entry["shape"]), entry["trainable"]) for entry in data["weights"])
    return ModuleInfo(
        data["path"], data["type"], data["calls"], state, tuple(map(spec, data["outputs"])), tuple(data["bases"]),
        data["leaf"], data["places"], data["first"], weights, attributes(data["attributes"]),
    )  # fmt: skip
