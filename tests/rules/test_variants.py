"""Kernels and fused ops cost what they stand for; the small rules are worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, meta
from tests.rules.strategies import convolutions, shapes, sizes
from tests.rules.test_recurrent import cell


@given(convolutions())
def test_backends_convolve_alike(case: tuple[Shape, Shape, Shape, int]) -> None:
    """A backend's convolution costs what the convolution costs, and what is fused to it comes on top."""
    x, weight, out, _ = case
    bias = (weight[0],)
    plain, each = RULES["convolution"](x, weight, bias, out=out), RULES["relu"](out=out)
    for name in ("cudnn_convolution", "thnn_conv2d", "mkldnn_convolution", "miopen_convolution", "_convolution_mode"):
        assert RULES[name](x, weight, bias=bias, out=out) == plain
    assert RULES["cudnn_convolution_relu"](x, weight, bias=bias, out=out) == plain + each
    assert RULES["cudnn_convolution_add_relu"](x, weight, bias=bias, out=out) == plain + each + each
    transposed = RULES["conv_transpose2d"](out, weight, (x[1],), out=x)
    assert RULES["cudnn_convolution_transpose"](out, weight, bias=(x[1],), out=x) == transposed


@given(sizes, sizes, sizes)
def test_scaled_and_fused_products_are_products(i: int, k: int, j: int) -> None:
    """Low-precision and fused matrix products cost what the plain ones cost."""
    a, b, out = (i, k), (k, j), (i, j)
    linear = RULES["linear"]((i, k), (j, k), (j,), out=out)
    assert RULES["_int_mm"](a, b, out=out) == RULES["_scaled_mm"](a, b, out=out) == RULES["mm"](a, b, out=out)
    assert RULES["_scaled_mm"](a, b, bias=(j,), out=out) == linear
    assert RULES["_addmm_activation"]((j,), a, b, out=out) == linear + RULES["gelu"](out=out)
    assert RULES["foreach_mm"]([a, a], [b, b], out=(out, out)) == RULES["mm"](a, b, out=out) * 2
    assert RULES["addr"]((i, j), (i,), (j,), out=out) == RULES["outer"]((i,), (j,), out=out) + RULES["add"](out=out)


@given(sizes, sizes)
def test_covariance_is_a_product_of_centred_rows(v: int, n: int) -> None:
    """A covariance centres the rows and multiplies them with each other; a correlation scales it."""
    x, out = (v, n), (v, v)
    parts = (
        RULES["mean"](x, out=(v, 1))
        + RULES["sub"](out=x)
        + RULES["mm"]((v, n), (n, v), out=out)
        + RULES["div"](out=out)
    )
    assert RULES["cov"](x, out=out) == parts
    assert RULES["corrcoef"](x, out=out) == parts + RULES["sqrt"](out=(v,)) + RULES["div"](out=out) * 2


@pytest.mark.parametrize(("mode", "kind"), [(1, "rnn_tanh"), (2, "lstm"), (3, "gru")])
def test_one_fused_layer_is_its_cells(mode: int, kind: str) -> None:
    """The layer that a CPU runs costs its cells, step by step."""
    gates = {"rnn_tanh": 1, "lstm": 4, "gru": 3}[kind] * 4
    weights = (gates, 7), (gates, 4), (gates,), (gates,)
    found = RULES["mkldnn_rnn_layer"]((5, 3, 7), *weights, (1, 3, 4), (1, 3, 4), mode=mode, out=None)
    assert found == cell(kind, 3, 7, 4) * 5


@given(shapes(2, 4))
def test_batch_norm_comes_apart(x: Shape) -> None:
    """Statistics and their application, as two kernels, cost one batch norm and a second centring."""
    c = (x[1],)
    apart = RULES["batch_norm_stats"](x, out=(c, c)) + RULES["batch_norm_elemt"](x, c, c, out=x)
    whole = RULES["_batch_norm_with_update"](x, weight=c, bias=c, out=x)
    assert whole == RULES["batch_norm"](x, weight=c, bias=c, training=True, out=x)
    assert apart == whole + RULES["sub"](out=x)


@given(sizes, shapes(1, 3))
def test_weight_norm_is_made_of_its_parts(m: int, rest: Shape) -> None:
    """A weight is divided by its norm per slice and multiplied by its gain."""
    v, g = (m, *rest), (m, *(1 for _ in rest))
    parts = RULES["linalg_vector_norm"](v, out=(m,)) + RULES["div"](out=g) + RULES["mul"](out=v)
    assert RULES["_weight_norm"](v, g, out=v) == parts


@given(shapes(1, 3), sizes)
def test_lists_of_tensors_add_up(x: Shape, n: int) -> None:
    """An op on a list of tensors costs what the op on each costs, in place as well."""
    many = (x,) * n
    assert RULES["foreach_add"](many, many, out=None) == RULES["add"](out=x) * n
    assert RULES["foreach_lerp"](many, many, 0.5, out=many) == RULES["lerp"](x, x, 0.5, out=x) * n
    assert RULES["foreach_addcmul"](many, many, many, out=many) == RULES["addcmul"](x, x, x, out=x) * n
    assert RULES["foreach_norm"](many, out=((),) * n) == RULES["linalg_vector_norm"](x, out=()) * n
    assert RULES["foreach_max"](many, out=((),) * n) == RULES["amax"](x, out=()) * n


x: Any = meta(3, 8)
BY_HAND: list[tuple[str, Any, tuple[Any, ...], int]] = [
    # 24 comparisons
    ("equal", torch.equal, (torch.ones(3, 8), torch.ones(3, 8)), 24),
    # 24 * (6 + 1)
    ("allclose", torch.allclose, (torch.ones(3, 8), torch.ones(3, 8)), 168),
    ("bincount", torch.bincount, (torch.ones(9, dtype=torch.long),), 9),
    # 4 elements sorted in 4 * 2, 24 elements found among 5 places in 3 each
    ("isin", torch.isin, (torch.ones(3, 8), torch.ones(4)), 8 + 72),
    # difference, power, addition
    ("dist", torch.dist, (x, x), 72),
    ("renorm", torch.renorm, (x, 2, 0, 1.0), 72),
    # a sigmoid and a product for each of 12 outputs
    ("glu", F.glu, (x,), 24),
    # two products and a difference
    ("cross", torch.linalg.cross, (meta(8, 3), meta(8, 3)), 72),
    # sine, cosine, two products
    ("polar", torch.polar, (x, x), 96),
    # two sums, a comparison, a power, an addition, a quotient; 3 losses averaged
    ("multi margin", F.multi_margin_loss, (x, torch.ones(3, dtype=torch.long, device="meta")), 144 + 3),
    # 8 * 8 pairs of 4 in 3 rows; 3 losses averaged
    ("multilabel", F.multilabel_margin_loss, (torch.ones(3, 8), torch.ones(3, 8, dtype=torch.long)), 768 + 3),
    # negation, product, exp, log1p; averaged
    ("soft margin", F.soft_margin_loss, (x, x), 96 + 24),
    # quotient, rounding, offset, clamp
    ("quantize", torch.quantize_per_tensor, (torch.ones(3, 8), 0.1, 0, torch.qint8), 96),
    # 5 labels each (2 * 2 + 1) of 2 sequences, 7 steps, logsumexp of three (12) and an addition
    (
        "ctc",
        F.ctc_loss,
        (torch.zeros(7, 2, 4), torch.ones(2, 2, dtype=torch.long), torch.tensor([7, 7]), torch.tensor([2, 2])),
        2 * 5 * 7 * 13,
    ),
    ("mode", torch.mode, (torch.ones(3, 8), 1), 72),
    ("median", torch.median, (torch.ones(3, 8),), 24 * 5),
    ("any", torch.any, (x, 1), 21),
    # 5 diagonal elements
    ("trace", torch.trace, (torch.ones(5, 7),), 4),
]


@pytest.mark.parametrize(("target", "args", "flops"), [case[1:] for case in BY_HAND], ids=[c[0] for c in BY_HAND])
@pytest.mark.filterwarnings("ignore")
def test_by_hand(target: Any, args: tuple[Any, ...], flops: int) -> None:
    """Small rules cost what their formula takes, operation by operation."""
    assert cost(target, *args) == Cost(flops=flops)
