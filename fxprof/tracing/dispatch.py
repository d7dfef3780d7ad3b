"""What torch runs without a torch function: TorchScript, C++ code and torch.vmap show as aten ops at the dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof.tracing.opaque import opaque_name
from fxprof.tracing.values import tensors_in

Seen = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]

# What TorchScript and nn.Parameter take off a tensor, to give it a gradient of their own.
_DETACH, _KEPT = torch.ops.aten.detach.default, torch.ops.aten.alias.default

# What they return is wrapped, whatever they are given.
_WRAPPING = (torch._make_dual, torch.tensor)


class Below(TorchDispatchMode):
    """Hands the aten ops that reach the dispatcher to ``seen``."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _DETACH:
            func = _KEPT
        return self._seen(func, opaque_name(func) or func.__name__.partition(".")[0], args, kwargs or {})


def is_transformed(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether torch.func has wrapped one of the arguments; gradients are taken of what it has wrapped before, too."""
    if torch._C._functorch.peek_interpreter_stack() is None and func is not torch.autograd.grad:
        return False
    if func in _WRAPPING:
        return True
    return any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors_in(args))
