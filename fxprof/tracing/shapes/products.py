"""Products of matrices, and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fxprof.tracing.shapes.strides import empty


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """x (*, n), weight (m, n) or (n,) -> (*, m) or (*), contiguous."""
    if input.shape[-1:] != weight.shape[-1:] or input.dtype is not weight.dtype or weight.dim() > 2:
        return NotImplemented
    return empty((*input.shape[:-1], *weight.shape[:-1]), input.dtype)


def _matmul(input: Tensor, other: Tensor) -> Any:
    """(b..., m, k) x (b..., k, n) or (k, n) -> (b..., m, n)."""
    if not isinstance(input, Tensor) or not isinstance(other, Tensor) or input.dtype is not other.dtype:
        return NotImplemented
    many, few = input.dim(), other.dim()
    if many < 2 or few < 2 or input.shape[-1] != other.shape[-2] or 0 in input.shape or 0 in other.shape:
        return NotImplemented
    if few != 2 and (many != few or input.shape[:-2] != other.shape[:-2]):
        return NotImplemented
    return empty((*input.shape[:-1], other.shape[-1]), input.dtype)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """q (b..., l, e), k (b..., s, e), v (b..., s, v) -> (b..., l, v)."""
    batch = query.shape[:-2]
    if enable_gqa and query.dim() > 3 and key.shape[-3] and query.shape[-3] % key.shape[-3] == 0:
        fits = key.shape[:-3] == value.shape[:-3] == query.shape[:-3] and key.shape[-3] == value.shape[-3]
    else:
        fits = key.shape[:-2] == value.shape[:-2] == batch and not enable_gqa
    fits = fits and query.dim() > 2 and key.shape[-2] == value.shape[-2] and key.shape[-1] == query.shape[-1]
    if not fits or not query.dtype is key.dtype is value.dtype or not _fits_mask(query, key, attn_mask, is_causal):
        return NotImplemented
    return empty((*query.shape[:-1], value.shape[-1]), query.dtype)


def _fits_mask(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool) -> bool:
    if mask is None:
        return True
    scores = (*query.shape[:-1], key.shape[-2])
    if is_causal or mask.dim() > len(scores) or mask.dtype not in (torch.bool, query.dtype):
        return False
    return all(size in (1, wanted) for size, wanted in zip(reversed(mask.shape), reversed(scores)))


def _multi_head_attention(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, *rest: Any,
    need_weights: bool = True, key_padding_mask: Any = None, attn_mask: Any = None,
    average_attn_weights: bool = True, **named: Any,
) -> Any:  # fmt: skip
    """q (l, b, e), k and v (s, b, .) -> (l, b, e) and the weights (b, l, s), (b, heads, l, s) or None."""
    if len(rest) != 8 or key_padding_mask is not None or attn_mask is not None or query.dim() != 3:
        return NotImplemented
    bias_k, bias_v, zero_attn = rest[2:5]
    static = [named.get(name) for name in ("static_k", "static_v")]
    fits = key.dim() == value.dim() == 3 and key.shape[:2] == value.shape[:2] and key.shape[1] == query.shape[1]
    fits = fits and query.shape[-1] == embed_dim_to_check and query.shape[-1] % num_heads == 0 and not zero_attn
    if not fits or any(item is not None for item in (bias_k, bias_v, *static)) or named.get("is_causal"):
        return NotImplemented
    wide = named.get("use_separate_proj_weight", False)
    if not wide and not query.shape[-1] == key.shape[-1] == value.shape[-1]:
        return NotImplemented
    out = empty(query.shape, query.dtype)
    if not need_weights:
        return out, None
    heads = () if average_attn_weights else (num_heads,)
    return out, empty((query.shape[1], *heads, query.shape[0], key.shape[0]), query.dtype)


SHAPES: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    torch.matmul: _matmul,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.bmm: _matmul,
    Tensor.bmm: _matmul,
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head_attention,
}
