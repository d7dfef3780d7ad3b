"""Which module is being called: paths, the stack of calls, and what each call returned.

Calls are seen through ``_compiled_call_impl``, the slot that torch itself provides on each module
instance for replacing its call; it is set for the time of the trace on this model's modules only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from fxprof.tracing.graph import ModuleCall, outside
from fxprof.tracing.location import source_of, user_frame
from fxprof.tracing.unwrap import is_wrapper, wrapped
from fxprof.tracing.values import tensors_in

Forward = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]  # how to run a module

_SLOT = "_compiled_call_impl"
_SEQUENCES = frozenset([tuple, list])
_TENSOR = frozenset([Tensor])


class ModuleStack:
    """The modules of one model and the calls in progress, on the thread that traces."""

    def __init__(self, names: dict[nn.Module, list[str]]) -> None:
        self.calls: list[ModuleCall] = []
        self.failed_in: ModuleCall | None = None
        self._forward: Forward = run_module
        self._names = names
        wrappers = {kind for kind in set(map(type, names)) if is_wrapper(kind)}
        self._behind = {m: behind for m in names if type(m) in wrappers and (behind := wrapped(m)) is not None}
        self.current = outside()  # the innermost being made
        self._counts: dict[str, int] = {}
        self._thread = threading.get_ident()
        self._older = {thread.ident for thread in threading.enumerate()}
        self.elsewhere: str | None = None  # a module that was called on a thread which began during the trace

    @contextmanager
    def intercepted(self, forward: Forward) -> Iterator[None]:
        """Route the calls of the model's modules through here; ``forward`` runs one."""
        self._forward = forward
        call = self.call
        before = {module: vars(module)[_SLOT] for module in self._names if _SLOT in vars(module)}
        for module in self._names:
            vars(module)[_SLOT] = _Call(call, module)
        try:
            yield
        finally:
            self._forward = run_module
            for module in self._names:
                if module in before:
                    vars(module)[_SLOT] = before[module]
                else:
                    vars(module).pop(_SLOT, None)

    def call(self, module: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``module`` with its path on the stack; other threads just call it."""
        if (thread := threading.get_ident()) != self._thread:
            if thread not in self._older:
                self.elsewhere = self._names[module][0]
            return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self._behind and module in self._behind:
            return self._behind[module](*args, **kwargs)
        outer = self.current
        names = self._names[module]
        # A module with several names goes by the one below its caller.
        path = names[0] if len(names) == 1 else max(names, key=lambda name: _common(name, outer.path))
        count = self._counts[path] = self._counts.get(path, 0) + 1
        call = self.current = ModuleCall(
            path, count, type(module), outer, _tensors(args[0] if len(args) == 1 else args)
        )
        self.calls.append(call)
        try:
            result = self._forward(module, args, kwargs)
        except Exception:
            self.failed_in = self.failed_in or call
            raise
        finally:
            self.current = outer
        call.outputs = _tensors(result)
        return result

    def where(self) -> tuple[str, str]:
        """Module path and source line of the call being recorded."""
        filename, line = source_of(user_frame())
        return self.current.path, f"{filename}:{line}" if filename else ""


class _Call(partial[Any]):
    """What stands in a module's ``_compiled_call_impl`` during the trace: ``ModuleStack.call`` of that module."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # a copied module is another module: it is called as usual


def run_module(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a module as torch does."""
    return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]


def _tensors(item: Any) -> tuple[Tensor, ...]:
    if type(item) is Tensor:
        return (item,)
    if type(item) in _SEQUENCES and _TENSOR.issuperset(map(type, item)):
        return tuple(item)
    return tuple(tensors_in(item))


def _common(name: str, parent: str) -> int:
    """How many leading parts two paths share."""
    count = 0
    for a, b in zip(name.split("."), parent.split(".")):
        if a != b:
            break
        count += 1
    return count
