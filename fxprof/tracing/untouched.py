"""Leave the model and the process as they were, whatever forward does or raises."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

# Objects below these are not the model's own state, or cannot change in place.
_OPAQUE = (
    torch.Tensor, str, bytes, int, float, complex, type(None), type, ModuleType, FunctionType, MethodType,
    BuiltinFunctionType, torch.dtype, torch.device, torch.Size,
)  # fmt: skip
_DEPTH = 6  # how far into plain objects hanging off a module a snapshot looks
_LIMIT = 200_000  # objects; a module that holds its data set must not make tracing slow


class _Snapshot:
    """Shallow copies of every mutable container reachable from the modules."""

    def __init__(self, model: nn.Module) -> None:
        self._saved: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()
        pending: deque[tuple[Any, int]] = deque((vars(module), 0) for module in model.modules())
        while pending and len(self._seen) < _LIMIT:
            self._save(*pending.popleft(), pending)

    def _save(self, item: Any, depth: int, pending: deque[tuple[Any, int]]) -> None:
        if isinstance(item, _OPAQUE) or id(item) in self._seen:
            return
        self._seen.add(id(item))
        if isinstance(item, dict):
            self._saved.append((item, dict(item)))
            below: Any = item.values()
        elif isinstance(item, (list, set, deque)):
            self._saved.append((item, list(item)))
            below = item
        elif isinstance(item, tuple):
            below = item
        elif hasattr(item, "__dict__") and not isinstance(item, nn.Module):
            below = (vars(item),)
        else:
            return
        if depth < _DEPTH:
            pending.extend((value, depth + 1) for value in below if not isinstance(value, _OPAQUE))

    def restore(self) -> None:
        """Put back every container whose contents are no longer the same objects."""
        for container, saved in self._saved:
            if isinstance(container, dict):
                same = len(container) == len(saved) and all(
                    a is b and container[a] is saved[b] for a, b in zip(container, saved)
                )
                if not same:
                    container.clear()
                    container.update(saved)
            elif len(container) != len(saved) or any(a is not b for a, b in zip(container, saved)):
                container.clear()
                (container.update if isinstance(container, set) else container.extend)(saved)


class _Code:
    """Functions in the model's own source files that tracing has to mind.

    Traced results must not stay in ``functools.lru_cache`` functions; functions under ``torch.compile``
    have to run as written, which torch can only be told for the whole process.
    """

    def __init__(self, model: nn.Module) -> None:
        classes = {
            cls for module in model.modules() for cls in type(module).__mro__ if not cls.__module__.startswith("torch.")
        }
        methods = [f for cls in classes for f in vars(cls).values() if isinstance(f, FunctionType)]
        files = {id(f.__globals__): f.__globals__ for f in methods}
        spaces = [*files.values(), *map(vars, classes), *map(vars, model.modules())]
        functions = {id(f): f for space in spaces for f in list(space.values()) if callable(f)}.values()
        self._misses = [(f, f.cache_info().misses) for f in functions if isinstance(f, _lru_cache_wrapper)]
        compiled = any(isinstance(f, FunctionType) and hasattr(f, "_torchdynamo_orig_callable") for f in functions)
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


class _Process:
    """Random number generators and torch's process-wide defaults."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._python = random.getstate()
        self._numpy = sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        self._dtype = torch.get_default_dtype()

    def restore(self) -> None:
        if not torch.equal(torch.get_rng_state(), self._torch):
            torch.set_rng_state(self._torch)
        if random.getstate() != self._python:
            random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the body; then restore modules, their containers, caches, RNGs and defaults."""
    kept: list[Callable[[], None]] = [_Process().restore, _Code(model).restore, _Snapshot(model).restore]
    try:
        yield
    finally:
        for restore in kept:
            restore()
