"""Whether the code of modules reads nothing but the modules, its arguments, constants and torch's functions.

What such modules call is decided by their attributes and by what they are given, so that another one in the same
state, given the same, calls the same. All that Python code can read by is in its names: those of globals are looked
up and followed, those of attributes are looked up on every class among the modules. A name that could lead to something
else (a global list, a class of the user's, ``getattr``) ends it: the code is not known to be closed.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, ModuleType
from typing import Any

from torch import Tensor, nn

from fxprof.tracing import alike
from fxprof.tracing.harmless import FREE_BUILTINS, MODULES, PYTHONS, TELLING, is_harmless, is_plain, is_torch_value
from fxprof.tracing.location import code_kind

_LIMIT = 1 << 10  # sets of classes remembered
_ABSENT: Any = object()
_OPS = dis.opmap
# Steps of code that change more than its variables and what these hold, or make code of their own.
_CHANGES = frozenset(
    _OPS[name] for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "IMPORT_NAME", "LOAD_BUILD_CLASS") if name in _OPS
)
# Methods of classes that run when modules are made, copied, saved or printed, not when they are called.
_OUTSIDE = frozenset(
    "__init__ __new__ __repr__ __str__ __del__ __setstate__ __getstate__ __deepcopy__ __copy__".split()
)
# With one of these a class of the user's decides itself what a call or an attribute is.
CALLING = frozenset("__call__ _call_impl _wrapped_call_impl __getattr__ __getattribute__ __setattr__".split())

Guard = tuple[Any, str, Any]  # a namespace or a class, a name in it, and what that was (_ABSENT for nothing)


class Closed:
    """That the code of ``kinds`` is closed: ``names`` is all that it reads attributes by."""

    __slots__ = ("kinds", "names")

    def __init__(self, kinds: frozenset[type[nn.Module]], names: frozenset[str]) -> None:
        self.kinds = kinds
        self.names = names


_known: dict[frozenset[type[nn.Module]], _Reader] = {}


def closed(kinds: frozenset[type[nn.Module]]) -> Closed | None:
    """What is known of the code of modules of these classes; None where it may read, or change, something else."""
    reader = _known.get(kinds)
    if reader is None or not reader.holds():
        if len(_known) >= _LIMIT:
            _known.clear()
        reader = _known[kinds] = _Reader(kinds)
    return reader.found


class _OpenError(Exception):
    """Something in the code is not known to be closed."""


class _Reader:
    """Follows the names in the code of some classes, up to what is not known to be closed."""

    def __init__(self, kinds: frozenset[type[nn.Module]]) -> None:
        self._kinds = kinds
        self._names: set[str] = set()
        self._pending: list[str] = []
        self._functions: set[FunctionType] = set()
        self._guards: list[Guard] = []
        self._torchs: list[Any] = []  # classes of torch.nn whose forward calls what torch has put there
        self.found: Closed | None = None
        with suppress(_OpenError):
            self.found = self._read()
        self._were_torchs = self._are_torchs()

    def holds(self) -> bool:
        """Whether nobody has since put something else in the place of a function or a constant that was met."""
        for home, name, value in self._guards:
            found = getattr(home, name, _ABSENT) if isinstance(home, type) else home.get(name, _ABSENT)
            if found is not value:
                return False
        return self._are_torchs() is self._were_torchs

    def _are_torchs(self) -> bool:
        return None not in map(alike.readable, self._torchs)

    def _read(self) -> Closed:
        for kind in self._kinds:
            self._look_at(kind)
        users = [(kind, _below_module(kind)) for kind in self._kinds if not is_torchs(kind)]
        while self._pending:
            name = self._pending.pop()
            for kind, bases in users:
                self._attribute(kind, bases, name)
            self._added(nn.Module, name)
            self._added(Tensor, name)
        return Closed(self._kinds, frozenset(self._names))

    def _look_at(self, kind: type[nn.Module]) -> None:
        """What runs when a module of the class is called."""
        for base in _below_module(kind):
            if is_torchs(base):
                self._look_at_torchs(base)
                continue
            if base.__module__.startswith("torch."):
                raise _OpenError
            if not CALLING.isdisjoint(vars(base)):
                raise _OpenError
            special = (n for n, held in vars(base).items() if n[:2] == "__" and isinstance(held, FunctionType))
            self._add(name for name in special if name not in _OUTSIDE)
        self._add(["forward"])

    def _look_at_torchs(self, base: Any) -> None:
        """A class of torch.nn's must be as torch has it."""
        forward = vars(base).get("forward")
        if forward is None:
            return
        self._guards.append((base, "forward", forward))
        if type(forward) is not FunctionType or code_kind(forward.__code__) != "forward":
            raise _OpenError
        if getattr(nn, base.__name__, None) is base:
            self._torchs.append(base)
            if not self._are_torchs():
                raise _OpenError

    def _add(self, names: Iterator[str] | list[str] | tuple[str, ...]) -> None:
        for name in names:
            if name not in self._names:
                self._names.add(name)
                self._pending.append(name)

    def _attribute(self, kind: type[nn.Module], bases: tuple[Any, ...], name: str) -> None:
        """What a class of the user's, or one that it extends, has by a name that the code reads."""
        self._guards.append((kind, name, getattr(kind, name, _ABSENT)))
        for item in [vars(base)[name] for base in bases if name in vars(base)]:
            if isinstance(item, property):
                if item.fget is not None:
                    self._function(item.fget)
            elif isinstance(item, staticmethod):
                self._function(item.__func__)
            elif type(item) is FunctionType:
                self._function(item)
            elif not is_plain(item):
                raise _OpenError

    def _added(self, kind: Any, name: str) -> None:
        """What somebody has added to one of torch's classes, or put in the place of what it had."""
        item = vars(kind).get(name, _ABSENT)
        self._guards.append((vars(kind), name, item))
        if type(item) is FunctionType and not item.__module__.startswith("torch"):
            self._function(item)

    def _function(self, function: Any) -> None:
        if type(function) is not FunctionType:
            raise _OpenError
        if function in self._functions or function.__module__.startswith("torch."):
            return  # a method of torch's own class, which its own forward may call as well
        self._functions.add(function)
        if function.__closure__ and function.__code__.co_freevars != ("__class__",):
            raise _OpenError
        if not is_plain(function.__defaults__) or not is_plain(tuple((function.__kwdefaults__ or {}).values())):
            raise _OpenError
        names = _names(function.__code__)
        if not TELLING.isdisjoint(names):
            raise _OpenError
        space = function.__globals__
        for name in names:
            if name in space:
                self._guards.append((space, name, space[name]))
                self._value(space[name], names)
            elif hasattr(builtins, name):
                self._guards.append((space, name, _ABSENT))
                self._builtin(name)
        self._add(names)

    def _builtin(self, name: str) -> None:
        value = getattr(builtins, name)
        is_error = isinstance(value, type) and issubclass(value, Exception)
        if name not in FREE_BUILTINS and not is_error and not hasattr(Tensor, name):
            raise _OpenError

    def _value(self, value: Any, names: tuple[str, ...]) -> None:
        """A global that the code reads, perhaps as the home of others among its names."""
        if isinstance(value, ModuleType):
            self._module(value, names, set())
        elif type(value) is FunctionType and not value.__module__.startswith("torch."):
            if not is_harmless(value):
                self._function(value)
        elif not is_torch_value(value):
            raise _OpenError

    def _module(self, module: ModuleType, names: tuple[str, ...], seen: set[ModuleType]) -> None:
        if module not in MODULES:
            raise _OpenError
        seen.add(module)
        held = vars(module)
        for name in names:
            value = held.get(name, _ABSENT)
            if isinstance(value, ModuleType):
                if value not in seen:
                    self._module(value, names, seen)
            elif value is not _ABSENT:
                self._guards.append((held, name, value))
                if module not in PYTHONS and not is_torch_value(value):
                    raise _OpenError


def is_torchs(kind: type) -> bool:
    """Whether a class of modules is one of torch.nn's own."""
    return kind.__module__.startswith("torch.nn.modules.")


def _below_module(kind: type[nn.Module]) -> tuple[Any, ...]:
    """The class and those that it extends, before nn.Module; the others (mixins behind it) have to be plain."""
    order = kind.__mro__
    place = order.index(nn.Module)
    if order[place + 1 :] != (object,):
        raise _OpenError
    return order[:place]


def _names(code: CodeType) -> tuple[str, ...]:
    """All names in a function's code and in that of the functions inside it."""
    if not _CHANGES.isdisjoint(code.co_code[::2]):
        raise _OpenError
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if type(constant) is CodeType:
            found.update(dict.fromkeys(_names(constant)))
    return tuple(found)
