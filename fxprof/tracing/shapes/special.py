"""Functions without a meta kernel, or with one that asks for more than shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
    blank: int = 0, reduction: Any = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """log_probs (t, n, c) or (t, c) -> a scalar, or (n,) without reduction."""
    batch = log_probs.shape[1:-1] if reduction in ("none", 0) else ()
    return torch.empty(batch, dtype=log_probs.dtype, device="meta")


def _autograd_grad(outputs: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    """One gradient per input, shaped like it."""
    return tuple(
        torch.empty_like(tensor, device="meta") for tensor in ([inputs] if isinstance(inputs, Tensor) else inputs)
    )


def _grouped_mm(
    a: Tensor, b: Tensor, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: torch.dtype | None = None,
    **_: Any,
) -> Tensor:  # fmt: skip
    """a (i, k), b (g, k, j) -> (i, j), and the like; without the kernel's wishes for dtypes and strides."""
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"grouped_mm: contraction of {tuple(a.shape)} and {tuple(b.shape)} must be over one size")
    if a.dim() == b.dim():
        groups = a.shape[:1] if a.dim() == 3 else offs.shape[:1] if offs is not None else ()
        shape = (*groups, a.shape[-2], b.shape[-1])
    else:
        shape = (a.shape[-2], b.shape[-1])
    return torch.empty(shape, dtype=out_dtype or a.dtype, device="meta")


SHAPES: dict[Any, Callable[..., Any]] = {
    **{
        getattr(home, name): _grouped_mm
        for home, name in ((torch, "_grouped_mm"), (torch.nn.functional, "grouped_mm"))
        if hasattr(home, name)
    },
    torch.nn.functional.ctc_loss: _ctc_loss,
    torch.ctc_loss: _ctc_loss,
    torch.autograd.grad: _autograd_grad,
}
