"""Small models at random: images through layers that tools count in different ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from benchmarks.case_nets import Function, MyLinear, Parent

CHANNELS = 4
SHAPE = (2, CHANNELS, 6, 6)

# Every block keeps the shape of an image of CHANNELS channels.
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False),
    "transposed": lambda: nn.Sequential(
        nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2), nn.Conv2d(CHANNELS, CHANNELS, 2, stride=2)
    ),
    "norm": lambda: nn.BatchNorm2d(CHANNELS),
    "layer norm": lambda: nn.LayerNorm(6),
    "group norm": lambda: nn.GroupNorm(2, CHANNELS),
    "relu": lambda: nn.ReLU(),
    "gelu": lambda: nn.GELU(),
    "softmax": lambda: nn.Softmax(1),
    "dropout": lambda: nn.Dropout(),
    "pool": lambda: nn.MaxPool2d(3, 1, 1),
    "mean": lambda: nn.AdaptiveAvgPool2d((6, 6)),
    "resize": lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2)),
    "interpolated": lambda: Function(lambda self, x: F.interpolate(x, size=(6, 6), mode="bilinear")),
    "linear": lambda: nn.Linear(6, 6),
    "subclass": lambda: MyLinear(6, 6),
    "functional": lambda: Function(lambda self, x: F.linear(x, self.w), w=nn.Parameter(torch.ones(6, 6))),
    "frozen": lambda: nn.Linear(6, 6).requires_grad_(False),
    "products": lambda: Function(lambda self, x: x @ x.transpose(-2, -1)),
    "weights by rows": lambda: Function(lambda self, x: torch.matmul(self.w, x), w=nn.Parameter(torch.ones(6, 6))),
    "fused": lambda: Function(lambda self, x: F.scaled_dot_product_attention(x, x, x)),
    "attention": lambda: Function(
        lambda self, x: self.a(x.flatten(1, 2), x.flatten(1, 2), x.flatten(1, 2))[0].reshape(x.shape),
        a=nn.MultiheadAttention(6, 2, batch_first=True),
    ),
    "lstm": lambda: Function(
        lambda self, x: self.a(x.flatten(1, 2))[0].reshape(x.shape), a=nn.LSTM(6, 6, batch_first=True)
    ),
    "sum": lambda: Function(lambda self, x: torch.add(x, x) * x + 1),
}


@st.composite
def models(draw: st.DrawFn) -> nn.Module:
    """A chain of blocks, each at most once; one of them may be shared by two parents, or called twice."""
    blocks = [BLOCKS[name]() for name in draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=6))]
    again = draw(st.sampled_from(blocks))
    sharing = draw(st.sampled_from(["no", "parents", "calls"]))
    if sharing == "parents":
        blocks += [Parent(again), Parent(again)]
    elif sharing == "calls":
        blocks.append(Function(lambda self, x: self.block(self.block(x)), block=again))
    return nn.Sequential(*blocks)
