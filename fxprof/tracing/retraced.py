"""What traces by itself in a forward (``make_fx``, ``torch.func.linearize``): refused, for it hides what it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx.experimental import proxy_tensor

from fxprof.errors import TraceError

_MAKER: Any = getattr(proxy_tensor, "_MakefxTracer", None)


@contextmanager
def refused(where: Callable[[], tuple[str, str]]) -> Iterator[None]:
    """Let ``make_fx`` raise on this thread; other threads do not notice."""
    thread, outer = threading.get_ident(), getattr(_MAKER, "trace", None)

    def trace(self: Any, *args: Any) -> Any:
        if threading.get_ident() != thread:
            return outer(self, *args)  # type: ignore[misc]
        module, source = where()
        raise TraceError(
            f"forward must not trace a function itself, but {module or 'the model'} does at {source}, with make_fx or "
            "torch.func.linearize: what was traced would not be counted; do it before forward, or take torch.func.jvp"
        )

    if outer is not None:
        _MAKER.trace = trace
    try:
        yield
    finally:
        if outer is not None:
            _MAKER.trace = outer
