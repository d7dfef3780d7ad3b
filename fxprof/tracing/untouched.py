"""Leave the model and the process as they were, whatever forward does or raises."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper, lru_cache
from itertools import chain
from operator import is_, itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

# Objects below these are not the model's own state, or cannot change in place.
_OPAQUE = (
    nn.Module, torch.Tensor, str, bytes, int, float, complex, type(None), type, ModuleType, FunctionType, MethodType,
    BuiltinFunctionType, torch.dtype, torch.device, torch.Size,
)  # fmt: skip
_PLAIN = frozenset([bool, int, float, str, type(None), tuple, torch.nn.Parameter])
_FUNCTIONS = frozenset([FunctionType, _lru_cache_wrapper])
_CONTAINERS = frozenset([dict, OrderedDict, list, set])
# The attributes that nn.Module itself gives to every module, in order, and which of them hold what.
_STANDARD = vars(nn.Module())
_NAMES = tuple(_STANDARD)
_PARTS = ("_parameters", "_buffers", "_modules")  # they hold tensors and modules
_parts = itemgetter(*_PARTS)
_hooks = itemgetter(*(name for name in _NAMES if name not in _PARTS and type(_STANDARD[name]) in _CONTAINERS))
_DEPTH = 6  # how far into plain objects hanging off a module a snapshot looks
_LIMIT = 200_000  # objects; a module that holds its data set must not make tracing slow


class _Snapshot:
    """Shallow copies of every mutable container reachable from the modules."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._empty: list[Any] = []
        self._dicts: list[dict[Any, Any]] = []
        self._others: list[tuple[Any, list[Any]]] = []
        self._seen: set[int] = set()
        self.functions: list[Any] = []  # that modules keep as attributes
        pending: deque[tuple[Any, int]] = deque()
        self._save_modules(modules, pending)
        while pending and len(self._seen) < _LIMIT:
            item, depth = pending.popleft()
            if id(item) not in self._seen:
                self._seen.add(id(item))
                self._save(item, depth, pending)
        # Of all dicts one after another, to be compared at once: nearly always nothing has changed.
        self._keys = list(chain.from_iterable(self._dicts))
        self._values = list(chain.from_iterable([found.values() for found in self._dicts]))
        self._sizes = list(map(len, self._dicts))

    def _save_modules(self, modules: Iterable[nn.Module], pending: deque[tuple[Any, int]]) -> None:
        dicts, empty = self._dicts, self._empty
        for held in map(vars, modules):
            own = _own_values(tuple(held))
            if own is None or any(hooks := _hooks(held)):
                self._save_dict(held, 0, pending)
                continue
            dicts.append(held)
            empty += hooks  # nobody has registered any
            for part in _parts(held):
                (dicts if part else empty).append(part)
            values = own(held)
            if not _PLAIN.issuperset(map(type, values)):
                self._look_below([value for value in values if type(value) not in _PLAIN], 1, pending)

    def _save_dict(self, item: dict[Any, Any], depth: int, pending: deque[tuple[Any, int]]) -> None:
        self._dicts.append(item)
        if depth < _DEPTH:
            self._look_below([value for value in item.values() if type(value) not in _PLAIN], depth + 1, pending)

    def _look_below(self, values: list[Any], depth: int, pending: deque[tuple[Any, int]]) -> None:
        for value in values:
            kind = type(value)
            if kind in _CONTAINERS:
                if value:
                    pending.append((value, depth))
                else:
                    self._empty.append(value)
            elif kind in _FUNCTIONS:
                self.functions.append(value)
            elif not isinstance(value, _OPAQUE):
                pending.append((value, depth))

    def _save(self, item: Any, depth: int, pending: deque[tuple[Any, int]]) -> None:
        if isinstance(item, dict):
            if len(item) == len(list(item)) == len(list(item.values())):  # else a class of its own, which shows others
                self._save_dict(item, depth, pending)
            return
        if isinstance(item, (list, set, deque)):
            self._others.append((item, list(item)))
            below: Any = item
        elif isinstance(item, tuple):
            below = item
        elif hasattr(item, "__dict__"):
            below = (vars(item),)
        else:
            return
        if depth < _DEPTH:
            pending.extend((value, depth + 1) for value in below if not isinstance(value, _OPAQUE))

    def restore(self) -> None:
        """Put back every container whose contents are no longer the same objects."""
        if any(self._empty):
            for container in self._empty:
                container.clear()
        if not self._dicts_are_same():
            start = 0
            for found, size in zip(self._dicts, self._sizes):
                stop = start + size
                keys, values = self._keys[start:stop], self._values[start:stop]
                if not _same(found.values(), values) or not _same(found, keys):
                    found.clear()
                    found.update(zip(keys, values))
                start = stop
        for container, items in self._others:
            if not _same(container, items):
                container.clear()
                (container.update if isinstance(container, set) else container.extend)(items)

    def _dicts_are_same(self) -> bool:
        values = chain.from_iterable([found.values() for found in self._dicts])
        keys = chain.from_iterable(self._dicts)
        sizes = list(map(len, self._dicts)) == self._sizes
        return sizes and all(map(is_, values, self._values)) and all(map(is_, keys, self._keys))


@lru_cache(maxsize=4096)
def _own_values(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]] | None:
    """What takes a module's own attributes out of all of these; None where nn.Module's do not come first."""
    if names[: len(_NAMES)] != _NAMES:
        return None
    return itemgetter("training", "training", *names[len(_NAMES) :])  # gives a tuple at any length


def _same(found: Any, saved: Any) -> bool:
    """Whether two collections hold the same objects in the same order."""
    return len(found) == len(saved) and all(map(is_, found, saved))


class _Code:
    """Functions in the model's own source files that tracing has to mind.

    Traced results must not stay in ``functools.lru_cache`` functions; functions under ``torch.compile``
    have to run as written, which torch can only be told for the whole process.
    """

    def __init__(self, modules: Collection[nn.Module], held: Iterable[Any]) -> None:
        kinds = {type(module) for module in modules}
        classes = {
            cls for kind in kinds for cls in kind.__mro__ if not cls.__module__.startswith(("torch.", "builtins"))
        }
        methods = [f for cls in classes for f in vars(cls).values() if isinstance(f, FunctionType)]
        files = {id(f.__globals__): f.__globals__ for f in methods}
        spaces = [*files.values(), *map(vars, classes)]
        functions = {id(f): f for space in spaces for f in list(space.values()) if type(f) in _FUNCTIONS}
        functions.update((id(f), f) for f in held)
        self._misses = [(f, f.cache_info().misses) for f in functions.values() if isinstance(f, _lru_cache_wrapper)]
        compiled = any(hasattr(f, "_torchdynamo_orig_callable") for f in functions.values() if type(f) is FunctionType)
        self._stance = None
        if compiled and hasattr(torch.compiler, "set_stance"):
            self._stance = torch.compiler.set_stance("force_eager")
            self._stance.__enter__()

    def restore(self) -> None:
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
        for function, misses in self._misses:
            if function.cache_info().misses != misses:
                function.cache_clear()


class Process:
    """Random number generators and torch's process-wide defaults.

    ``drew`` says, once they are restored, whether torch's has been used.
    """

    def __init__(self) -> None:
        self.drew = False
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
        random.seed(0)  # a layer that forward leaves out by Python's dice is the same one in every report
        if self._numpy is not None:
            sys.modules["numpy"].random.seed(0)
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        self._dtype = torch.get_default_dtype()

    def restore(self) -> None:
        """Put all of them back."""
        if not torch.equal(torch.get_rng_state(), self._torch):
            torch.set_rng_state(self._torch)
            self.drew = True
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)


@contextmanager
def untouched(modules: Collection[nn.Module]) -> Iterator[Process]:
    """Run the body; then restore the modules, their containers, caches, RNGs and defaults."""
    snapshot, process = _Snapshot(modules), Process()
    kept: list[Callable[[], None]] = [process.restore, _Code(modules, snapshot.functions).restore, snapshot.restore]
    try:
        yield process
    finally:
        for restore in kept:
            restore()
