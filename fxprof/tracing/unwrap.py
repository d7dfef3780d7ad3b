"""Find the module to trace behind the wrappers that people put around it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fxprof.errors import InputError


def unwrap(model: Any) -> nn.Module:
    """Return the plain module behind DataParallel, torch.compile and an ExportedProgram.

    Raises InputError when there is no module to be found.
    """
    seen = 0
    while seen < 32:
        seen += 1
        if isinstance(model, nn.Module) and (behind := wrapped(model)) is not None:
            model = behind
        elif isinstance(model, torch.export.ExportedProgram):
            model = model.module(check_guards=False) if _takes_check_guards(model) else model.module()
        else:
            break
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise InputError(
            f"model must be an nn.Module instance, got the class {model.__name__}; call it first: {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be an nn.Module, got {type(model).__name__}")
    return model


def wrapped(module: nn.Module) -> nn.Module | None:
    """The module that DataParallel or torch.compile has put this one around, if it is theirs."""
    if not is_wrapper(type(module)):
        return None
    return module._modules["_orig_mod" if type(module).__name__ == "OptimizedModule" else "module"]


def is_wrapper(kind: type[nn.Module]) -> bool:
    """Whether modules of a class are DataParallel's or torch.compile's, put around another."""
    return (
        issubclass(kind, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or kind.__name__ == "OptimizedModule"
    )


def _takes_check_guards(program: torch.export.ExportedProgram) -> bool:
    return "check_guards" in program.module.__code__.co_varnames
