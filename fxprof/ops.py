"""Torch's spellings: that ``torch.add``, ``x.add_``, ``operator.add`` and ``aten.add`` are one op.

``op_of`` names an op, ``apply`` calls a rule with the arguments of a torch call, ``classify`` says
how an op is counted. Arguments come with shapes in place of tensors and tuples of shapes in place
of lists of tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch._ops import OpOverload, OpOverloadPacket

from fxprof.errors import InputError, RuleError
from fxprof.report import Cost
from fxprof.rules import RULES, Rule, free
from fxprof.rules.backward import backward
from fxprof.rules.unruled import DECOMPOSED, UNCOUNTED

# Other spellings -> canonical name. In-place and dunder spellings need no entry.
ALIASES: Mapping[str, str] = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctan2": "atan2", "arctanh": "atanh", "clip": "clamp", "divide": "div", "true_divide": "div", "truediv": "div",
    "fix": "trunc", "floordiv": "floor_divide", "greater": "gt", "greater_equal": "ge", "less": "lt",
    "less_equal": "le", "not_equal": "ne", "mod": "remainder", "multiply": "mul", "negative": "neg",
    "pos": "positive", "subtract": "sub",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "invert": "bitwise_not", "inv": "bitwise_not",
    "ger": "outer", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim", "concat": "cat",
    "concatenate": "cat", "row_stack": "vstack", "trapz": "trapezoid", "_threshold": "threshold",
    "log_sigmoid": "logsigmoid", "conj_physical": "conj", "_sym_int": "sym_int", "_sym_sqrt": "sym_sqrt",
    "dsmm": "smm", "hsmm": "hspmm", "saddmm": "sspaddmm", "spmm": "smm",
    "linalg_matmul": "matmul", "linalg_inv": "inverse", "linalg_det": "det", "linalg_slogdet": "slogdet",
    "linalg_matrix_exp": "matrix_exp", "linalg_matrix_power": "matrix_power", "linalg_svd": "svd",
    "linalg_pinv": "pinverse", "linalg_householder_product": "orgqr", "linalg_diagonal": "diagonal",
    "linalg_cross": "cross", "special_digamma": "digamma", "special_psi": "digamma", "special_erf": "erf",
    "special_erfc": "erfc", "special_erfinv": "erfinv", "special_exp2": "exp2", "special_expit": "sigmoid",
    "special_expm1": "expm1", "special_gammainc": "igamma", "special_gammaincc": "igammac",
    "special_gammaln": "lgamma", "special_i0": "i0", "special_log1p": "log1p", "special_log_softmax": "log_softmax",
    "special_logit": "logit", "special_logsumexp": "logsumexp", "special_multigammaln": "mvlgamma",
    "special_polygamma": "polygamma", "special_round": "round", "special_sinc": "sinc",
    "special_softmax": "softmax", "special_xlogy": "xlogy",
}  # fmt: skip

# Functions of these modules are torch's own; any other function keeps its qualified name.
TORCH_MODULES = ("torch", "torchvision.ops", "_operator", "operator", "builtins")

# Two names of one parameter: torch's Python functions, its schemas, and the spellings it takes from NumPy.
SAME_PARAMETER = {"input": "self", "self": "input", "dim": "axis", "keepdim": "keepdims"}

# What ``__radd__``, ``__iadd__`` and ``operator.iadd`` do the other way round or in place.
OPERATORS = (
    "add", "sub", "mul", "matmul", "div", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift",
)  # fmt: skip


def op_of(target: Any) -> str:
    """The canonical name of what an fx target computes; an unknown one keeps its qualified name."""
    try:
        return _op_of(target)
    except TypeError:  # unhashable
        return _named(target)


@cache
def _op_of(target: Any) -> str:
    return _named(target)


def _named(target: Any) -> str:
    if isinstance(target, str):
        return _canonical(target)
    if isinstance(target, (OpOverload, OpOverloadPacket)):
        packet = target.overloadpacket if isinstance(target, OpOverload) else target
        namespace, _, name = packet._qualified_op_name.partition("::")
        return _canonical(name) if namespace in ("aten", "prims", "prim", "torchvision") else f"{namespace}::{name}"
    name, module = _raw_name(target)
    if not name or not f"{module}.".startswith(tuple(f"{home}." for home in TORCH_MODULES)):
        return f"{module}.{getattr(target, '__qualname__', None) or type(target).__qualname__}"
    if module == "torch.foreach":
        name = f"foreach_{name}"
    canonical = _canonical(name)
    return canonical if _is_known(canonical) else f"{_public(module)}.{name}"


def _raw_name(target: Any) -> tuple[str, str]:
    """What torch calls it, and where it lives."""
    owner = getattr(target, "__self__", None)
    if getattr(target, "__name__", "") in ("__get__", "__set__", "__delete__"):  # a tensor's attribute
        getter = getattr(owner, "fget", owner)
        return getattr(getter, "__name__", ""), "torch"
    name = getattr(target, "__name__", "") or ""
    module = getattr(target, "__module__", None)
    if module is None or not isinstance(module, str):
        home = getattr(target, "__objclass__", None) or owner
        module = getattr(home, "__module__", None) or getattr(home, "__name__", None) or "torch"
    return name, module


def _public(module: str) -> str:
    return "torch" if module.startswith("torch._C") else module


@cache
def _canonical(name: str) -> str:
    """``__iadd__``, ``add_``, ``multiply_`` and ``view_copy`` without their decoration."""
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        name = _undecorated(name, "r") or _undecorated(name, "i") or name
    elif name.endswith("_"):
        name = name.rstrip("_")
    else:
        name = _undecorated(name, "i") or name
    name = name.removeprefix("_") if name.startswith("_foreach_") else name
    name = ALIASES.get(name, name)
    base = name.removesuffix("_copy")
    return base if name not in RULES and RULES.get(base) is free else name


def _undecorated(name: str, prefix: str) -> str | None:
    base = name.removeprefix(prefix)
    return base if base != name and base in OPERATORS else None


def _is_known(name: str) -> bool:
    return name in RULES or name in DECOMPOSED or name in UNCOUNTED


def classify(function: Any, rules: Mapping[str, Rule] = RULES) -> str:
    """How an op is counted: "ruled", "free" (0 FLOPs), "decomposed" into other ops, or "uncounted"."""
    name = op_of(function)
    if name in rules:
        return "free" if rules[name] is free else "ruled"
    if name in DECOMPOSED:
        return "decomposed"
    if name in UNCOUNTED:
        return "uncounted"
    raise InputError(f"an op must be in fxprof.rules.RULES or in fxprof.rules.unruled, got {name!r}")


# -- binding -----------------------------------------------------------------------------------


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
    if isinstance(target, FunctionType):
        kinds = inspect.signature(target).parameters
        names = tuple(n for n, p in kinds.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        if names or not hasattr(F, f"_{name}"):
            return (Parameters(names),) if names else ()
        return _candidates(getattr(F, f"_{name}"))  # a boolean dispatch of F, as max_pool2d
    return _from_aten(name)


def _from_aten(name: str) -> tuple[Parameters, ...]:
    for spelling in (name, name.rstrip("_"), _canonical(name)):
        packet = getattr(torch.ops.aten, spelling, None) if spelling else None
        if isinstance(packet, OpOverloadPacket):
            return _schemas(packet)
    return ()


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "ints" if all(isinstance(item, int) for item in value) else "list"
    if value is None:
        return "none"
    return "text" if isinstance(value, str) else "number" if isinstance(value, (int, float)) else "other"


# How well a value fits a type of a schema, best first; what is not here does not fit.
FITS: Mapping[str, tuple[str, ...]] = {
    "ints": ("Tensor", "List[int]", "List[SymInt]", "List[Tensor]", "List"),
    "list": ("List[Tensor]", "List[Optional[Tensor]]", "List"),
    "number": ("number", "int", "float", "bool", "SymInt", "List[int]", "Tensor"),
    "text": ("str",),
}


def _fit(kind: str, type_: str) -> int:
    optional = type_.startswith("Optional[")
    if kind == "none":
        return 2 if optional else -9
    if kind == "other":
        return 1
    bare = type_[len("Optional[") : -1] if optional else type_
    ranks = FITS[kind]
    return next((len(ranks) - i for i, prefix in enumerate(ranks) if bare == prefix or bare.startswith(prefix)), -9)


@cache
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
    parameters = inspect.signature(rule).parameters.values()
    return Wants(
        tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "out"),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any(p.name == "out" or p.kind is p.VAR_KEYWORD for p in parameters),
    )


_ABSENT: Any = object()


def _value(name: str, position: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The argument that the parameter ``name`` at ``position`` was given, if it was."""
    if 0 <= position < len(args):
        return args[position]
    if name in kwargs:
        return kwargs[name]
    return kwargs.get(SAME_PARAMETER.get(name, name), _ABSENT)


def bind(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Any]]:
    """Torch's parameter names and the arguments in that order; the value of one not given is _ABSENT."""
    names = _parameters(target, tuple(map(_kind, args)), tuple(kwargs))
    return names, _ordered(target, names, args, kwargs)


def _ordered(target: Any, names: tuple[str, ...], args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    if getattr(target, "__name__", target) == "__rmatmul__":
        args = (args[1], args[0])
    return [_value(name, position, args, kwargs) for position, name in enumerate(names)] + list(args[len(names) :])


def apply(rule: Rule, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Cost:
    """Call ``rule`` with the arguments of a call of ``target``. Raises RuleError where that is not possible."""
    if rule is free:
        return Cost()
    wants = _wants(rule)
    keywords: dict[str, Any] = {"out": out} if wants.out else {}
    positional = list(args)
    if not wants.variadic or wants.keywords:
        names, values = bind(target, args, kwargs)
        for name in wants.keywords:
            keywords[name] = _value(name, names.index(name) if name in names else -1, args, kwargs)
        if not wants.variadic:
            positional = values[: len(wants.positional)]
        if any(value is _ABSENT for value in positional):
            keywords.update(zip(wants.positional, positional))
            positional = []
        keywords = {name: value for name, value in keywords.items() if value is not _ABSENT}
    try:
        cost = rule(*positional, **keywords)
    except Exception as error:
        raise RuleError(_failure(rule, target, args, kwargs, out, error)) from error
    if not isinstance(cost, Cost):
        raise RuleError(f"the rule {_rule_name(rule)} of {op_of(target)} must return a Cost, got {cost!r}")
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
    names, values = bind(target, args, kwargs)
    flags = _ordered(target, names, needs, needs_kwargs)
    given = [None if value is _ABSENT else value for value in values]
    rest = {name: value for name, value in kwargs.items() if name not in names}
    return backward(op_of(target), cost, given, [flag is not _ABSENT and flag for flag in flags], rest, out)


def _failure(rule: Rule, target: Any, args: Any, kwargs: Any, out: Any, error: Exception) -> str:
    called = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
    return (
        f"{op_of(target)}({called}) -> {out}: the rule {_rule_name(rule)} could not be applied: "
        f"{type(error).__name__}: {error}"
    )
