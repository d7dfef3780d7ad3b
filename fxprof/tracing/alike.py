"""When two modules of torch.nn call the same: their class, what its forward can read of them, and their input's kind.

The names in the code of a class's forward, and of the methods among them, are what it can read by; the values that an
instance has by these names decide what it calls.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as _all

from fxprof.tracing.location import code_kind

_PLAIN = frozenset([bool, int, float, str, NoneType, torch.dtype, object])
# A module's children, and what would run beside its forward.
_beside_forward = itemgetter(
    "_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
)
GLOBAL_HOOKS = (
    _all._global_forward_hooks, _all._global_forward_pre_hooks,
    _all._global_backward_hooks, _all._global_backward_pre_hooks,
)  # fmt: skip

Names = tuple[str, ...]


class Readers(dict[Names, Any]):
    """For each list of an instance's attributes what takes the values of those that its class can read."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names
        self._made: dict[Names, Any] = {}  # one for all instances that have the same of them

    def __missing__(self, own: Names) -> Any:
        present = tuple([name for name in self._names if name in own])
        made = self._made.get(present)
        if made is None:
            made = self._made[present] = itemgetter("training", "training", *present)  # gives a tuple at any length
        self[own] = made
        return made


def key(module: nn.Module, readers: Readers, given: Any, device: str) -> tuple[Any, ...] | None:
    """The class of a module of torch.nn and what decides about what it calls; None where more than forward runs."""
    held = vars(module)
    if any(_beside_forward(held)) or any(GLOBAL_HOOKS):
        return None
    reader = readers[tuple(held)]
    read = reader(held)
    types = tuple(map(type, read))
    if list in types:
        read = tuple([tuple(item) if type(item) is list else item for item in read])
    return (
        type(module), read, types, reader,
        *map(type, held["_parameters"].values()), *map(type, held["_buffers"].values()),
        given.dtype, len(given.shape), device, torch.get_default_dtype(),
    )  # fmt: skip


def readable(kind: Any) -> Readers | None:
    """What forward of one of torch.nn's own classes can read by; None for another, or a changed, class."""
    names, functions = _names(kind, kind.forward)
    called = [getattr(home, name, None) for home, name in functions]
    return _readers(names) if names and all(map(_is_torchs, filter(callable, called))) else None


_readers = lru_cache(maxsize=512)(Readers)


def _is_torchs(function: Any) -> bool:
    """Whether nobody has put a function of their own in the place of torch's."""
    if type(function) is FunctionType:
        return function.__module__.startswith("torch.")
    return isinstance(function, (type, BuiltinFunctionType))


@lru_cache(maxsize=512)
def _names(kind: type[nn.Module], forward: Any) -> tuple[Names, list[tuple[Any, str]]]:
    """The names in forward's code and in that of the methods among them, and where some of them are functions.

    None at all for a class that is not torch.nn's.
    """
    own = kind.__module__.startswith("torch.nn.modules.") and getattr(nn, kind.__name__, None) is kind
    if not own or type(forward) is not FunctionType or code_kind(forward.__code__) != "forward":
        return (), []
    above = [vars(base) for base in kind.__mro__[: kind.__mro__.index(nn.Module)]]
    found: set[str] = set()
    pending = ["forward"]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            methods = [held[name] for held in above if name in held]
            getters = [m.fget if isinstance(m, property) else m for m in methods]
            pending += [n for f in getters if isinstance(f, FunctionType) for n in f.__code__.co_names]
    homes: tuple[Any, ...] = (kind, F, torch)
    functions = [(home, name) for home in homes for name in found if callable(getattr(home, name, None))]
    return tuple(sorted(found)), functions


def is_plain(read: tuple[Any, ...]) -> bool:
    """Whether attributes are numbers, names and tuples of them."""
    return all(is_plain(item) if type(item) is tuple else type(item) in _PLAIN for item in read)
