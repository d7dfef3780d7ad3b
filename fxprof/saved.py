"""Records as plain data, and read back from what JSON made of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from itertools import chain
from operator import attrgetter
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


def plain(item: Any) -> Any:
    """A record, or a nesting of them, as dicts, tuples and plain values: ``dataclasses.asdict`` without its copies."""
    kind: Any = type(item)
    if kind in _LEAVES:
        return item
    if kind is tuple:
        return tuple([plain(part) for part in item])
    if kind is dict:
        return {name: plain(part) for name, part in item.items()}
    return {name: plain(getattr(item, name)) for name in _names(kind)}


_LEAVES = frozenset([int, str, bool, float, type(None)])


def fields_of(record: Any) -> dict[str, Any]:
    """One record as a dict of what it holds, as ``json.dumps`` asks for what it does not know."""
    kind: Any = type(record)
    return {name: getattr(record, name) for name in _names(kind)}


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def check(report: Any) -> None:
    """Raise TypeError where a field of a report that was read holds another kind of value than it should."""
    states, weights = (chain.from_iterable(map(attrgetter(name), report.modules)) for name in ("state", "weights"))
    costs = (op.cost for op in report.ops if op.cost is not None)
    for records in (
        [report],
        report.inputs,
        report.ops,
        costs,
        report.modules,
        states,
        weights,
        report.calls,
        report.bounds,
    ):
        _check(list(records))


def _check(records: Sequence[Any]) -> None:
    """Check records of one kind: a field in all of them at once, which takes little time."""
    for field in fields(records[0]) if records else ():
        one, several = _ONE.get(field.type), _SEVERAL.get(field.type)
        values: Iterable[Any] = map(attrgetter(field.name), records)
        if several:
            values = chain.from_iterable(values)
        wanted = one or several
        if wanted and (wrong := set(map(type, values)) - {wanted}):
            where = f"{field.name!r} of {type(records[0]).__name__}"
            raise TypeError(f"{where} must be {wanted.__name__}, got {min(kind.__name__ for kind in wrong)}")


# Annotations of the records' fields, as they are written there, and what JSON must have held.
_ONE: Mapping[Any, type] = {"str": str, "int": int, "bool": bool}
_SEVERAL: Mapping[Any, type] = {"tuple[str, ...]": str, "tuple[int, int]": int, "Shape": int}


def spec(data: Mapping[str, Any]) -> TensorSpec:
    """A TensorSpec."""
    return _spec(tuple(data["shape"]), data["dtype"])


@lru_cache(maxsize=1 << 14)
def _spec(shape: tuple[int, ...], dtype: str | None) -> TensorSpec:
    return TensorSpec(shape, dtype)


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
