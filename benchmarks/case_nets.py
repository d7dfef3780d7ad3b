"""What the small models of ``cases.py`` are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Case = tuple[Callable[[], nn.Module], tuple[int, ...]]  # how to make the model, and the shape of its one input


class Function(nn.Module):
    """A module whose forward is a function of itself and its input."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """Call the function."""
        return self.function(self, x)


class MyLinear(nn.Linear):
    """A subclass, which tools that look classes up do not know."""


class Parent(nn.Module):
    """A module around another."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Call the layer."""
        out: Tensor = self.layer(x)
        return out


def two_parents() -> nn.Module:
    """One layer, two parents."""
    layer = nn.Linear(10, 10, bias=False)
    return nn.Sequential(Parent(layer), Parent(layer))


def called_twice() -> nn.Module:
    """One layer, two calls."""
    return Function(lambda self, x: self.a(self.a(x)), a=nn.Linear(10, 10, bias=False))


def frozen_half() -> nn.Module:
    """Two layers, the second frozen."""
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    model[1].requires_grad_(False)
    return model


def attention(self: Any, x: Tensor) -> Tensor:
    """Self-attention of nn.MultiheadAttention without its weights."""
    attended: Tensor = self.a(x, x, x, need_weights=self.need_weights)[0]
    return attended


def by_hand(self: Any, x: Tensor) -> Tensor:
    """Attention by ``@`` and softmax."""
    weights = (self.q(x) @ self.k(x).transpose(-2, -1)).softmax(-1)
    out: Tensor = self.o(weights @ self.v(x))
    return out


def fused(self: Any, x: Tensor) -> Tensor:
    """Attention by the fused function."""
    heads = [layer(x).unflatten(-1, (4, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v)]
    out: Tensor = self.o(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return out


def projections() -> dict[str, nn.Module]:
    """Four of them, 16 wide."""
    return {name: nn.Linear(16, 16, bias=False) for name in "qkvo"}


def with_mask(mask: Callable[[Any, Tensor], Tensor]) -> Case:
    """Fused attention of a linear layer's output to itself, with a mask made of the model and that output."""

    def forward(self: Any, x: Tensor) -> Tensor:
        heads = self.a(x).unflatten(-1, (4, 4)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask(self, heads))

    bias, fixed = torch.ones(4, 10, 10), nn.Parameter(torch.ones(10, 10), requires_grad=False)
    return lambda: Function(forward, a=nn.Linear(16, 16), bias=nn.Parameter(bias), fixed=fixed), (2, 10, 16)


def with_heads(split: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], **options: Any) -> Case:
    """Fused attention of what ``split`` makes of a linear layer's output."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(*split(self.a(x)), **options)

    return lambda: Function(forward, a=nn.Linear(16, 16)), (2, 12, 16)


def columns(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Heads whose channels are rows, as after a convolution."""
    heads = x.transpose(1, 2).contiguous().unflatten(1, (4, 4)).transpose(-2, -1)
    return heads, heads, heads


def wide_values(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Heads of 4, and values of 8."""
    heads = x.unflatten(-1, (4, 4)).transpose(1, 2)
    return heads, heads, torch.cat([heads, heads], -1)


def methods(self: Any, x: Tensor) -> Tensor:
    """Sums and products by methods."""
    return x.add(self.a(x)).mul(x).matmul(x.transpose(-2, -1)).add(1).mul(0.5)


def cells(self: Any, x: Tensor) -> Tensor:
    """An LSTM cell in a loop."""
    h = c = torch.zeros(x.shape[0], 16, device=x.device)
    for t in range(x.shape[1]):
        h, c = self.c(x[:, t], (h, c))
    return h


def gru_cells(self: Any, x: Tensor) -> Tensor:
    """A GRU cell, then a plain one."""
    first: Tensor = self.a(x)
    second: Tensor = self.b(first)
    return second


def masked(self: Any, x: Tensor) -> Tensor:
    """Attention with a mask, to keys and values of other widths, that returns its weights."""
    mask = torch.zeros(10, 10, device=x.device)
    attended, weights = self.a(x, self.k(x), self.v(x), attn_mask=mask)
    out: Tensor = attended.sum() + weights.sum()
    return out


def shortcut(self: Any, x: Tensor) -> Tensor:
    """Every spelling of an addition and a product."""
    y = torch.add(x, self.a(x)) + x
    y = torch.mul(y, x) * y + sum([x, y])
    return (y + x).relu() + torch.matmul(y, y.transpose(-2, -1)) @ y
