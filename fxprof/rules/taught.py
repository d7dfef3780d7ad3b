"""``fxprof.rule``: teach fxprof an op of one's own, once for the process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from fxprof.errors import InputError, RuleError
from fxprof.report import Cost
from fxprof.rules.registry import REGISTERED, SHAPES

F = TypeVar("F", bound=Callable[..., Cost])


def rule(*names: str, shape: Callable[..., Any] | None = None) -> Callable[[F], F]:
    """Register what an op costs: ``@fxprof.rule("mylib::op")`` above a function of shapes.

    Args:
        *names: ``"namespace::op"`` for a custom op, ``"package.module.Class"`` for a ``torch.autograd.Function``.
        shape: the shape of the result, from the op's arguments with shapes in place of tensors; several in a
            tuple, a ``TensorSpec`` where the dtype is not that of the first tensor. Needed where the op has no
            fake (meta) kernel; used in its place where it has one.

    The function gets the same arguments, and the shape of the result as ``out``; it returns a ``Cost``, and is
    itself returned unchanged. Every later ``analyze`` counts by it; ``analyze(rules=...)`` counts by others::

        @fxprof.rule("mylib::outer", shape=lambda a, b: (*a, *b))
        def outer(a, b, *, out):
            '''a (n,), b (m,) -> out (n, m): one multiplication per element.'''
            return fxprof.Cost(flops=out[0] * out[1])

    Raises:
        InputError: a name is of another form, or the function cannot be a rule.
        RuleError: the op has a rule already.
    """
    keys = [_checked(name) for name in names]
    if not keys:
        raise InputError('a rule must be for an op: write @fxprof.rule("mylib::op") above it')
    if shape is not None and not callable(shape):
        raise InputError(f"shape must be a function from the arguments' shapes to the result's, got {shape!r}")

    def register(function: F) -> F:
        _check_function(function, keys[0])
        for key in keys:
            if key in REGISTERED:
                other = getattr(REGISTERED[key], "__qualname__", repr(REGISTERED[key]))
                raise RuleError(
                    f"{key!r} already has a rule: {other}; count by another for one report with "
                    f"analyze(..., rules={{**fxprof.RULES, {key!r}: ...}})"
                )
        for key in keys:
            REGISTERED[key] = function
            if shape is not None:
                SHAPES[key] = shape
        return function

    return register


def _checked(name: Any) -> str:
    if callable(name):
        raise InputError('a rule must be for an op: write @fxprof.rule("mylib::op"), with the name of the op')
    if not isinstance(name, str) or ("::" not in name and "." not in name):
        raise InputError(
            'a rule is taught for "namespace::op" or for "package.module.Class" of an autograd.Function, '
            f"got {name!r}; pass rules={{**fxprof.RULES, ...}} to count one of torch's own ops in another way"
        )
    namespace, separator, rest = name.partition("::")
    return f"{namespace}::{rest.partition('.')[0]}" if separator else name  # all overloads are one op


def _check_function(function: Any, key: str) -> None:
    called = getattr(function, "__name__", repr(function))
    if not callable(function):
        raise InputError(f"the rule of {key!r} must be a function of shapes, got {function!r}")
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as err:
        raise InputError(f"the rule {called!r} of {key!r} must have a signature that can be read: {err}") from err
    kinds = {parameter.kind for parameter in parameters.values()}
    if "out" not in parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise InputError(
            f"the rule {called!r} of {key!r} must take the shape of the result as out: "
            f"def {called}(x, ..., *, out), got {called}{inspect.signature(function)}"
        )
