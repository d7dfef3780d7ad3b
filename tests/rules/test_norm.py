"""Laws of normalization, softmax and the other activations."""

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
from tests.rules.oracle import cost, decomposed, meta
from tests.rules.strategies import factors, shapes, sizes, with_torch

NORMS: dict[str, dict[str, Any]] = {
    "batch_norm": {},
    "group_norm": {"num_groups": 2},
    "instance_norm": {},
    "local_response_norm": {"size": 3},
    "normalize": {},
}


@given(st.sampled_from(sorted(NORMS)), sizes, st.integers(1, 4), shapes(1, 2), factors)
def test_norms_scale_with_the_batch(name: str, n: int, c: int, spatial: Shape, k: int) -> None:
    """k images cost k times as much as one, in every norm."""
    x, larger = (n, 2 * c, *spatial), (k * n, 2 * c, *spatial)
    options = NORMS[name]
    assert RULES[name](larger, **options, out=larger) == RULES[name](x, **options, out=x) * k


@given(shapes(1, 3), shapes(1, 2), factors, st.sampled_from(["layer_norm", "rms_norm"]))
def test_layer_norms_scale_with_the_batch(rows: Shape, normalized: Shape, k: int, name: str) -> None:
    """k times the rows cost k times as much."""
    x, larger = (*rows, *normalized), (k, *rows, *normalized)
    rule = RULES[name]
    assert rule(larger, normalized, normalized, out=larger) == rule(x, normalized, normalized, out=x) * k


@given(sizes, sizes, sizes, sizes)
def test_instance_norm_is_group_norm_of_one_channel(n: int, c: int, h: int, w: int) -> None:
    """An instance is a group of one channel."""
    x = (n, c, h, w)
    assert RULES["instance_norm"](x, weight=(c,), out=x) == RULES["group_norm"](x, num_groups=c, weight=(c,), out=x)


@given(sizes, sizes, sizes)
def test_layer_norm_is_group_norm_of_one_group(n: int, c: int, w: int) -> None:
    """A layer is all channels in one group."""
    x = (n, c, w)
    assert RULES["layer_norm"](x, (c, w), out=x) == RULES["group_norm"](x, num_groups=1, out=x)


@given(sizes, sizes, sizes, st.booleans())
def test_an_affine_norm_adds_a_product_and_a_sum(n: int, c: int, w: int, training: bool) -> None:
    """Weight and bias cost what multiplying and adding them costs."""
    x = (n, c, w)
    affine = RULES["mul"](out=x) + RULES["add"](out=x)
    for name, options in (("batch_norm", {"training": training}), ("instance_norm", {}), ("group_norm", {"group": 1})):
        rule = RULES[name]
        assert rule(x, weight=(c,), bias=(c,), **options, out=x) == rule(x, **options, out=x) + affine


def test_norms_by_hand() -> None:
    """Each norm of 2 x 3 x 4 elements is what its formula says, operation by operation."""
    x = (2, 3, 4)
    # 24 elements; evaluation: subtract 24, scale 24
    assert RULES["batch_norm"](x, out=x).flops == 48
    # mean 24, centre 24, square 24, variance 24, scale 24
    assert RULES["batch_norm"](x, training=True, out=x).flops == 120
    # the same, and eps and root for each of 2 * 3 rows: 12
    assert RULES["layer_norm"](x, (4,), out=x).flops == 132
    # square 24, mean 24, eps and root 12, scale 24
    assert RULES["rms_norm"](x, (4,), out=x).flops == 84


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_empty_norms_cost_nothing(name: str) -> None:
    """Rows without elements have nothing to normalize."""
    assert RULES[name]((3, 0), (0,), out=(3, 0)) == Cost()


@given(shapes(1, 4), st.data())
def test_softmax_is_made_of_its_parts(x: Shape, data: st.DataObject) -> None:
    """Softmax is a maximum, a difference, an exp, a sum and a quotient; log_softmax takes a log and a difference."""
    dim = data.draw(st.integers(-len(x), len(x) - 1))
    rows = tuple(1 if d == dim % len(x) else size for d, size in enumerate(x))
    each, reduce = RULES["exp"](out=x), RULES["sum"](x, out=rows)
    assert RULES["softmax"](x, dim, out=x) == reduce + each + each + reduce + each
    assert RULES["log_softmax"](x, dim, out=x) == reduce + each + each + reduce + RULES["log"](out=rows) + each


@given(shapes(1, 3), factors, st.sampled_from(["softmax", "log_softmax", "softmin", "logsumexp"]))
def test_softmax_scales_with_the_batch(x: Shape, k: int, name: str) -> None:
    """k times the lines cost k times as much."""
    options = {} if name == "logsumexp" else {"dim": -1}
    larger = RULES[name]((k, *x), **options, out=(k, *x[:-1]))
    assert larger == RULES[name](x, **options, out=x[:-1]) * k


CALLS = {
    "softmin": (F.softmin, (3, 5), -1),
    "legacy softmax": (torch.ops.aten._softmax.default, (3, 5), -1, False),
    "logsumexp": (torch.logsumexp, (3, 5), -1),
    "normalize": (F.normalize, (3, 5, 7)),
    "local response norm": (F.local_response_norm, (3, 8, 5, 7), 4),
    "rms norm": (F.rms_norm, (3, 5), (5,)),
    "layer norm": (F.layer_norm, (3, 4, 5), (4, 5)),
    "group norm": (F.group_norm, (3, 6, 5), 2),
    "kron": (torch.kron, (3, 5), (2, 2)),
    "dropout": (F.dropout, (3, 5)),
}  # fmt: skip
PLAIN = {"rms norm": {1}, "layer norm": {1}}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_composites_cost_what_they_are_made_of(name: str) -> None:
    """A composite function costs the sum of the aten ops that torch runs for it."""
    target, *shaped = CALLS[name]
    keep = PLAIN.get(name, set())
    args = [meta(*a) if isinstance(a, tuple) and i not in keep else a for i, a in enumerate(shaped)]
    assert cost(target, *args) == decomposed(target, *args)


@with_torch
@given(st.booleans(), st.booleans())
def test_batch_norm_is_the_same_in_both_signatures(affine: bool, training: bool) -> None:
    """F.batch_norm and torch.batch_norm order their arguments differently and cost the same."""
    x, c = meta(3, 5, 7), meta(5)
    weight = c if affine else None
    by_name = cost(F.batch_norm, x, c, c, weight, None, training)
    assert by_name == cost(torch.batch_norm, x, weight, None, c, c, training, 0.1, 1e-5, False)
    each = prod(x.shape)
    assert by_name.flops == each * ((5 if training else 2) + affine)


@pytest.mark.parametrize("target", [F.dropout, F.dropout2d, F.alpha_dropout])
def test_dropout_does_nothing_in_evaluation(target: Any) -> None:
    """Dropout costs a mask and a scale in training and nothing otherwise."""
    assert cost(target, meta(2, 3, 5, 7), 0.5, False) == Cost()
    assert cost(target, meta(2, 3, 5, 7), p=0.5, training=True).flops == 2 * 210


ACTIVATIONS = [
    F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.sigmoid, F.tanh, F.hardsigmoid,
    F.hardswish, F.hardtanh, F.hardshrink, F.softshrink, F.tanhshrink, F.softplus, F.softsign, F.logsigmoid, F.rrelu,
    torch.relu_, torch.sigmoid, torch.erf, "relu_", "tanh", "clamp_",
]  # fmt: skip


@pytest.mark.parametrize("target", ACTIVATIONS, ids=lambda t: t if isinstance(t, str) else t.__name__)
def test_activations_are_one_per_element(target: Any) -> None:
    """Every named activation counts one operation per element."""
    args = (0.0,) if target == "clamp_" else ()
    assert cost(target, meta(3, 5), *args) == Cost(flops=15)
