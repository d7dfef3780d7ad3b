"""Result shapes of functions that torch gives no meta kernel, or one that asks for more than shapes."""

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


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.nn.functional.ctc_loss: _ctc_loss,
    torch.ctc_loss: _ctc_loss,
    torch.autograd.grad: _autograd_grad,
    torch.nn.functional.batch_norm: _normalized,
    torch.nn.functional.instance_norm: _normalized,
}
