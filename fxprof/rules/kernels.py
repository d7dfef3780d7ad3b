"""Kernels of other libraries: flash-attn, xFormers, mamba_ssm, causal-conv1d, transformers' fallback.

Their costs are those of what they compute, written out in torch. The names are custom ops (``namespace::op``) and
autograd Functions (``package.module.Class``); the Functions' results are given here too, as they run on CUDA only.
"""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape, TensorSpec
from fxprof.rules import contraction as products
from fxprof.rules.attention import attention
from fxprof.rules.registry import SHAPES, contraction, first, rule

_FLASH = "flash_attn.flash_attn_interface."
HEADS_LAST = (
    f"{_FLASH}FlashAttnFunc", "flash_attn::_flash_attn_forward", "flash_attn_3::_flash_attn_forward",
    "xformers::efficient_attention_forward_cutlass", "xformers_flash::flash_fwd", "_efficient_attention_forward",
    "_flash_attention_forward",
)  # fmt: skip
VARLEN = (f"{_FLASH}FlashAttnVarlenFunc", "flash_attn::_flash_attn_varlen_forward", "torch_attn::_varlen_attn")
PACKED = (f"{_FLASH}FlashAttnQKVPackedFunc", f"{_FLASH}FlashAttnKVPackedFunc")
SCANS = (
    "mamba_ssm.ops.selective_scan_interface.SelectiveScanFn",
    "mamba_ssm.ops.triton.ssd_combined.MambaChunkScanCombinedFn",
)
CAUSAL_CONV = "causal_conv1d.causal_conv1d_interface.CausalConv1dFn"


# -- attention, with the heads behind the sequence ------------------------------------------------------


@rule(*HEADS_LAST)
def heads_last(
    q: Shape, k: Shape, v: Shape, *, alibi_slopes: Shape | None = None, attn_bias: Shape | None = None,
    bias: Shape | None = None, out: Any,
) -> Cost:  # fmt: skip
    """q (b, l, h, e), k (b, s, g, e), v (b, s, g, d) -> out (b, l, h, d); h is a multiple of g.

    As scaled_dot_product_attention: every query row of every head meets s keys; causal masks and
    windows are not discounted. A bias, slopes included, is one addition per score.
    """
    masked = any(given is not None for given in (alibi_slopes, attn_bias, bias))
    return attention(prod(q[:-1]), k[-3], q[-1] + v[-1], masked=masked)


@rule(*VARLEN)
def packed_sequences(
    q: Shape,
    k: Shape,
    v: Shape,
    cu_seqlens_q: Shape,
    cu_seqlens_k: Shape | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    *,
    alibi_slopes: Shape | None = None,
    out: Any,
) -> Cost:
    """q (t, h, e), k (u, g, e), v (u, g, d): sequences one after the other -> out (t, h, d).

    Every query row meets the keys of its own sequence, at most ``max_seqlen_k``: exact for sequences
    of one length, an upper bound for others. Keys may also come in pages, k (pages, rows, g, e).
    """
    keys = min(int(max_seqlen_k), prod(k[:-2]))
    return attention(prod(q[:-1]), keys, q[-1] + v[-1], masked=alibi_slopes is not None)


@rule(PACKED[0])
def packed_qkv(qkv: Shape, *, alibi_slopes: Shape | None = None, out: Any) -> Cost:
    """qkv (b, l, 3, h, d) -> out (b, l, h, d)."""
    q = (*qkv[:-3], *qkv[-2:])
    return heads_last(q, q, q, alibi_slopes=alibi_slopes, out=out)


@rule(PACKED[1])
def packed_kv(q: Shape, kv: Shape, *, alibi_slopes: Shape | None = None, out: Any) -> Cost:
    """q (b, l, h, d), kv (b, s, 2, g, d) -> out (b, l, h, d)."""
    k = (*kv[:-3], *kv[-2:])
    return heads_last(q, k, k, alibi_slopes=alibi_slopes, out=out)


def _attended(q: Shape, v: Shape, return_softmax: bool) -> Any:
    """The output; with ``return_softmax`` also the log-sum-exps and (for tests only, empty here) the scores."""
    out = (*q[:-1], v[-1])
    statistics = (q[0], q[2], q[1]) if len(q) == 4 else (q[1], q[0])
    return (out, TensorSpec(statistics, "float32"), (0,)) if return_softmax else out


def _shape_of_attention(q: Shape, k: Shape, v: Shape, *, return_softmax: bool = False) -> Any:
    return _attended(q, v, return_softmax)


def _shape_of_qkv(qkv: Shape, *, return_softmax: bool = False) -> Any:
    return _attended((*qkv[:-3], *qkv[-2:]), qkv, return_softmax)


def _shape_of_kv(q: Shape, kv: Shape, *, return_softmax: bool = False) -> Any:
    return _attended(q, kv, return_softmax)


# -- state spaces -----------------------------------------------------------------------------------------


@rule(SCANS[0])
def selective_scan(
    u: Shape,
    delta: Shape,
    A: Shape,
    B: Shape,
    C: Shape,
    D: Shape | None = None,
    z: Shape | None = None,
    delta_bias: Shape | None = None,
    delta_softplus: bool = False,
    *,
    out: Any,
) -> Cost:
    """u and delta (b, d, l), A (d, n), B and C (b, n, l) or (b, g, n, l) -> out (b, d, l).

    Per channel, step and state: delta * A, its exp, delta * u * B (2), the recurrence (2), and the
    product with C, which is summed over the states: one MAC. Per channel and step: bias and softplus
    of delta (1 each), the skip D * u (2), the gate silu(z) (2).
    """
    steps = prod(u)
    states = steps * A[-1]
    each = (delta_bias is not None) + bool(delta_softplus) + 2 * (D is not None) + 2 * (z is not None)
    return contraction(states, 6 * states + each * steps)


def _shape_of_scan(u: Shape, delta: Shape, A: Shape, *, return_last_state: bool = False) -> Any:
    return (u, TensorSpec((*u[:2], A[-1]), "float32")) if return_last_state else u


@rule(SCANS[1])
def chunk_scan(
    x: Shape,
    dt: Shape,
    A: Shape,
    B: Shape,
    C: Shape,
    chunk_size: int,
    D: Shape | None = None,
    z: Shape | None = None,
    dt_bias: Shape | None = None,
    *,
    dt_softplus: bool = False,
    out: Any,
) -> Cost:
    """x (b, l, h, p), dt (b, l, h), B and C (b, l, g, n) -> out (b, l, h, p), in chunks of c steps.

    Within a chunk C times B (c * c * n per group) and the scores times x (c * c * p per head);
    the states B times x, and C times the states (c * n * p per head each); between chunks 2 per
    state. The last chunk is padded. Decays: 3 per score. Per step: bias and softplus of dt (1 each),
    the skip D * x (2), the gate silu(z) (2).
    """
    (b, length, h, p), (*_, g, n) = x, B
    chunks = -(-length // chunk_size)
    square = b * chunks * chunk_size * chunk_size
    macs = square * (g * n + h * p) + 2 * b * chunks * chunk_size * h * n * p
    each = 2 * (D is not None) + 2 * (z is not None)
    per_dt = (dt_bias is not None) + bool(dt_softplus)
    return contraction(macs, 3 * square * h + 2 * b * chunks * h * n * p + each * prod(x) + per_dt * prod(dt))


def _shape_of_chunk_scan(
    x: Shape, dt: Shape, A: Shape, B: Shape, *, return_final_states: bool = False, return_varlen_states: bool = False
) -> Any:
    states = TensorSpec((x[0], x[2], x[3], B[-1]), "float32")
    return (x, states) if return_final_states else x


# -- the rest ---------------------------------------------------------------------------------------------


@rule(CAUSAL_CONV)
def causal_conv1d(
    x: Shape, weight: Shape, bias: Shape | None = None, *, activation: str | None = None, out: Any
) -> Cost:
    """x (b, d, l), weight (d, k), bias (d,) -> out (b, d, l): depthwise, k products per element, then silu."""
    elements = prod(first(out))
    return contraction(elements * weight[-1], elements * ((bias is not None) + (activation is not None)))


@rule("DaoAILab::_causal_conv1d_fwd_cpp")
def causal_conv1d_into(
    x: Shape, weight: Shape, bias: Shape | None = None, *, silu_activation: bool = False, out: Any
) -> Cost:
    """x (b, d, l), weight (d, k) -> written into an argument (b, d, l); see causal_conv1d."""
    return causal_conv1d(x, weight, bias, activation="silu" if silu_activation else None, out=x)


def _shape_of_conv(x: Shape, weight: Shape, *, return_final_states: bool = False) -> Any:
    return (x, (*x[:2], weight[-1] - 1)) if return_final_states else x


@rule("transformers::grouped_mm_fallback")
def grouped_mm(a: Shape, b: Shape, *, out: Shape) -> Cost:
    """a (i, k), b (g, k, j) -> out (i, j): see grouped_mm of torch."""
    return products.grouped_mm(a, b, out=out)


SHAPES.update(
    {
        HEADS_LAST[0]: _shape_of_attention,
        VARLEN[0]: _shape_of_attention,
        PACKED[0]: _shape_of_qkv,
        PACKED[1]: _shape_of_kv,
        SCANS[0]: _shape_of_scan,
        SCANS[1]: _shape_of_chunk_scan,
        CAUSAL_CONV: _shape_of_conv,
    }
)
