"""The errors fxprof raises.

    FxprofError                 anything below; the command line prints it and exits 2
      InputError                an argument, an input or a file is not what it must be
      TraceError                the model's forward could not be traced
        DataDependentError      it needs a value that only a real forward would know
      RuleError                 a rule could not be applied to a call, or gave no Cost
      UncountedError            strict=True and something has no exact count
      CheckpointError           a checkpoint cannot be read, matched or applied; the model is as before

A message states what must hold, what was got, where, and what to do next. What is said about an input or a
checkpoint quotes names that come from anywhere: it is one line without control characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index

from fxprof.views.text import safe

_SHOWN = 100  # characters


class FxprofError(Exception):
    """Base of every error that fxprof raises on purpose."""


class InputError(FxprofError):
    """An argument, a model string, an input or a file is not what it must be."""

    def __init__(self, message: str = "") -> None:
        super().__init__(safe(message))


class TraceError(FxprofError):
    """The model's forward could not be traced: where it stopped, and why."""


class DataDependentError(TraceError):
    """The forward needs a value (a size, a branch) that depends on the data."""


class RuleError(FxprofError):
    """A rule could not be applied to a call, or returned something that is no Cost."""


class UncountedError(FxprofError):
    """``strict=True`` was asked for and an op has no rule, or a size was assumed."""


class CheckpointError(FxprofError):
    """A checkpoint cannot be read, matched or applied; the model and the file are as they were."""

    def __init__(self, message: str = "") -> None:
        super().__init__(safe(message))


def not_made(path: str, kind: str, missing: str) -> InputError:
    """What to raise for a module that lacks an attribute which ``nn.Module.__init__`` makes."""
    return InputError(
        f"every module must be made by nn.Module.__init__, but {path or 'the model'} ({kind}) has no {missing!r}; "
        "call super().__init__() in its __init__"
    )


def check_natural(name: str, value: object) -> None:
    """Refuse an option that is neither None nor a whole number of 0 or more. Raises InputError."""
    try:
        natural = value is None or index(value) >= 0  # type: ignore[arg-type]
    except TypeError:
        natural = False
    if not natural:
        raise InputError(f"{name} must be a whole number, 0 or more, got {shown(value)}")


def check_flag(name: str, value: object) -> None:
    """Refuse an option that is neither True nor False. Raises InputError."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {shown(value)}")


def check_named(name: str, value: object, what: str) -> None:
    """Refuse an option that is neither None nor a dict with texts for keys. Raises InputError."""
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"{name} must be a dict of {what}, got {shown(value)}")
    for key in value or ():
        if not isinstance(key, str):
            raise InputError(f"{name} must be a dict of {what}, got the key {shown(key)}")


def shown(value: object) -> str:
    """A value as a message shows it: all of a short one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
