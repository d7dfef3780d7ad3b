"""The adaptations: round trips, and outputs that stay equal where that is promised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, multi_head_attention_forward

from fxprof.checkpoint import adapt
from fxprof.checkpoint.loading import load
from fxprof.errors import CheckpointError

sizes = st.integers(1, 5)


def numbered(*shape: int) -> Tensor:
    """A tensor whose elements are all different."""
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def randn(*shape: int) -> Tensor:
    """Normal numbers in double precision, so that sums in another order stay close."""
    return torch.randn(*shape, dtype=torch.float64)


# -- outputs stay equal ------------------------------------------------------------------------


@given(sizes, sizes, sizes, sizes)
def test_reshape_round_trip(a: int, b: int, c: int, d: int) -> None:
    """Reshaping there and back gives the same tensor."""
    source = numbered(a, b * c * d)
    there = adapt.reshape(source, (a, b, c, d))
    assert torch.equal(adapt.reshape(there, (a, b * c * d)), source)


def test_reshape_keeps_a_classifiers_output() -> None:
    """A linear layer on flattened features is a convolution over the whole map."""
    weight, x = randn(7, 3 * 4 * 5), randn(2, 3, 4, 5)
    as_conv = conv2d(x, adapt.reshape(weight, (7, 3, 4, 5))).flatten(1)
    torch.testing.assert_close(as_conv, linear(x.flatten(1), weight))


def test_transpose_keeps_a_conv1ds_output() -> None:
    """A (in, out) matrix transposed is a linear layer's, without a copy."""
    weight, x = randn(3, 8), randn(2, 3)
    moved = adapt.transpose(weight)
    torch.testing.assert_close(linear(x, moved), x @ weight)
    assert moved.data_ptr() == weight.data_ptr()


@given(st.integers(2, 4), sizes, sizes)
def test_qkv_round_trip(parts: int, rows: int, columns: int) -> None:
    """Splitting what was fused gives the parts back."""
    sources = [torch.randn(rows, columns) for _ in range(parts)]
    fused = adapt.fuse_qkv(sources)
    for index, source in enumerate(sources):
        assert torch.equal(adapt.split_qkv(fused, index, parts), source)


def test_qkv_keeps_attentions_output() -> None:
    """Separate projections and the fused one of nn.MultiheadAttention give the same attention."""
    x = randn(5, 2, 8)
    q, k, v = (randn(8, 8) for _ in range(3))
    bias, out, out_bias = randn(24), randn(8, 8), randn(8)
    common: dict[str, Any] = {
        "embed_dim_to_check": 8,
        "num_heads": 2,
        "bias_k": None,
        "bias_v": None,
        "add_zero_attn": False,
    }
    common |= {"dropout_p": 0.0, "out_proj_weight": out, "out_proj_bias": out_bias, "in_proj_bias": bias}
    apart, _ = multi_head_attention_forward(
        x, x, x, in_proj_weight=None, use_separate_proj_weight=True,
        q_proj_weight=q, k_proj_weight=k, v_proj_weight=v, **common,
    )  # fmt: skip
    fused, _ = multi_head_attention_forward(x, x, x, in_proj_weight=adapt.fuse_qkv([q, k, v]), **common)
    torch.testing.assert_close(fused, apart)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_rope_round_trip(heads: int, half: int, columns: int) -> None:
    """From pairs to halves and back gives the same rows, of a weight and of a bias."""
    shape = (heads * half * 2, columns) if columns else (heads * half * 2,)
    source = numbered(*shape)
    there = adapt.rope(source, heads)
    assert torch.equal(adapt.rope(there, heads, to_halves=False), source)
    assert torch.equal(there.sort(0).values, source.sort(0).values)


def test_rope_keeps_attention_scores() -> None:
    """Rotating pairs with Meta's rows and halves with the permuted rows gives equal scores."""
    heads, width, length = 2, 6, 5
    x, q, k = randn(length, 12), randn(12, 12), randn(12, 12)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10.0 ** -torch.arange(width // 2)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]

    def scores(q: Tensor, k: Tensor, halves: bool) -> Tensor:
        turned = []
        for weight in (q, k):
            y = (x @ weight.T).reshape(length, heads, width)
            a, b = y.chunk(2, -1) if halves else (y[..., 0::2], y[..., 1::2])
            turned.append(torch.cat([a * cos - b * sin, a * sin + b * cos], -1))
        return torch.einsum("ihd,jhd->hij", *turned)

    torch.testing.assert_close(scores(adapt.rope(q, heads), adapt.rope(k, heads), True), scores(q, k, False))


# -- approximations ----------------------------------------------------------------------------


def test_first_conv_to_gray_is_exact_on_gray() -> None:
    """One channel, the sum: a gray image gives what the same image in three equal channels gave."""
    weight, gray = randn(4, 3, 3, 3), randn(1, 1, 8, 8)
    torch.testing.assert_close(conv2d(gray, adapt.first_conv(weight, 1)), conv2d(gray.expand(1, 3, 8, 8), weight))


@given(st.integers(1, 9))
def test_first_conv_keeps_the_size_of_outputs(channels: int) -> None:
    """A constant image gives the same output where the channels are a multiple of three; the sum is kept."""
    weight = numbered(2, 3, 2, 2)
    wide = adapt.first_conv(weight, channels)
    assert wide.shape == (2, channels, 2, 2)
    if channels % 3 == 0 or channels == 1:
        torch.testing.assert_close(wide.sum(1), weight.sum(1))


def test_first_conv_keeps_the_dtype() -> None:
    """Half precision is summed in single precision and given back as half."""
    assert adapt.first_conv(torch.ones(2, 3, 1, 1, dtype=torch.float16), 5).dtype == torch.float16


@given(sizes, sizes)
def test_head_rows(had: int, wants: int) -> None:
    """The rows that both have are the checkpoint's, the others the model's."""
    made = adapt.head_rows(torch.ones(had, 3), torch.zeros(wants, 3))
    assert made.sum(1).tolist() == [3.0 if row < had else 0.0 for row in range(wants)]


@pytest.mark.parametrize(
    ("had", "wants"),
    [
        ((1, 1 + 16, 6), (1, 1 + 36, 6)),  # a class token
        ((1, 2 + 16, 6), (1, 2 + 25, 6)),  # and a distillation token
        ((1, 16, 6), (1, 9, 6)),
        ((1 + 16, 6), (1 + 36, 6)),
        ((1, 6, 4, 4), (1, 6, 5, 7)),
        ((1, 4, 4, 6), (1, 5, 7, 6)),
    ],
)  # fmt: skip
def test_pos_embed_shapes(had: tuple[int, ...], wants: tuple[int, ...]) -> None:
    """Every form of table becomes the wanted one; a table that is constant stays so."""
    made = adapt.pos_embed(torch.full(had, 3.0), wants)
    torch.testing.assert_close(made, torch.full(wants, 3.0))


def test_pos_embed_keeps_prefix_tokens_and_order() -> None:
    """The class token is kept exactly; a table that grows along the rows grows along the new rows."""
    rows = torch.arange(4.0)[:, None].expand(4, 4).reshape(1, 16, 1)
    made = adapt.pos_embed(torch.cat([torch.full((1, 1, 1), 99.0), rows], 1), (1, 1 + 64, 1))
    assert made[0, 0] == 99
    grid = made[0, 1:, 0].reshape(8, 8)
    assert (grid.diff(dim=0) > 0).all()
    torch.testing.assert_close(grid.std(1), torch.zeros(8), atol=1e-5, rtol=0)


def test_pos_embed_of_the_same_size_is_the_same() -> None:
    """Interpolating to the same grid changes nothing."""
    table = torch.randn(1, 17, 4)
    torch.testing.assert_close(adapt.pos_embed(table, (1, 17, 4)), table)


def test_relative_position_bias_keeps_its_extra_rows_at_the_end() -> None:
    """BEiT's three rows for the class token are the last ones."""
    table = torch.cat([torch.zeros(9, 2), torch.full((3, 2), 7.0)])
    made = adapt.pos_embed(table, (25 + 3, 2), extra_last=True)
    assert made[:25].abs().max() == 0
    assert (made[25:] == 7).all()


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adapt.reshape(torch.zeros(3), (2, 2)), "number of elements"),
        (lambda: adapt.transpose(torch.zeros(3)), "needs a matrix"),
        (lambda: adapt.fuse_qkv([torch.zeros(2, 3), torch.zeros(2, 4)]), "differ in rows only"),
        (lambda: adapt.split_qkv(torch.zeros(7, 2), 0, 3), "does not divide"),
        (lambda: adapt.split_qkv(torch.zeros(6, 2), 3, 3), "does not divide"),
        (lambda: adapt.rope(torch.zeros(6, 2), 2), "2 heads does not divide"),
        (lambda: adapt.rope(torch.zeros(()), 2), "does not divide"),
        (lambda: adapt.first_conv(torch.zeros(3, 3), 1), "needs a convolution"),
        (lambda: adapt.head_rows(torch.zeros(3, 2), torch.zeros(3, 4)), "number of rows only"),
        (lambda: adapt.pos_embed(torch.zeros(1, 17, 4), (1, 18, 4)), "no square grid"),
        (lambda: adapt.pos_embed(torch.zeros(1, 17, 4), (1, 17, 5)), "only the number of positions"),
        (lambda: adapt.pos_embed(torch.zeros(1, 2, 3, 4), (1, 3, 3, 5)), "only height and width"),
        (lambda: adapt.pos_embed(torch.zeros(17), (18,)), "must be a table"),
    ],
)
def test_misfits_are_refused(call: object, message: str) -> None:
    """What an adaptation cannot do is one sentence with the shapes."""
    with pytest.raises(CheckpointError, match=message):
        call()  # type: ignore[operator]


def test_adapted_weights_fit_their_modules() -> None:
    """A stem for one channel gives for a grey picture what the stem for three gives for it in colours."""
    torch.manual_seed(0)
    three, one = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)
    load(one, three.state_dict(), adapt="first-conv")
    grey = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(one(grey), three(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_weight_norm_in_any_dtype(dtype: torch.dtype) -> None:
    """Computed in single precision at least; 8-bit floats have no arithmetic of their own."""
    made = adapt.weight_norm(torch.full((2, 1), 2.0), torch.ones(2, 4).to(dtype))
    assert torch.equal(made.float(), torch.ones(2, 4)) and made.itemsize >= 4
