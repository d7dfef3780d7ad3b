"""Calling a rule with the arguments of a torch call, whatever their order and names.

Arguments come with shapes in place of tensors and tuples of shapes in place of lists of tensors.
Torch's parameters are read from the op's schema or the function's signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch._ops import OpOverload, OpOverloadPacket

from fxprof.errors import RuleError, shown
from fxprof.ops import canonical_name, function_of, op_of
from fxprof.report import Cost
from fxprof.rules import Rule, free
from fxprof.rules.backward import backward

# Two names of one parameter: torch's Python functions, its schemas, and the spellings it takes from NumPy.
SAME_PARAMETER = {"input": "self", "self": "input", "dim": "axis", "keepdim": "keepdims"}


@dataclass(frozen=True)
class Parameters:
    """The parameters of one torch function: names in order, and for a schema their types."""

    names: tuple[str, ...]
    types: tuple[str, ...] = ()


def _declared(overload: OpOverload) -> Parameters:
    arguments = overload._schema.arguments
    return Parameters(tuple(a.name for a in arguments), tuple(str(a.type) for a in arguments))


def _schemas(packet: Any) -> tuple[Parameters, ...]:
    return tuple(_declared(getattr(packet, name)) for name in packet.overloads() if "out" not in name.split("_"))


@cache
def _candidates(target: Any) -> tuple[Parameters, ...]:
    """What the target's parameters can be: one per overload; none where torch does not say."""
    if isinstance(target, OpOverload):
        return (_declared(target),)
    if isinstance(target, OpOverloadPacket):
        return _schemas(target)
    if isinstance(target, str):
        method = getattr(torch.Tensor, target, None)
        return _candidates(method) if method is not None else _from_aten(target)
    name = getattr(target, "__name__", "")
    if (applied := function_of(target)) is not None:
        names = tuple(inspect.signature(applied.forward).parameters)
        own_context = applied.setup_context is torch.autograd.Function.setup_context
        return (Parameters(names[own_context:]),)
    if isinstance(target, FunctionType):
        kinds = inspect.signature(target).parameters
        names = tuple(n for n, p in kinds.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        if names or not hasattr(F, f"_{name}"):
            return (Parameters(names),) if names else ()
        return _candidates(getattr(F, f"_{name}"))  # a boolean dispatch of F, as max_pool2d
    return _from_aten(name)


def _from_aten(name: str) -> tuple[Parameters, ...]:
    for spelling in (name, name.rstrip("_"), canonical_name(name)):
        packet = getattr(torch.ops.aten, spelling, None) if spelling else None
        if isinstance(packet, OpOverloadPacket):
            return _schemas(packet)
    return ()


_KINDS = {int: "number", bool: "number", float: "number", type(None): "none", str: "text"}
_INTEGERS = frozenset([int, bool])


def _kind(value: Any) -> str:
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, (tuple, list)):
        integers = _INTEGERS.issuperset(map(type, value)) or all(isinstance(item, int) for item in value)
        return "ints" if integers else "list"
    return "text" if isinstance(value, str) else "number" if isinstance(value, (int, float)) else "other"


# How well a value fits a type of a schema, best first; what is not here does not fit.
FITS: Mapping[str, tuple[str, ...]] = {
    "ints": ("Tensor", "List[int]", "List[SymInt]", "List[Tensor]", "List"),
    "list": ("List[Tensor]", "List[Optional[Tensor]]", "List"),
    "number": ("number", "int", "float", "bool", "SymInt", "List[int]", "Tensor"),
    "text": ("str",),
}


@cache
def _fit(kind: str, type_: str) -> int:
    optional = type_.startswith("Optional[")
    if kind == "none":
        return 2 if optional else -9
    if kind == "other":
        return 1
    bare = type_[len("Optional[") : -1] if optional else type_
    ranks = FITS[kind]
    return next((len(ranks) - i for i, prefix in enumerate(ranks) if bare == prefix or bare.startswith(prefix)), -9)


def _parameters(target: Any, kinds: tuple[str, ...], keywords: tuple[str, ...]) -> tuple[str, ...]:
    """Parameter names of the overload that fits best."""
    candidates = _candidates(target)

    def fit(candidate: Parameters) -> int:
        unknown = sum(k not in candidate.names and SAME_PARAMETER.get(k) not in candidate.names for k in keywords)
        excess = max(len(kinds) - len(candidate.names), 0)
        return sum(map(_fit, kinds, candidate.types)) - 9 * (unknown + excess)

    return max(candidates, key=fit).names if candidates else ()


@dataclass(frozen=True)
class Wants:
    """What a rule asks for."""

    positional: tuple[str, ...]
    keywords: tuple[str, ...]
    variadic: bool
    out: bool


@cache
def _wants(rule: Rule) -> Wants:
    try:
        parameters = inspect.signature(rule).parameters.values()
    except (TypeError, ValueError) as err:
        raise RuleError(f"the rule {_rule_name(rule)} must have a signature that can be read: {err}") from err
    return Wants(
        tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "out"),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any(p.name == "out" or p.kind is p.VAR_KEYWORD for p in parameters),
    )


# -- where arguments are given, as positions among a call's values: the positional ones, then those by name ----------

_NOWHERE = -1  # the last of the values is _ABSENT
_ABSENT: Any = object()


def _values(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*args, *kwargs.values(), _ABSENT)


def _named(name: str, by_name: Mapping[str, int]) -> int:
    return by_name.get(name, by_name.get(SAME_PARAMETER.get(name, name), _NOWHERE))


@cache
def _places(target: Any, kinds: tuple[str, ...], keywords: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Torch's parameter names, and where each is given, then the arguments beyond them."""
    names = _parameters(target, kinds, keywords)
    by_name = {name: place for place, name in enumerate(keywords, len(kinds))}
    order = tuple(range(len(kinds)))
    if getattr(target, "__name__", target) == "__rmatmul__":
        order = order[::-1]
    rest = [_named(name, by_name) for name in names[len(kinds) :]]
    return names, (*order[: len(names)], *rest, *order[len(names) :])


def given(
    wanted: tuple[str, ...], target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Those of the wanted arguments, by torch's names, that a call was given."""
    places = _given(wanted, target, tuple(map(_kind, args)), tuple(kwargs))
    values = _values(args, kwargs)
    return [(name, values[place]) for name, place in places]


@lru_cache(maxsize=1 << 12)
def _given(
    wanted: tuple[str, ...], target: Any, kinds: tuple[str, ...], keywords: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    found = {name: place for name, place in zip(*_places(target, kinds, keywords)) if place != _NOWHERE}
    return tuple((name, found[name]) for name in wanted if name in found)


class _Plan(NamedTuple):
    """Which values of a call a rule gets, by position and by name."""

    positional: tuple[int, ...]
    keywords: tuple[tuple[str, int], ...]


@lru_cache(maxsize=1 << 14)
def _plan(rule: Callable[..., Any], target: Any, kinds: tuple[str, ...], keywords: tuple[str, ...]) -> _Plan:
    """The same for all calls with arguments of these kinds, and by these names."""
    wants = _wants(rule)
    names, places = _places(target, kinds, keywords)
    positional = tuple(range(len(kinds)))
    by_position = dict(zip(names, positional))
    by_name = {name: place for place, name in enumerate(keywords, len(kinds))}
    named = [(name, by_position[name] if name in by_position else _named(name, by_name)) for name in wants.keywords]
    if not wants.variadic:
        positional = places[: len(wants.positional)]
    if _NOWHERE in positional:
        named += zip(wants.positional, positional)
        positional = ()
    return _Plan(positional, tuple((name, place) for name, place in named if place != _NOWHERE))


def call(rule: Callable[..., Any], target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
    """Call a function of shapes with the arguments of a call of ``target``; RuleError where that is not possible."""
    wants = _wants(rule)
    positional, named = args, {}
    if not wants.variadic or wants.keywords:
        values = _values(args, kwargs)
        plan = _plan(rule, target, tuple(map(_kind, args)), tuple(kwargs))
        positional = [values[place] for place in plan.positional]
        named = {name: values[place] for name, place in plan.keywords}
    if wants.out:
        named["out"] = out
    try:
        return rule(*positional, **named)
    except Exception as error:
        raise RuleError(_failure(rule, target, args, kwargs, out, error)) from error


def apply(rule: Rule, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Cost:
    """The cost that ``rule`` gives a call of ``target``. Raises RuleError where it gives none."""
    if rule is free:
        return Cost()
    cost = call(rule, target, args, kwargs, out)
    if not isinstance(cost, Cost) or type(cost.macs) is not int or type(cost.flops) is not int:
        raise RuleError(f"the rule {_rule_name(rule)} of {op_of(target)} must return a Cost of ints, got {shown(cost)}")
    return cost


def _rule_name(rule: Rule) -> str:
    return repr(getattr(rule, "__name__", rule))


def apply_backward(
    target: Any,
    cost: Cost,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    needs: Sequence[Any],
    needs_kwargs: Mapping[str, Any],
    out: Any,
) -> Cost:
    """The cost that the backward of a call adds; ``needs`` marks what needs a gradient in the structure of ``args``."""
    names, places = _places(target, tuple(map(_kind, args)), tuple(kwargs))
    values, flags = _values(args, kwargs), _values(needs, needs_kwargs)
    given = [None if place == _NOWHERE else values[place] for place in places]
    needed = [place != _NOWHERE and flags[place] for place in places]
    rest = {name: value for name, value in kwargs.items() if name not in names}
    return backward(op_of(target), cost, given, needed, rest, out)


def _failure(rule: Rule, target: Any, args: Any, kwargs: Any, out: Any, error: Exception) -> str:
    called = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
    return (
        f"{op_of(target)}({called}) -> {out}: the rule {_rule_name(rule)} could not be applied: "
        f"{type(error).__name__}: {error}"
    )
