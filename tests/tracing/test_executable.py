"""The graph computes what the model computes: the proof that the trace missed nothing."""

from __future__ import annotations

import dataclasses
import operator
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from tests.tracing.made import module
from tests.tracing.same import assert_same


def test_the_graph_in_train_mode_draws_the_same_dropout() -> None:
    """Random ops run in the same order, so the same seed gives the same result."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.2)).train()

    assert_same(model, fxprof.trace(model, (4, 8)), torch.randn(4, 8))


def test_the_code_reads_like_python() -> None:
    """Operators are operators, methods are methods, weights are attributes."""
    graph_module = fxprof.trace(module(lambda self, x: F.relu(self.fc(x) + 1).view(-1), fc=nn.Linear(3, 4)), (2, 3))

    code = graph_module.code

    assert "fc_weight = self.fc.weight" in code
    assert "torch._C._nn.linear(x, fc_weight, fc_bias)" in code
    assert "add = linear + 1" in code
    assert "torch.nn.functional.relu(add" in code
    assert ".view(-1)" in code


class Spelled(nn.Module):
    """Every operator beside the method that torch tells of it by."""

    def forward(self, x: Tensor, y: Tensor) -> Any:
        by_operator = x + y, x - y, x * y, x / y, x // y, x % y, x**y, x @ y, -x, x > y, x < y, x >= y, x <= y, x != y
        by_method = x.add(y), x.sub(y), x.mul(y), x.div(y), x.floor_divide(y), x.remainder(y), x.pow(y), x.matmul(y)
        compared = x.gt(y), x.lt(y), x.ge(y), x.le(y), x.ne(y), x == y, x.eq(y)
        return (
            by_operator,
            by_method,
            compared,
            x.neg(),
            2 - x,
            2 * x,
            x + 2,
            x.add(2),
            torch.add(x, y),
            x.add(y, alpha=2),
        )


class Summing(nn.Module):
    """Operators that Python's own functions use."""

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return sum([x, y, x]) * operator.mul(x, y)


@pytest.mark.parametrize("model", [Spelled(), Summing()], ids=["operators", "sum"])
def test_operators_and_methods_are_told_apart(model: nn.Module) -> None:
    """As torch.fx does, whose proxies see the one and the other."""
    theirs = torch.fx.symbolic_trace(model).graph

    for _ in range(2):  # once found, once remembered
        ours = fxprof.trace(model, (3, 3), (3, 3)).graph
        assert [(n.op, n.target) for n in ours.nodes] == [(n.op, n.target) for n in theirs.nodes]
    x, y = torch.rand(3, 3) + 1, torch.rand(3, 3) + 1
    assert_same(model, fxprof.trace(model, (3, 3), (3, 3)), x, y)


def test_nodes_carry_shapes_modules_and_sources() -> None:
    """Metadata has the keys and forms of ShapeProp and torch.export."""
    model = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Linear(3, 4))))
    node = next(n for n in fxprof.trace(model, (2, 3)).graph.nodes if n.name == "linear")

    assert node.meta["tensor_meta"].shape == (2, 4)
    assert node.meta["tensor_meta"].dtype is torch.float32
    stack = list(node.meta["nn_module_stack"].values())
    assert stack[-1] == ("body.0", "torch.nn.modules.linear.Linear")
    assert [path for path, _ in stack] == ["", "body", "body.0"]
    filename, line = node.meta["source"]
    assert filename.endswith(".py") and line > 0


class Pair(NamedTuple):
    left: Tensor
    right: Any


@dataclasses.dataclass
class Answer:
    logits: Tensor
    hidden: list[Tensor]
    loss: Tensor | None = None


def returns_everything(self: Any, x: Tensor) -> Any:
    """Nested lists, dicts, tuples, None and numbers."""
    y = self.fc(x)
    return {"a": [y, (x, None, 3)], "b": {"c": y + 1}, "d": Pair(y, "text")}


FORWARDS = {
    "nested": returns_everything,
    "ordered dict": lambda self, x: OrderedDict(out=self.fc(x), aux=x),
    "dataclass": lambda self, x: Answer(self.fc(x), [x, x * 2]),
    "named tuple": lambda self, x: Pair(self.fc(x), [x]),
    "in place": lambda self, x: self.fc(x).add_(1).mul_(2).relu_(),
    "item assignment": lambda self, x: assigned(self.fc(x)),
    "reflected operators": lambda self, x: (2 ** (1 - self.fc(x))) + 1 / (3 + x[:, :1] ** 2),
    "attributes": lambda self, x: self.fc(x).T @ x.mT.T,
    "constants": lambda self, x: self.fc(x) + torch.tensor([1.0, 2.0, 3.0, 4.0]) * torch.arange(4) + self.table,
    "control data": lambda self, x: self.fc(x) * (len(torch.ones(5).nonzero()) + int(torch.arange(4).max())),
    "new tensors": lambda self, x: torch.cat(
        [self.fc(x), x.new_zeros(2, 1), torch.full((2, 1), 0.5, device=x.device)], 1
    ),
    "tuple results": lambda self, x: [*self.fc(x).split(2, dim=1), *x.topk(2), x.max(dim=1)[0], *x.unbind(0)],
    "einsum and where": lambda self, x: torch.where(x[:, :1] > 0, torch.einsum("bi,bj->bij", x, x).sum(-1), 0.0),
    "masked": lambda self, x: x[x > 0].sum() + self.fc(x).masked_fill(self.fc(x) < 0, 1.0).sum(),
    "devices": lambda self, x: self.fc(x.to("cpu").cpu()).to(x.device, torch.float64),
    "data": lambda self, x: self.fc(x.data) + nn.Parameter(x[:, :1]).detach(),
}


def assigned(x: Tensor) -> Tensor:
    """Writes into slices and through a mask."""
    x[:, 0] = 7.0
    x[1:, 1:] += x[:1, 1:]
    x[x < -1] = 0.0
    return x


@pytest.mark.parametrize("name", FORWARDS)
def test_whatever_forward_does_and_returns_the_graph_does_too(name: str) -> None:
    """Containers, operators, writes, constants and devices come out the same."""
    model = module(FORWARDS[name], fc=nn.Linear(3, 4), table=torch.randn(4)).eval()

    assert_same(model, fxprof.trace(model, (2, 3)), torch.randn(2, 3))


INPUTS: dict[str, tuple[Any, Any, Any]] = {
    "several": (lambda self, x, y: self.fc(x) + y, ((2, 3), (2, 4)), {}),
    "nested": (lambda self, x: self.fc(x[0]["a"]) + x[1][0], ([{"a": (2, 3)}, ((2, 4),)],), {}),
    "none and numbers": (lambda self, x, y, z: self.fc(x) * z if y is None else x, ((2, 3), None, 3.0), {}),
    "keyword only": (lambda self, *, x, y=None: self.fc(x), (), {"x": (2, 3)}),
    "keywords": (lambda self, x, y=None, z=None: self.fc(x) + z, ((2, 3),), {"z": (2, 4)}),
    "variadic": (lambda self, *xs: self.fc(xs[0]) + xs[1], ((2, 3), (2, 4)), {}),
    "variadic keywords": (lambda self, **xs: self.fc(xs["a"]), (), {"a": (2, 3)}),
    "dataclass": (lambda self, x: self.fc(x.logits) + x.hidden[0], (Answer((2, 3), [(2, 4)]),), {}),  # type: ignore[arg-type,list-item]
    "named tuple": (lambda self, x: self.fc(x.left), (Pair((2, 3), None),), {}),  # type: ignore[arg-type]
}


def real(item: Any) -> Any:
    """The same arguments with real tensors."""
    if isinstance(item, Answer):
        return Answer(real(item.logits), real(item.hidden))
    if isinstance(item, Pair):
        return Pair(*map(real, item))
    if isinstance(item, tuple) and all(isinstance(size, int) for size in item):
        return torch.randn(item)
    if isinstance(item, dict):
        return {key: real(value) for key, value in item.items()}
    return type(item)(map(real, item)) if isinstance(item, (tuple, list)) else item


@pytest.mark.parametrize("name", INPUTS)
def test_whatever_forward_takes_can_be_given_as_shapes_or_as_tensors(name: str) -> None:
    """Both give one report, and the graph is called like the model."""
    forward, args, kwargs = INPUTS[name]
    model = module(forward, fc=nn.Linear(3, 4))
    tensors_given = tuple(map(real, args)), real(kwargs)

    by_shape = fxprof.analyze(model, *args, kwargs=kwargs)
    by_tensor = fxprof.analyze(model, *tensors_given[0], kwargs=tensors_given[1])

    assert by_shape == by_tensor
    assert by_shape.macs == 2 * 3 * 4
    assert_same(model, fxprof.trace(model, *args, kwargs=kwargs), *tensors_given[0], **tensors_given[1])
