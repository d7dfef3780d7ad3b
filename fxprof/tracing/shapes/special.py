"""Functions without a meta kernel, or with one that asks for more than shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.values import tensors_in


def _ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
    blank: int = 0, reduction: Any = "mean", zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """log_probs (t, n, c) or (t, c) -> a scalar, or (n,) without reduction."""
    batch = log_probs.shape[1:-1] if reduction in ("none", 0) else ()
    return torch.empty(batch, dtype=log_probs.dtype, device="meta")


def _gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """x (*) -> a scalar, or (*) without reduction; torch looks for negative variances."""
    shape = torch.broadcast_shapes(input.shape, target.shape)  # type: ignore[no-untyped-call]
    return torch.empty(shape if reduction == "none" else (), dtype=input.dtype, device="meta")


def _autograd_grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, *_: Any, is_grads_batched: bool = False, **__: Any
) -> tuple[Tensor, ...]:
    """One gradient per input, shaped like it; with a batch of ``grad_outputs``, a batch of them."""
    batch = next(tensors_in(grad_outputs)).shape[:1] if is_grads_batched else ()
    return tuple(
        torch.empty((*batch, *tensor.shape), dtype=tensor.dtype, device="meta") for tensor in tensors_in(inputs)
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


def _istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
) -> Any:  # fmt: skip
    """x (n, bins, frames) or (bins, frames), complex -> (n, t) or (t,): torch's own looks for zeros in the windows."""
    if input.dim() not in (2, 3) or not input.is_complex() or input.shape[-2] not in (n_fft, n_fft // 2 + 1):
        return NotImplemented  # which torch has words for
    hop = n_fft // 4 if hop_length is None else hop_length
    full = n_fft + hop * (input.shape[-1] - 1)
    size = length if length is not None else full - 2 * (n_fft // 2) if center else full
    dtype = input.dtype if return_complex else input.dtype.to_real()
    return torch.empty((*input.shape[:-2], size), dtype=dtype, device="meta")


def _quantized(input: Tensor, *_: Any, **__: Any) -> Tensor:
    """x (*) -> (*): floating, as newer torches leave it on the meta device."""
    return torch.empty_like(input, device="meta")


def _dequantized(input: Tensor) -> Tensor:
    """x (*) -> (*) in float32: quantized tensors are floating on the meta device already."""
    return torch.empty_like(input, dtype=torch.float32, device="meta")


def _quantized_rnn(
    input: Tensor, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, *_: Any, **__: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """x (t, n, i), states (l * d, n, h) -> (t, n, d * h) and the states."""
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    out = input.new_empty((*input.shape[:-1], states[0].shape[-1] * (1 + bidirectional)))
    return (out, *map(torch.empty_like, states))


def _same(input: Tensor, *_: Any, **__: Any) -> Tensor:
    """x (*) -> (*), in its dtype."""
    return torch.empty_like(input, device="meta")


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.fake_quantize_per_tensor_affine: _same,
    torch.fake_quantize_per_channel_affine: _same,
    torch.quantize_per_tensor: _quantized,
    torch.quantize_per_channel: _quantized,
    torch.quantize_per_tensor_dynamic: _quantized,
    torch.dequantize: _dequantized,
    torch.Tensor.dequantize: _dequantized,
    torch.quantized_lstm: _quantized_rnn,
    torch.quantized_gru: _quantized_rnn,
    **{
        getattr(home, name): _grouped_mm
        for home, name in ((torch, "_grouped_mm"), (torch.nn.functional, "grouped_mm"))
        if hasattr(home, name)
    },
    torch.nn.functional.ctc_loss: _ctc_loss,
    torch.ctc_loss: _ctc_loss,
    torch.istft: _istft,
    torch.Tensor.istft: _istft,
    torch.nn.functional.gaussian_nll_loss: _gaussian_nll_loss,
    torch.autograd.grad: _autograd_grad,
}
