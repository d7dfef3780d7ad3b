"""Laws of convolutions, and torch's own counts of them."""

from __future__ import annotations

from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, meta, torch_macs
from tests.rules.strategies import convolutions, factors, sizes, with_torch

linear = RULES["linear"]
Convolution = tuple[Shape, Shape, Shape, int]


def conv(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """The rule, by the name of its rank."""
    return RULES[f"conv{len(x) - 2}d"](x, weight, bias, out=out)


def transposed(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
    """The rule of the transpose, by the name of its rank."""
    return RULES[f"conv_transpose{len(x) - 2}d"](x, weight, bias, out=out)


@given(convolutions())
def test_conv_is_linear_on_its_unfolded_patches(case: Convolution) -> None:
    """A convolution is, per group, a linear layer on the window of every output position."""
    x, weight, out, groups = case
    patches = (out[0] * prod(out[2:]), prod(weight[1:]))
    per_group = weight[0] // groups
    one = linear(patches, (per_group, patches[1]), (per_group,), out=(patches[0], per_group))
    assert conv(x, weight, (weight[0],), out=out) == one * groups


@given(convolutions(ranks=(1,)))
def test_conv_counts_every_product(case: Convolution) -> None:
    """The MACs are the products that nested loops over outputs and windows make."""
    x, weight, out, groups = case
    count = 0
    for _ in range(out[0]):
        for channel in range(out[1]):
            group = channel // (out[1] // groups)
            for position in range(out[2]):
                for c in range(group * weight[1], (group + 1) * weight[1]):
                    for k in range(weight[2]):
                        assert c < x[1]
                        assert position + k < x[2]
                        count += 1
    assert conv(x, weight, out=out).macs == count


@given(convolutions())
def test_grouped_conv_is_the_sum_of_its_groups(case: Convolution) -> None:
    """A grouped convolution costs as much as its groups one by one, biases included."""
    x, weight, out, groups = case
    m = weight[0] // groups
    one = conv((x[0], weight[1], *x[2:]), (m, *weight[1:]), (m,), out=(out[0], m, *out[2:]))
    assert conv(x, weight, (weight[0],), out=out) == one * groups


@given(convolutions(), factors)
def test_conv_scales_with_the_batch(case: Convolution, k: int) -> None:
    """k images cost k times as much as one."""
    x, weight, out, _ = case
    assert conv((k * x[0], *x[1:]), weight, (5,), out=(k * out[0], *out[1:])) == conv(x, weight, (5,), out=out) * k


@given(convolutions())
def test_conv_without_a_batch_is_a_batch_of_one(case: Convolution) -> None:
    """Leaving the batch dimension out changes nothing."""
    x, weight, out, _ = case
    assert RULES[f"conv{len(x) - 2}d"](x[1:], weight, out=out[1:]) == conv((1, *x[1:]), weight, out=(1, *out[1:]))


@given(convolutions())
def test_transposed_conv_is_the_input_gradient_of_conv(case: Convolution) -> None:
    """The transpose takes what the convolution returns, by the same weight, with the same products."""
    x, weight, out, _ = case
    assert transposed(out, weight, out=x) == conv(x, weight, out=out)


@given(convolutions())
def test_transposed_bias_is_added_to_the_output(case: Convolution) -> None:
    """The bias of a transposed convolution is added once per output element, not per input."""
    x, weight, out, _ = case
    with_bias = transposed(out, weight, (x[1],), out=x)
    assert with_bias == transposed(out, weight, out=x) + RULES["add"](out=x)


@given(convolutions())
def test_one_rule_serves_both_directions(case: Convolution) -> None:
    """aten's convolution says by a flag which of the two it is."""
    x, weight, out, _ = case
    assert RULES["convolution"](x, weight, None, transposed=False, out=out) == conv(x, weight, out=out)
    assert RULES["convolution"](out, weight, (x[1],), transposed=True, out=x) == transposed(out, weight, (x[1],), out=x)


@given(convolutions())
def test_an_empty_batch_costs_nothing(case: Convolution) -> None:
    """No images, no cost."""
    x, weight, out, _ = case
    empty = (0, *out[1:])
    assert conv((0, *x[1:]), weight, (out[1],), out=empty) == Cost()
    assert transposed(empty, weight, (x[1],), out=(0, *x[1:])) == Cost()


@given(sizes, sizes, sizes, sizes, st.integers(1, 4))
def test_conv_tbc_is_conv1d(t: int, n: int, c: int, m: int, k: int) -> None:
    """The convolution with time first costs what conv1d costs."""
    expected = conv((n, c, t + k - 1), (m, c, k), (m,), out=(n, m, t))
    assert RULES["conv_tbc"]((t + k - 1, n, c), (k, c, m), (m,), out=(t, n, m)) == expected


CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@with_torch
@given(st.sampled_from([1, 2, 3]), *[st.integers(1, 3)] * 2, st.integers(1, 2), st.integers(0, 2), st.booleans())
def test_conv_agrees_with_torch(rank: int, groups: int, stride: int, dilation: int, padding: int, bias: bool) -> None:
    """Convolutions of any rank, stride, dilation, padding and groups have the MACs that torch counts."""
    x, weight = meta(2, 4 * groups, *(7, 8, 9)[:rank]), meta(5 * groups, 4, *(2, 3, 1)[:rank])
    args = x, weight, meta(5 * groups) if bias else None, stride, padding, dilation, groups
    assert cost(CONVS[rank], *args).macs == torch_macs(CONVS[rank], *args)


@with_torch
@given(st.sampled_from([1, 2, 3]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_transposed_conv_agrees_with_torch(rank: int, groups: int, stride: int, padding: int, bias: bool) -> None:
    """Transposed convolutions of any rank and groups have the MACs that torch counts."""
    x, weight = meta(2, 4 * groups, *(5, 6, 7)[:rank]), meta(4 * groups, 3, *(3, 3, 4)[:rank])
    args = x, weight, meta(3 * groups) if bias else None, stride, padding, 0, groups
    assert cost(TRANSPOSED[rank], *args).macs == torch_macs(TRANSPOSED[rank], *args)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_of_an_even_kernel() -> None:
    """padding="same" is counted by the output it makes."""
    # 6 * 6 positions, 4 outputs of 4 * 2 * 2 products
    assert cost(F.conv2d, meta(1, 4, 6, 6), meta(4, 4, 2, 2), padding="same").macs == 36 * 4 * 16 == 2304


def test_one_dimensional_conv_without_a_batch() -> None:
    """An unbatched sequence is not mistaken for a batch of images."""
    # 20 positions, 8 outputs of 4 * 3 products
    assert cost(F.conv1d, meta(4, 20), meta(8, 4, 3), padding=1).macs == 1920


@pytest.mark.parametrize("masked", [False, True])
def test_deformable_conv_has_the_macs_of_conv(masked: bool) -> None:
    """Moving the samples does not change the products; the mask adds one per sample."""
    x, weight, offset, mask, out = (2, 6, 8, 9), (10, 3, 3, 2), (2, 12, 6, 8), (2, 6, 6, 8), (2, 10, 6, 8)
    rule = RULES["deform_conv2d"]
    found = rule(x, weight=weight, offset=offset, mask=mask if masked else None, out=out)
    plain = conv(x, weight, out=out)
    # 2 images * 6 channels * (3 * 2) window * (6 * 8) positions
    samples = 2 * 6 * 6 * 48
    # each sample 7, each of 2 * 12 * 48 offsets 6
    assert found.macs == plain.macs
    assert found.flops - plain.flops == samples * (7 + masked) + 2 * 12 * 48 * 6


def test_deformable_conv_of_torchvision() -> None:
    """torchvision's operator reaches the rule with its arguments in place."""
    pytest.importorskip("torchvision")
    ints = (1, 1, 0, 0, 1, 1, 2, 1)
    target = torch.ops.torchvision.deform_conv2d
    args = meta(2, 6, 8, 9), meta(10, 3, 3, 2), meta(2, 12, 6, 8), meta(2, 6, 6, 8), meta(10)
    found = cost(target, *args, *ints, True)
    # conv 2 * 10 * 6 * 8 outputs of 3 * 3 * 2 products
    assert found.macs == 960 * 18
    unmasked = cost(target, *args, *ints, False)
    assert found.flops - unmasked.flops == 2 * 6 * 6 * 48
