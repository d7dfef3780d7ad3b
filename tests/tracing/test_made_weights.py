"""Weights that forward makes: parameters of tensors, copies of layers, tensors that ask for a gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from tests.tracing.made import module
from tests.tracing.multiplied import products

Forward = Callable[[Any, Tensor], Tensor]


def assigned(self: Any, x: Tensor) -> Tensor:
    """A layer made in forward, with the weights of another."""
    layer = nn.Linear(4, 4, bias=False)
    layer.weight = nn.Parameter(self.b.weight.detach().clone())
    return layer(self.a(x))


def frozen(self: Any, x: Tensor) -> Tensor:
    """A layer copied in forward, and frozen there."""
    return copy.deepcopy(self.a).requires_grad_(False)(self.b(x))


ZEROS = [[0.0] * 4] * 4
FORWARDS: dict[str, Forward] = {
    "a weight, detached": lambda self, x: F.linear(self.a(x), nn.Parameter(self.b.weight.detach())),
    "a weight's data": lambda self, x: F.linear(self.a(x), nn.Parameter(self.b.weight.data)),
    "a weight": lambda self, x: F.linear(self.a(x), nn.Parameter(self.b.weight)),
    "a weight, detached and frozen": lambda self, x: F.linear(
        self.a(x), nn.Parameter(self.b.weight.detach(), requires_grad=False)
    ),
    "a product": lambda self, x: F.linear(self.a(x), nn.Parameter(self.b.weight * 2)),
    "a product, frozen": lambda self, x: F.linear(self.a(x), nn.Parameter(self.b.weight * 2, requires_grad=False)),
    "an activation": lambda self, x: self.b(nn.Parameter(self.a(x))),
    "an activation, frozen": lambda self, x: self.b(nn.Parameter(self.a(x), requires_grad=False)),
    "the input": lambda self, x: self.a(nn.Parameter(x)),
    "a part of the input": lambda self, x: F.linear(self.a(x), nn.Parameter(x[:1].expand(4, 4))),
    "random numbers": lambda self, x: F.linear(self.a(x), nn.Parameter(torch.randn(4, 4))),
    "a Variable": lambda self, x: F.linear(
        self.a(x), torch.autograd.Variable(self.b.weight.detach(), requires_grad=True)
    ),
    "an assigned weight": assigned,
    "a copied layer": lambda self, x: copy.deepcopy(self.a)(self.b(x)),
    "a copied layer alone": lambda self, x: copy.deepcopy(self.a)(x),
    "a copied layer, frozen": frozen,
    "a new layer": lambda self, x: nn.Linear(4, 4)(self.a(x)),
    "empty": lambda self, x: F.linear(self.a(x), torch.empty(4, 4, requires_grad=True)),
    "random": lambda self, x: F.linear(self.a(x), torch.randn(4, 4, requires_grad=True)),
    "a literal": lambda self, x: F.linear(self.a(x), torch.tensor(ZEROS, requires_grad=True)),
}  # fmt: skip


def model(name: str) -> nn.Module:
    """Two layers of 4 x 4, of which forward makes weights."""
    return module(FORWARDS[name], a=nn.Linear(4, 4, bias=False), b=nn.Linear(4, 4, bias=False))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", FORWARDS)
def test_a_weight_made_in_forward_counts_what_torch_multiplies(name: str, training: bool) -> None:
    """Gradients end at it, and it takes one of its own if it asks for one."""
    made = model(name)

    report = fxprof.analyze(made, (3, 4), training=training)

    assert (report.macs, report.exact) == (products(made, torch.randn(3, 4), training), True)


@pytest.mark.parametrize("name", ["a product", "an activation, frozen", "a copied layer"])
def test_the_graph_makes_it_again(name: str) -> None:
    """What it computes is what the model does."""
    made, x = model(name), torch.randn(3, 4)

    torch.testing.assert_close(fxprof.trace(made, (3, 4))(x), made(x))
