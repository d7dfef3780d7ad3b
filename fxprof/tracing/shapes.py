"""Result shapes in closed form: of functions without a meta kernel, with a demanding one, or called most."""

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
    return tuple(torch.empty_like(tensor) for tensor in ([inputs] if isinstance(inputs, Tensor) else inputs))


def _normalized(input: Tensor, *_: Any, **__: Any) -> Tensor:
    """Shaped like the input. Without torch's check that a channel has two values to train on: costs do not need it."""
    for memory_format in (torch.channels_last, torch.channels_last_3d):
        if input.dim() == (4 if memory_format is torch.channels_last else 5) and input.is_contiguous(
            memory_format=memory_format
        ):
            return torch.empty_like(input, memory_format=memory_format)
    return torch.empty_like(input, memory_format=torch.contiguous_format)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (*, n), weight (m, n) or (n,) -> (*, m) or (*), contiguous."""
    if input.shape[-1:] != weight.shape[-1:] or input.dtype is not weight.dtype or weight.dim() > 2:
        return torch.nn.functional.linear(input, weight, bias)  # which says what is wrong
    return torch.empty((*input.shape[:-1], *weight.shape[:-1]), dtype=input.dtype, device="meta")


def _layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """x (*, n...) -> the same, contiguous."""
    tail = tuple(normalized_shape)
    if not tail or tuple(input.shape[-len(tail) :]) != tail or (weight is not None and tuple(weight.shape) != tail):
        return torch.nn.functional.layer_norm(input, normalized_shape, weight, bias, eps)
    return torch.empty_like(input, memory_format=torch.contiguous_format)


def _like(input: Tensor, *_: Any, inplace: bool = False, **__: Any) -> Tensor:
    """Elementwise on one tensor: its shape, dtype and, where they leave no holes, its strides."""
    return input if inplace else torch.empty_like(input)


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
    torch.nn.functional.linear: _linear,
    torch.nn.functional.layer_norm: _layer_norm,
    torch.nn.functional.gelu: _like,
    torch.nn.functional.relu: _like,
    torch.nn.functional.silu: _like,
    torch.nn.functional.batch_norm: _normalized,
    torch.nn.functional.instance_norm: _normalized,
}
