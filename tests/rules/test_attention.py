"""Laws of attention: it is projections, two products and a softmax."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, meta, torch_macs
from tests.rules.strategies import distinct, factors, shapes, sizes, with_torch

sdpa, mha, matmul, linear = (
    RULES[name] for name in ("scaled_dot_product_attention", "multi_head_attention_forward", "matmul", "linear")
)
scale = add = RULES["add"]


@given(shapes(0, 3), sizes, sizes, sizes, sizes, st.booleans())
def test_sdpa_is_two_products_and_a_softmax(batch: Shape, n: int, s: int, e: int, v: int, masked: bool) -> None:
    """Attention is scores, scaled and masked, their softmax, and their product with the values."""
    scores = (*batch, n, s)
    parts = (
        matmul((*batch, n, e), (*batch, e, s), out=scores)
        + scale(out=scores)
        + (add(out=scores) if masked else Cost())
        + RULES["softmax"](scores, -1, out=scores)
        + matmul(scores, (*batch, s, v), out=(*batch, n, v))
    )
    mask = (n, s) if masked else None
    whole = sdpa((*batch, n, e), (*batch, s, e), (*batch, s, v), attn_mask=mask, out=(*batch, n, v))
    assert whole == parts


@given(sizes, sizes, sizes, sizes, sizes, sizes)
def test_grouped_queries_cost_as_if_the_keys_were_repeated(b: int, g: int, r: int, n: int, s: int, e: int) -> None:
    """Sharing a key head among query heads saves memory, not products."""
    h = g * r
    shared = sdpa((b, h, n, e), (b, g, s, e), (b, g, s, e), out=(b, h, n, e))
    assert shared == sdpa((b, h, n, e), (b, h, s, e), (b, h, s, e), out=(b, h, n, e))


@given(sizes, sizes, sizes, factors)
def test_sdpa_scales_with_the_batch(n: int, s: int, e: int, k: int) -> None:
    """k sequences cost k times as much as one."""
    one = sdpa((n, e), (s, e), (s, e), out=(n, e))
    assert sdpa((k, n, e), (k, s, e), (k, s, e), out=(k, n, e)) == one * k


@given(sizes, sizes)
def test_no_keys_cost_nothing(n: int, e: int) -> None:
    """Without keys there are no scores."""
    assert sdpa((n, e), (0, e), (0, e), out=(n, e)) == Cost()


def heads_of(t: int, n: int, s: int, e: int, heads: int, *, masked: bool = False) -> Cost:
    """Attention of every head on its share of e."""
    d = e // heads
    mask = (t, s) if masked else None
    return sdpa((n, heads, t, d), (n, heads, s, d), (n, heads, s, d), attn_mask=mask, out=(n, heads, t, d))


@given(sizes, sizes, sizes, st.integers(1, 4), st.integers(1, 4), sizes, sizes, st.booleans(), st.booleans())
def test_mha_is_projections_and_sdpa(
    t: int, n: int, s: int, heads: int, d: int, kdim: int, vdim: int, bias: bool, masked: bool
) -> None:
    """Multi-head attention is four linear layers around attention per head."""
    e = heads * d
    b = (e,) if bias else None
    parts = (
        linear((t, n, e), (e, e), b, out=(t, n, e))
        + linear((s, n, kdim), (e, kdim), b, out=(s, n, e))
        + linear((s, n, vdim), (e, vdim), b, out=(s, n, e))
        + heads_of(t, n, s, e, heads, masked=masked)
        + linear((t, n, e), (e, e), b, out=(t, n, e))
    )
    options: dict[str, Any] = {"in_proj_bias": (3 * e,), "out_proj_bias": (e,)} if bias else {}
    if masked:
        options["attn_mask"] = (t, s)
    args = (t, n, e), (s, n, kdim), (s, n, vdim), e, heads
    assert mha(*args, out_proj_weight=(e, e), **options, out=((t, n, e), None)) == parts


@given(sizes, sizes, sizes, st.integers(1, 4))
def test_added_keys_are_keys(t: int, n: int, s: int, heads: int) -> None:
    """bias_k and add_zero_attn cost what two more keys cost the heads, without their projections."""
    e = heads * 2
    args = (t, n, e), (s, n, e), (s, n, e), e, heads
    plain = mha(*args, out_proj_weight=(e, e), out=((t, n, e), None))
    longer = mha(*args, out_proj_weight=(e, e), bias_k=(1, 1, e), add_zero_attn=True, out=((t, n, e), None))
    grown, short = heads_of(t, n, s + 2, e, heads), heads_of(t, n, s, e, heads)
    assert longer.macs - plain.macs == grown.macs - short.macs
    assert longer.flops - plain.flops == grown.flops - short.flops


@given(sizes, sizes, st.integers(1, 4))
def test_mha_without_a_batch_is_a_batch_of_one(t: int, s: int, heads: int) -> None:
    """Leaving the batch dimension out changes nothing."""
    e = heads * 3
    batched = mha((t, 1, e), (s, 1, e), (s, 1, e), e, heads, out_proj_weight=(e, e), out=((t, 1, e), None))
    assert mha((t, e), (s, e), (s, e), e, heads, out_proj_weight=(e, e), out=((t, e), None)) == batched


@given(sizes, sizes, sizes, st.integers(1, 4))
def test_the_fused_kernel_is_mha(t: int, n: int, s: int, heads: int) -> None:
    """The batch-first kernel that torch may take costs what it stands for."""
    e = heads * 2
    plain = mha(
        (t, n, e), (s, n, e), (s, n, e), e, heads,
        in_proj_bias=(3 * e,), out_proj_weight=(e, e), out_proj_bias=(e,), out=((t, n, e), None),
    )  # fmt: skip
    fused = RULES["_native_multi_head_attention"](
        (n, t, e), (n, s, e), (n, s, e), e, heads, (3 * e, e), (3 * e,), (e, e), (e,), out=((n, t, e), None)
    )
    assert fused == plain


def accepts_gqa() -> bool:
    """Whether F.scaled_dot_product_attention takes enable_gqa."""
    return "enable_gqa" in str(torch.ops.aten.scaled_dot_product_attention.default._schema)


@with_torch
@given(distinct(4), st.booleans(), st.sampled_from([(), (3,), (3, 5), (2, 3, 4)]))
def test_sdpa_agrees_with_torch(dims: Shape, causal: bool, batch: Shape) -> None:
    """Attention on any batch has the MACs that torch counts, a causal mask not discounted."""
    n, s, e, v = dims
    q, k, w = meta(*batch, n, e), meta(*batch, s, e), meta(*batch, s, v)
    target = F.scaled_dot_product_attention
    assert cost(target, query=q, key=k, value=w, is_causal=causal).macs == torch_macs(target, q, k, w, is_causal=causal)


def test_sdpa_with_a_broadcast_batch_agrees_with_torch() -> None:
    """Keys shared by the whole batch are multiplied for every element of it."""
    q, k, v = meta(5, 4, 7, 6), meta(1, 4, 9, 6), meta(1, 4, 9, 6)
    target = F.scaled_dot_product_attention
    assert cost(target, q, k, v).macs == torch_macs(target, q, k, v) == 2 * prod((5, 4, 7, 9, 6))


@pytest.mark.skipif(not accepts_gqa(), reason="this torch has no grouped queries")
def test_grouped_queries_agree_with_torch() -> None:
    """Grouped-query attention has the MACs that torch counts."""
    q, k, v = meta(2, 8, 7, 6), meta(2, 2, 9, 6), meta(2, 2, 9, 6)
    target = F.scaled_dot_product_attention
    assert cost(target, q, k, v, enable_gqa=True).macs == torch_macs(target, q, k, v, enable_gqa=True)


def forward_args(module: torch.nn.MultiheadAttention, q: Any, k: Any, v: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call of F.multi_head_attention_forward that nn.MultiheadAttention makes."""
    separate = module.in_proj_weight is None
    args = (
        q, k, v, module.embed_dim, module.num_heads, module.in_proj_weight, module.in_proj_bias, module.bias_k,
        module.bias_v, module.add_zero_attn, 0.0, module.out_proj.weight, module.out_proj.bias,
    )  # fmt: skip
    weights = {f"{n}_proj_weight": getattr(module, f"{n}_proj_weight") for n in "qkv"} if separate else {}
    return args, {"use_separate_proj_weight": separate, **weights}


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"kdim": 7, "vdim": 11}, {"add_bias_kv": True}, {"add_zero_attn": True, "add_bias_kv": True}],
)
def test_mha_agrees_with_torch(options: dict[str, Any], need_weights: bool) -> None:
    """Multi-head attention in every form has the MACs that torch counts, whether weights are returned or not."""
    module = torch.nn.MultiheadAttention(12, 3, device="meta", **options)
    q, k, v = meta(5, 2, 12), meta(9, 2, options.get("kdim", 12)), meta(9, 2, options.get("vdim", 12))
    args, kwargs = forward_args(module, q, k, v)
    target = F.multi_head_attention_forward
    expected = torch_macs(target, *args, **kwargs, need_weights=need_weights)
    assert cost(target, *args, **kwargs, need_weights=need_weights).macs == expected


def test_static_keys_agree_with_torch() -> None:
    """Static keys of another length take the place of the projected ones, which are still computed."""
    module = torch.nn.MultiheadAttention(12, 3, device="meta")
    args, kwargs = forward_args(module, meta(5, 2, 12), meta(9, 2, 12), meta(9, 2, 12))
    static = {"static_k": meta(6, 13, 4), "static_v": meta(6, 13, 4)}
    target = F.multi_head_attention_forward
    assert cost(target, *args, **kwargs, **static).macs == torch_macs(target, *args, **kwargs, **static)
