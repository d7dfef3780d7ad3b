"""Attention: the products of queries, keys and values, alone and with their projections."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import contraction, first, rule


def softmax_flops(rows: int, keys: int) -> int:
    """Softmax of ``rows`` rows of ``keys`` scores: 5 per score less 2 per row, see ``softmax``."""
    return 5 * rows * keys - 2 * rows if keys else 0


def attention(rows: int, keys: int, widths: int, *, masked: bool) -> Cost:
    """``rows`` queries over ``keys`` keys each -> one output row per query.

    Two contractions: a score per query and key, and an output over the keys; ``widths`` is the
    depth of a query plus the width of an output. Each score is scaled (1), masked (1 if there is a
    mask) and goes through softmax.
    """
    scores = rows * keys
    return contraction(scores * widths, scores + (scores if masked else 0) + softmax_flops(rows, keys))


@rule(
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math", "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_fused_attention_overrideable", "flex_attention",
)  # fmt: skip
def scaled_dot_product_attention(
    q: Shape, k: Shape, v: Shape, *, attn_mask: Shape | None = None, attn_bias: Shape | None = None, out: Any
) -> Cost:
    """q (*, h, l, e), k (*, g, s, e), v (*, g, s, d) -> out (*, h, l, d); h is a multiple of g.

    Every query row of every query head meets s keys, however few key heads there are. A causal
    mask is not discounted; a given mask is one addition per score.
    """
    rows = prod(first(out)[:-1])
    return attention(rows, k[-2], q[-1] + v[-1], masked=attn_mask is not None or attn_bias is not None)


@rule("multi_head_attention_forward")
def multi_head_attention(
    query: Shape,
    key: Shape,
    value: Shape,
    embed_dim_to_check: int,
    num_heads: int,
    *,
    in_proj_bias: Shape | None = None,
    bias_k: Shape | None = None,
    add_zero_attn: bool = False,
    out_proj_weight: Shape,
    out_proj_bias: Shape | None = None,
    key_padding_mask: Shape | None = None,
    attn_mask: Shape | None = None,
    static_k: Shape | None = None,
    out: Any,
) -> Cost:
    """query (l, n, e), key (s, n, kdim), value (s, n, vdim) -> out (l, n, e); also without n.

    Three input projections onto e, attention of num_heads heads of e / num_heads each, and the
    output projection. bias_k and add_zero_attn make the keys longer by one each; static keys are
    used in place of the projected ones, which torch computes all the same. Returning the weights
    or averaging them is not counted.
    """
    e = query[-1]
    batch = prod(query[1:-1])
    queries, keys = prod(query[:-1]), prod(key[:-1])
    projections = contraction(
        queries * e * e + keys * e * key[-1] + keys * e * value[-1],
        (queries + 2 * keys) * e if in_proj_bias is not None else 0,
    )
    length = (key[0] if static_k is None else static_k[1]) + (bias_k is not None) + bool(add_zero_attn)
    masked = attn_mask is not None or key_padding_mask is not None
    rows, pairs = num_heads * batch * query[0], batch * query[0] * length
    # The heads split e among them, so that over all heads a query and a key cost 2 * e MACs.
    heads = contraction(2 * pairs * e) + attention(rows, length, 0, masked=masked)
    width = out_proj_weight[0]
    return projections + heads + contraction(queries * e * width, queries * width if out_proj_bias is not None else 0)


@rule("_native_multi_head_attention")
def native_multi_head_attention(
    query: Shape,
    key: Shape,
    value: Shape,
    embed_dim: int,
    num_head: int,
    qkv_weight: Shape,
    qkv_bias: Shape | None,
    proj_weight: Shape,
    proj_bias: Shape | None,
    mask: Shape | None = None,
    *,
    out: Any,
) -> Cost:
    """query (n, l, e), key (n, s, e), value (n, s, e) -> out (n, l, e): the fused kernel, batch first."""
    q, k, v = ((shape[1], shape[0], shape[2]) for shape in (query, key, value))
    return multi_head_attention(
        q, k, v, embed_dim, num_head, in_proj_bias=qkv_bias, out_proj_weight=proj_weight, out_proj_bias=proj_bias,
        attn_mask=mask, out=out,
    )  # fmt: skip
