"""Reports that were made before: a model that has not changed is not traced again for the same inputs.

A report follows from the model's code, the state of its modules and the inputs. Where the code is known to read nothing
else (``tracing/closed.py``) and all of that can be compared (``tracing/states.py``), the report of an equal question is
the same. Who analyzes a model once pays nothing for it: only what is asked for the second time is compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fxprof.observed import HYPERPARAMETERS
from fxprof.report import Report, TensorSpec
from fxprof.rules.registry import REGISTERED, SHAPES
from fxprof.tracing.alike import GLOBAL_HOOKS
from fxprof.tracing.closed import closed
from fxprof.tracing.inventory import Inventory
from fxprof.tracing.states import NoStateError, state_of, tensor_state, told

_LIMIT = 1 << 13  # ops in all reports that are kept
_SHORT = 1 << 8  # questions remembered for one model: a sweep over sizes asks many, each once


class Question:
    """What is asked of an analysis, in parts that can be compared. Its hash is kept: there are thousands of parts."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, *parts: Hashable) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and self._parts == other._parts


_reports: dict[Question, Report] = {}
_once: WeakKeyDictionary[nn.Module, set[Hashable]] = WeakKeyDictionary()  # what a model was asked once, in short
_again: set[Hashable] = set()  # what any was asked again, in short


def question(
    model: Inventory, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], training: bool
) -> Question | None:  # fmt: skip
    """What is asked; None for the first time, and where something of it is not known, or cannot be compared."""
    try:
        short = (type(model.model), training, _argument(inputs), _argument(dict(kwargs)))
        if not _was_asked(model.model, short) or _is_changed_from_outside():
            return None
        code = closed(frozenset(map(type, model.paths)))
        if code is None:
            return None
        return Question(
            short, torch.get_default_dtype(), torch.backends.mha.get_fastpath_enabled(), code,
            state_of(model, code, HYPERPARAMETERS), *REGISTERED.values(), *SHAPES.values(),
        )  # fmt: skip
    except (NoStateError, TypeError, RecursionError):  # what has no hash, or no end, cannot be compared either
        return None


def _was_asked(model: nn.Module, short: Hashable) -> bool:
    """Whether this model was asked the same before, or one of its class was so again and again; note that it is."""
    once = _once.setdefault(model, set())
    if short in once:
        if len(_again) >= _LIMIT:
            _again.clear()
        _again.add(short)
    elif len(once) < _SHORT:
        once.add(short)
    return short in _again


def recall(asked: Question) -> Report | None:
    """The report of an equal question."""
    return _reports.get(asked)


def keep(asked: Question, report: Report) -> None:
    """Keep the report of a question, unless it is too long; others go where there is no room."""
    if sum([len(kept.ops) for kept in _reports.values()]) + len(report.ops) > _LIMIT:
        forget()
    if len(report.ops) <= _LIMIT:
        _reports[asked] = report


def forget() -> None:
    """Keep none of them any longer."""
    _reports.clear()
    _again.clear()


def _is_changed_from_outside() -> bool:
    """Whether something around the model may change what its calls do."""
    return bool(
        any(GLOBAL_HOOKS) or torch._C._get_tracing_state() is not None or torch._C._is_any_autocast_enabled()
        or torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack()
    )  # fmt: skip


def _argument(item: Any) -> Hashable:
    """An input as it decides about a trace."""
    if isinstance(item, Tensor):
        return tensor_state(item)
    kind = type(item)
    if kind is TensorSpec:
        return kind, item.shape, item.dtype
    if kind is tuple or kind is list:
        return kind, tuple([_argument(x) for x in item])
    if kind is dict:
        return kind, tuple([(told(name), _argument(x)) for name, x in item.items()])
    return told(item)
