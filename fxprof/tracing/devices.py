"""Arguments that name a device, and tensors made of Python numbers, in a form that runs where the trace does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import tensors_in

# Methods that only move a tensor, and those that may.
MOVES = frozenset(["cpu", "cuda", "xpu", "ipu", "hpu", "pin_memory", "mps", "npu"])
CONVERSIONS = frozenset(["to", "type", "_to_copy"])
# Functions that make a tensor of Python data.
LITERALS = frozenset(["tensor", "as_tensor", "asarray", "scalar_tensor", "new_tensor"])

_TYPE_NAMES = {
    "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip


def on(device: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The same keyword arguments with another device, and without what belongs to the real one."""
    if kwargs.keys().isdisjoint(("device", "pin_memory", "generator")):
        return kwargs
    kept = {key: value for key, value in kwargs.items() if key not in ("pin_memory", "generator")}
    return {**kept, "device": device} if "device" in kwargs else kept


def without_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Drop the device from the arguments of ``Tensor.to`` and ``Tensor.type``; keep dtype and layout."""
    kept: list[Any] = [args[0]]
    kwargs = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
    for arg in args[1:]:
        if isinstance(arg, str) and arg.endswith("Tensor"):
            kept.append(_TYPE_NAMES[arg.rpartition(".")[2].removesuffix("Tensor")])
        elif isinstance(arg, Tensor) or (isinstance(arg, type) and hasattr(arg, "dtype")):
            kept.append(arg.dtype)
        elif isinstance(arg, torch.dtype):
            kept.append(arg)
    if "other" in kwargs:
        kwargs["dtype"] = kwargs.pop("other").dtype
    return tuple(kept), kwargs


def literal(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The meta tensor that a literal with abstract numbers in it makes, by its nesting."""
    data = args[1] if name == "new_tensor" else args[0] if args else kwargs["data"]
    if isinstance(data, Tensor):
        return torch.empty_like(data, dtype=kwargs.get("dtype") or data.dtype, device="meta")
    shape: list[int] = []
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        shape.append(len(leaf))
        leaf = leaf[0]
    tail = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
    dtype = kwargs.get("dtype") or next((tensor.dtype for tensor in tensors_in(data)), None)
    return torch.empty((*shape, *tail), dtype=dtype, device="meta")
