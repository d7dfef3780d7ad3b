"""Closed-form result shapes and remembered ones equal what torch's own kernels make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from fxprof.tracing.memo import Memo
from fxprof.tracing.shapes import SHAPES
from tests.tracing.made import module

sizes = st.integers(1, 5)


@st.composite
def tensors(draw: Any, least: int = 1, most: int = 4) -> Tensor:
    """A real tensor with its dimensions in any order in memory, perhaps with holes."""
    shape = draw(st.lists(sizes, min_size=least, max_size=most))
    order = draw(st.permutations(range(len(shape))))
    made = torch.randn([shape[i] for i in order]).permute([list(order).index(i) for i in range(len(shape))])
    return made[..., ::2] if shape and draw(st.booleans()) else made


def meta(tensor: Tensor) -> Tensor:
    """The same without data."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def assert_laid_out_like(found: Tensor, real: Tensor) -> None:
    """Shape, dtype, and strides of the dimensions that have more than one element."""
    assert (found.shape, found.dtype) == (real.shape, real.dtype)
    assert [s for s, n in zip(found.stride(), found.shape) if n > 1] == [
        s for s, n in zip(real.stride(), real.shape) if n > 1
    ]


@given(tensors(), sizes, st.booleans())
def test_linear(x: Tensor, out: int, biased: bool) -> None:
    """Any rank and layout, with and without a bias."""
    weight, bias = torch.randn(out, x.shape[-1]), torch.randn(out) if biased else None

    found = SHAPES[F.linear](meta(x), meta(weight), None if bias is None else meta(bias))

    assert_laid_out_like(found, F.linear(x, weight, bias))


@given(tensors(), st.integers(1, 4), st.booleans())
def test_layer_norm(x: Tensor, dims: int, affine: bool) -> None:
    """Over any number of trailing dimensions."""
    tail = x.shape[-min(dims, x.dim()) :]
    weight = torch.ones(tail) if affine else None

    found = SHAPES[F.layer_norm](meta(x), tail, None if weight is None else meta(weight))

    assert_laid_out_like(found, F.layer_norm(x, tail, weight))


@pytest.mark.parametrize("function", [F.gelu, F.relu, F.silu])
@given(tensors(0))
def test_elementwise(function: Any, x: Tensor) -> None:
    """Whatever the layout."""
    assert_laid_out_like(SHAPES[function](meta(x)), function(x))


@pytest.mark.parametrize("function", [F.relu, F.silu])
def test_in_place_takes_no_new_memory(function: Any) -> None:
    """The same tensor comes back, in the closed form and in a report."""
    x = torch.empty(2, 3, device="meta")
    model = module(lambda self, x: function(self.fc(x), inplace=True), fc=nn.Linear(3, 4))

    assert SHAPES[function](x, inplace=True) is x
    assert fxprof.analyze(model, (2, 3)).activations == 2 * 4


@given(tensors(2), st.booleans())
def test_batch_norm(x: Tensor, training: bool) -> None:
    """Ranks 2 to 4, channels first or last in memory."""
    if training and x.numel() == x.shape[1]:
        return  # torch refuses one value per channel; a shape does not depend on that
    stats = torch.zeros(x.shape[1]), torch.ones(x.shape[1])

    found = SHAPES[F.batch_norm](meta(x), *map(meta, stats), training=training)

    assert found.shape == F.batch_norm(x, *stats, training=training).shape


VIEWS: dict[str, Any] = {
    "view": lambda x: x.unflatten(0, (1, -1)),
    "transpose": lambda x: x.transpose(0, -1),
    "slice": lambda x: x[..., 1:],
    "index": lambda x: x[0],
    "expand": lambda x: x[None].expand(3, *x.shape),
    "narrow": lambda x: x.narrow(0, 0, 1),
    "split": lambda x: x.split(1),
    "unbind": lambda x: x.unbind(-1),
    "chunk": lambda x: torch.chunk(x, 2, -1),
    "diagonal": lambda x: x[None, None].diagonal(dim1=0, dim2=1),
    "reshape": lambda x: x.reshape(-1),
    "sum": lambda x: x.sum(-1),
    "max": lambda x: tuple(x.max(-1)),
}


@pytest.mark.parametrize("name", VIEWS)
@given(tensors())
def test_a_remembered_result_is_laid_out_and_shares_memory_like_the_first(name: str, x: Tensor) -> None:
    """Also from another place of another tensor's memory."""
    memo = Memo()
    base = torch.empty(1000, device="meta")
    first, second = (base.as_strided(x.shape, x.stride(), offset) for offset in (0, 7))

    memo.call(VIEWS[name], (first,), {})
    again = memo.call(VIEWS[name], (second,), {})
    expected = VIEWS[name](second)

    for found, wanted in zip(
        again if isinstance(again, (tuple, list)) else [again],
        expected if isinstance(expected, (tuple, list)) else [expected],
        strict=True,
    ):
        assert (found.shape, found.stride(), found.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
        shares = found.untyped_storage()._cdata == base.untyped_storage()._cdata
        assert shares == (wanted.untyped_storage()._cdata == base.untyped_storage()._cdata)
        assert not shares or found.storage_offset() == wanted.storage_offset()
