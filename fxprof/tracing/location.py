"""Where in the model's code the trace is: the source line, found on the Python stack."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import torch

_TORCH = torch.__path__[0] + "/"
_FXPROF = __file__.rpartition("/")[0] + "/"
# Code that torch runs to find the shape of a result.
_KERNELS = tuple(_TORCH + part for part in ("_meta_registrations", "_refs/", "_prims", "_decomp/", "_library/"))
# Functions that use an operator on what they are given: a call of one is not told from the call of a method beside it.
_OPERATING = frozenset(["sum", "reduce", "accumulate", "operator"])
_AUTOGRAD = "torch.autograd.functional"
_LIMIT = 1 << 14  # code objects kept; models whose code is generated must not fill the memory
# By identity, because code is hashed by all of its contents; it is kept, so that no other can take its place. With it
# are whose it is and, by instruction, the lines asked for (Python counts through the code's table for each) and whether
# it is a call (Python copies the code for each look).
_Known = tuple[str, CodeType, dict[int, tuple[str, int]], dict[int, bool]]
_kinds: dict[int, _Known] = {}


def code_kind(code: CodeType) -> str:
    """Whose code it is: "user", "library" (torch's and fxprof's own), a module's "forward", a meta "kernel"."""
    return _known(code)[0]


def _known(code: CodeType) -> _Known:
    known = _kinds.get(id(code))
    if known is None:
        name = code.co_filename
        if name.startswith(_KERNELS) and not (name.endswith("_library/custom_ops.py") and code.co_name == "__call__"):
            kind = "kernel"
        elif name.startswith(_TORCH + "nn/modules") and code.co_name == "forward":
            kind = "forward"
        else:
            kind = "library" if name.startswith((_TORCH, _FXPROF, "<frozen")) else "user"
        if len(_kinds) >= _LIMIT:
            _kinds.clear()
        known = _kinds[id(code)] = (kind, code, {}, {})
    return known


def user_frame(above: int = 1) -> FrameType | None:
    """The innermost frame of the model's own code; of torch's modules where there is none.

    The search starts at the ``above``-th caller; those before it are known to be fxprof's or torch's.
    A meta kernel's frame is a sign that TorchScript or C++ has called the kernel behind the tracer's back.
    """
    fallback = None
    kinds = _kinds.get
    frame: FrameType | None = sys._getframe(above)
    while frame is not None and frame.f_code is not _BOTTOM:
        code = frame.f_code
        known = kinds(id(code))
        kind = code_kind(code) if known is None else known[0]
        if kind in ("user", "kernel"):
            return frame
        if kind == "forward" and fallback is None:
            fallback = frame
        frame = frame.f_back
    return fallback


def in_autograd(above: int) -> bool:
    """Whether the ``above``-th caller is a function of torch.autograd.functional."""
    return sys._getframe(above).f_globals.get("__name__") == _AUTOGRAD


def source_of(frame: FrameType | None) -> tuple[str, int]:
    """File and line of a frame; ``("", 0)`` for none."""
    if frame is None:
        return ("", 0)
    lines, at = _known(frame.f_code)[2], frame.f_lasti
    line = lines.get(at)
    if line is None:
        line = lines[at] = (frame.f_code.co_filename, frame.f_lineno)
    return line


def calls_method(frame: FrameType, name: str) -> bool:
    """Whether a frame is in the middle of ``x.name(...)``, rather than of an operator."""
    calls, at = _known(frame.f_code)[3], frame.f_lasti
    is_call = calls.get(at)
    if is_call is None:
        is_call = calls[at] = dis.opname[frame.f_code.co_code[at]].startswith("CALL")
    used = frame.f_code.co_names
    return is_call and name in used and _OPERATING.isdisjoint(used)


def run_forward(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the model. Frames below this one are the caller's, not the model's."""
    return model(*args, **kwargs)


_BOTTOM = run_forward.__code__
