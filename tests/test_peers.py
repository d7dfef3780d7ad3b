"""The models on which other tools go wrong, with the right answer worked out by hand.

Each case counts convolutions, matrix products, attention products and gates only, as ``macs`` does.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fxprof
from fxprof import TensorSpec
from tests.tracing.made import module

IDS = TensorSpec((2, 10), torch.int64)


def linear(size: int = 10) -> nn.Linear:
    """Size x size weights and no bias."""
    return nn.Linear(size, size, bias=False)


def attention(**kwargs: Any) -> nn.MultiheadAttention:
    """16 wide, 4 heads."""
    return nn.MultiheadAttention(16, 4, batch_first=True, **kwargs)


class Shared(nn.Module):
    """Holds a layer that somebody else holds too."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Product(torch.autograd.Function):
    """x @ w as a custom function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return grad @ w.T, x.T @ grad


def steps(self: Any, x: Tensor) -> Tensor:
    """An LSTM cell in a Python loop."""
    h = c = x.new_zeros(2, 16)
    for step in range(x.shape[1]):
        h, c = self.cell(x[:, step], (h, c))
    return h


def packed(self: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """An LSTM over sequences of different lengths."""
    out, _ = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(out, batch_first=True)[0]


def by_hand(self: Any, x: Tensor) -> Tensor:
    """Four heads of four, with the @ operator."""
    q, k, v = (part.view(2, 10, 4, 4).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
    return self.out(((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(2, 10, 16))


def tied() -> nn.Module:
    """An embedding whose weight is the head's."""
    model = module(
        lambda self, ids: self.head(self.emb(ids)), emb=nn.Embedding(100, 16), head=nn.Linear(16, 100, bias=False)
    )
    model.head.weight = model.emb.weight  # type: ignore[union-attr]
    return model


shared = linear()
# Projections 4 * 20*16*16, scores and mixing 2 * 2*10*10*16.
ATTENTION = 4 * 20 * 256 + 2 * 2 * 100 * 16

CASES: dict[str, tuple[nn.Module, tuple[Any, ...], int]] = {
    "B1 attention": (
        module(lambda self, x: self.a(x, x, x, need_weights=False)[0], a=attention()),
        ((2, 10, 16),),
        26_880,
    ),
    "B1 with weights": (module(lambda self, x: self.a(x, x, x)[0], a=attention()), ((2, 10, 16),), 26_880),
    "B1 by keyword": (
        module(lambda self, x: self.a(query=x, key=x, value=x)[0], a=attention()),
        ((2, 10, 16),),
        26_880,
    ),
    "B1 eval frozen": (
        module(lambda self, x: self.a(x, x, x)[0], a=attention()).eval().requires_grad_(False),
        ((2, 10, 16),),
        26_880,
    ),
    "B1 other widths": (
        module(lambda self, q, k, v: self.a(q, k, v)[0], a=attention(kdim=8, vdim=32)),
        ((1, 10, 16), (1, 10, 8), (1, 10, 32)),
        14_720,
    ),
    "B2 sdpa": (module(lambda self, q: F.scaled_dot_product_attention(q, q, q)), ((1, 4, 10, 8),), 6_400),
    "B2 grouped query": (
        module(lambda self, q, kv: F.scaled_dot_product_attention(q, kv, kv, enable_gqa=True)),
        ((1, 8, 10, 4), (1, 2, 10, 4)),
        6_400,
    ),
    "B2 causal": (
        module(lambda self, q: F.scaled_dot_product_attention(query=q, key=q, value=q, is_causal=True)),
        ((1, 4, 10, 8),),
        6_400,
    ),
    "B3 operator": (module(lambda self, a, b: a @ b), ((2, 5, 6), (2, 6, 7)), 420),
    "B3 attention by hand": (module(by_hand, qkv=nn.Linear(16, 48), out=nn.Linear(16, 16)), ((2, 10, 16),), ATTENTION),
    "B4 broadcast": (module(lambda self, a, b: torch.matmul(a, b)), ((5, 6), (2, 6, 7)), 420),
    "B4 vector": (module(lambda self, a, b: a @ b), ((5, 6), (6,)), 30),
    "B5 lstm": (nn.LSTM(8, 16, batch_first=True), ((2, 10, 8),), 30_720),
    "B5 bidirectional": (nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True), ((2, 10, 8),), 184_320),
    "B5 gru": (nn.GRU(8, 16, batch_first=True), ((2, 10, 8),), 23_040),
    "B5 packed": (
        module(packed, rnn=nn.LSTM(8, 16, batch_first=True)),
        ((2, 10, 8), torch.tensor([3, 10])),
        13 * 4 * 16 * 24,
    ),
    "B6 cells": (module(steps, cell=nn.LSTMCell(8, 16)), ((2, 10, 8),), 30_720),
    "B7 no contraction": (nn.Sequential(nn.ReLU(), nn.GELU(), nn.Upsample(scale_factor=2)), ((1, 1, 160),), 0),
    "B8 batch 1": (nn.Conv2d(3, 8, 3, padding=1), ((1, 3, 8, 8),), 13_824),
    "B8 batch 4": (nn.Conv2d(3, 8, 3, padding=1), ((4, 3, 8, 8),), 55_296),
    "B9 transposed": (nn.ConvTranspose2d(4, 8, 3, stride=2, bias=False), ((1, 4, 5, 5),), 7_200),
    "B9 transposed groups": (nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2), ((1, 4, 5, 5),), 3_600),
    "B10 linear on sequences": (nn.Linear(16, 32), ((2, 10, 16),), 10_240),
    "B11 two parents": (nn.Sequential(Shared(shared), Shared(shared)), ((3, 10),), 600),
    "B11 called twice": (module(lambda self, x: self.a(self.a(x)), a=linear()), ((3, 10),), 600),
    "B12 tied head": (tied(), (IDS,), 32_000),
    "B13 own parameter": (
        module(lambda self, x: self.fc(x + self.p), fc=linear(16), p=nn.Parameter(torch.zeros(1, 10, 16))),
        ((1, 10, 16),),
        2_560,
    ),
    "B13 unused branch": (module(lambda self, x: self.a(x), a=linear(), b=linear(100)), ((3, 10),), 300),
    "B13 weight by hand": (module(lambda self, x: F.linear(x, self.a.weight), a=linear()), ((3, 10),), 300),
    "B13 forward by hand": (module(lambda self, x: self.a.forward(x), a=linear()), ((3, 10),), 300),
    "B14 half frozen": (nn.Sequential(linear().requires_grad_(False), linear()), ((3, 10),), 600),
    "B15 encoder layer": (nn.TransformerEncoderLayer(16, 4, 64, batch_first=True), ((2, 10, 16),), 67_840),
    "B15 frozen": (
        nn.TransformerEncoderLayer(16, 4, 64, batch_first=True).eval().requires_grad_(False),
        ((2, 10, 16),),
        67_840,
    ),
    "B16 subclass": (type("MyLinear", (nn.Linear,), {})(10, 10, bias=False), ((3, 10),), 300),
    "B17 unbatched": (nn.Conv1d(4, 8, 3, padding=1, bias=False), ((4, 20),), 1_920),
    "B18 same, even kernel": (nn.Conv2d(4, 4, 2, padding="same", bias=False), ((1, 4, 6, 6),), 2_304),
    "B19 none and number": (module(lambda self, x, y, z: self.a(x) * z, a=linear()), ((3, 10), None, 3.0), 300),
    "B19 one dict": (module(lambda self, d: self.a(d["x"]), a=linear()), ({"x": (3, 10)},), 300),
    "B19 child by keyword": (module(lambda self, x: self.a(input=x), a=linear()), ((3, 10),), 300),
    "B20 embedding": (nn.Embedding(100, 16), (IDS,), 0),
    "B21 autograd function": (
        module(lambda self, x: Product.apply(x, self.w), w=nn.Parameter(torch.zeros(10, 10))),
        ((3, 10),),
        300,
    ),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), ((2, 8, 8, 8),), 9_216),
    "bilinear": (nn.Bilinear(4, 5, 6), ((3, 4), (3, 5)), 3 * 6 * 4 * 5 + 3 * 6 * 5),
}  # fmt: skip

PARAMS = {
    "B1 attention": 1_088, "B6 cells": 1_664, "B11 two parents": 100, "B11 called twice": 100, "B12 tied head": 1_600,
    "B13 own parameter": 416, "B13 unused branch": 10_100, "B13 weight by hand": 100, "B13 forward by hand": 100,
    "B14 half frozen": 200, "B15 frozen": 3_280, "B16 subclass": 100,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_the_right_answer_where_others_go_wrong(name: str) -> None:
    """MACs by hand; parameters by hand where tools miscount them; everything counted and nothing assumed."""
    model, inputs, macs = CASES[name]

    report = fxprof.analyze(model, *inputs)

    assert report.macs == macs
    assert report.params == PARAMS.get(name, sum(p.numel() for p in model.parameters()))
    assert report.exact


def test_b7_activations_count_once() -> None:
    """160 elements through ReLU are 160 FLOPs, as a module or as a function, at any batch."""
    as_module = fxprof.analyze(nn.ReLU(), (1, 160)).flops
    as_function = fxprof.analyze(module(lambda self, x: F.relu(x)), (1, 160)).flops

    assert as_module == as_function == 160
    assert fxprof.analyze(nn.Sequential(nn.ReLU()), (2, 160)).flops == 320


def test_b13_unused_and_trainable_parameters_are_separate_numbers() -> None:
    """Declared, used and trainable are three counts."""
    branch = fxprof.analyze(CASES["B13 unused branch"][0], (3, 10))
    frozen = fxprof.analyze(CASES["B14 half frozen"][0], (3, 10))

    assert (branch.params, branch.unused_params, branch.uncalled) == (10_100, 10_000, ("b",))
    assert (frozen.params, frozen.trainable_params) == (200, 100)


def test_b21_a_gradient_taken_in_forward_costs_its_backward() -> None:
    """As energy models do: the force is the gradient of the energy by the positions, weights need none."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        with torch.enable_grad():
            energy = self.b(torch.tanh(self.a(x))).sum()
        return torch.autograd.grad(energy, x)[0]

    model = module(forward, a=linear(), b=linear())
    report = fxprof.analyze(model, (3, 10))

    assert report.exact
    assert report.macs == 2 * 300 + 2 * 300


def test_b22_a_depthwise_gradient_costs_what_the_forward_costs() -> None:
    """Each operand's gradient is one more contraction, groups or not."""
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    model = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), layer)

    forward = fxprof.analyze(model, (2, 8, 8, 8)).root.children[1].macs
    both = fxprof.analyze(model, (2, 8, 8, 8), training=True).root.children[1].macs

    assert (forward, both) == (9_216, 3 * 9_216)


def test_training_skips_the_gradients_nobody_needs() -> None:
    """The input's, frozen weights' below the first trainable layer, and what no_grad and detach cut off."""

    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.a(x)
        return self.c(self.b(x).detach() + self.b(x))

    model = module(forward, a=linear(), b=linear(), c=linear())
    # a: forward only; b: once forward only, once forward and weight; c: forward, weight and input.
    assert fxprof.analyze(model, (3, 10), training=True).macs == 300 * (1 + 1 + 2 + 3)
    assert fxprof.analyze(model.requires_grad_(False), (3, 10), training=True).macs == 300 * 4


def test_b27_repeated_runs_agree() -> None:
    """The third report equals the first, and torch is as it was."""
    model = CASES["B15 encoder layer"][0]
    before = torch.bmm, F.scaled_dot_product_attention, Tensor.__matmul__

    reports = [fxprof.analyze(model, (2, 10, 16)) for _ in range(3)]

    assert reports[0] == reports[1] == reports[2]
    assert (torch.bmm, F.scaled_dot_product_attention, Tensor.__matmul__) == before


def test_b28_a_window_costs_the_same_as_one_number_or_two() -> None:
    """A 2 x 2 maximum is three comparisons for each of 12 outputs."""
    flops = {fxprof.analyze(nn.MaxPool2d(size), (1, 3, 4, 4)).flops for size in (2, (2, 2))}

    assert flops == {36}


def test_modules_called_in_two_places_are_reported_in_both() -> None:
    """Ops belong to the path they were called under; parameters to the first owner."""
    report = fxprof.analyze(CASES["B11 two parents"][0], (3, 10))

    costs = report.by_module()
    assert (costs["0.layer"].macs, costs["1.layer"].macs) == (300, 300)
    assert [module.params for _, module in report.walk() if module.path.endswith("layer")] == [100, 0]
