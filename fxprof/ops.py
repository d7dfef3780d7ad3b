"""Torch's spellings: that ``torch.add``, ``x.add_``, ``operator.add`` and ``aten.add`` are one op.

``op_of`` names an op, ``classify`` says how it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from fxprof.errors import InputError
from fxprof.rules import RULES, Rule, free
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
    "dsmm": "mm", "spmm": "mm", "smm": "mm", "hspmm": "mm", "hsmm": "mm", "sspaddmm": "addmm", "saddmm": "addmm",
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

# Registered operators of these namespaces go by their plain names.
TORCH_NAMESPACES = ("aten", "prims", "prim", "torchvision")

# Functions of these modules are torch's own; any other function keeps its qualified name.
TORCH_MODULES = ("torch", "torchvision.ops", "_operator", "operator", "builtins")

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
        return canonical_name(target)
    if isinstance(target, (OpOverload, OpOverloadPacket)):
        packet = target.overloadpacket if isinstance(target, OpOverload) else target
        return qualified_op(target) or canonical_name(packet._qualified_op_name.partition("::")[2])
    if (applied := function_of(target)) is not None:
        return f"{applied.__module__}.{applied.__qualname__}"
    name, module = _raw_name(target)
    if not name or not f"{module}.".startswith(tuple(f"{home}." for home in TORCH_MODULES)):
        return f"{module}.{getattr(target, '__qualname__', None) or type(target).__qualname__}"
    if module == "torch.autograd":
        return f"{module}.{name}"  # not the attribute of the same name
    if module == "torch.foreach":
        name = f"foreach_{name}"
    canonical = canonical_name(name)
    return canonical if _is_known(canonical) else f"{_public(module)}.{name}"


def function_of(target: Any) -> Any:
    """The autograd.Function whose ``apply`` this is, or None."""
    owner = getattr(target, "__self__", None)
    return owner if isinstance(owner, type) and issubclass(owner, torch.autograd.Function) else None


def qualified_op(target: Any) -> str | None:
    """``"namespace::op"`` of a custom op; None for what is torch's own, or torchvision's."""
    if not isinstance(target, (OpOverload, OpOverloadPacket)):
        return None
    packet = target.overloadpacket if isinstance(target, OpOverload) else target
    name: str = packet._qualified_op_name
    return None if name.partition("::")[0] in TORCH_NAMESPACES else name


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
def canonical_name(name: str) -> str:
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
