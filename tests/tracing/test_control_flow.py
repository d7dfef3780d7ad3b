"""Control flow that is an operator, and objects that say themselves what torch's functions do to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from tests.tracing.made import module

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
LAYER = 2 * 8 * 8  # MACs of one on (2, 8)


def operator(name: str) -> Any:
    """One of torch's prototypes, where this torch has it."""
    home = importlib.import_module("torch._higher_order_ops")
    if not hasattr(home, name):
        pytest.skip(f"this torch has no {name}")
    return getattr(home, name)


def branch(self: Any, x: Tensor) -> Any:
    """One layer or two."""
    return torch.cond(x.sum() > 0, lambda x: self.b(self.a(x)), lambda x: self.a(x), (x,))


def loop(self: Any, x: Tensor) -> Any:
    """Three times, by a counter that is known."""
    start = torch.tensor(0)
    return operator("while_loop")(lambda i, x: i < 3, lambda i, x: (i + 1, self.a(x)), (start, x))[1]


def scanned(self: Any, x: Tensor) -> Any:
    """A recurrent network over 5 steps."""

    def step(state: Tensor, row: Tensor) -> Any:
        state = torch.tanh(row @ self.w + state)
        return state, state.clone()

    return operator("scan")(step, torch.zeros(2, 8), x.expand(5, 2, 8), dim=0)[1]


def mapped(self: Any, x: Tensor) -> Any:
    """A layer for each of 5, which returns one tensor."""
    return operator("map")(self.a, x.expand(5, 2, 8))


def mapped_nested(self: Any, x: Tensor) -> Any:
    """Two layers for each of 5, in a dict with a list."""
    return operator("map")(lambda row: {"a": self.a(row), "b": [self.b(row)[0]]}, x.expand(5, 2, 8))["b"][0]


MODELS: dict[str, tuple[Callable[..., Any], int, tuple[int, ...]]] = {
    "cond": (branch, 2 * LAYER, (2, 8)),
    "while_loop": (loop, 3 * LAYER, (2, 8)),
    "scan": (scanned, 5 * LAYER, (5, 2, 8)),
    "map": (mapped, 5 * LAYER, (5, 2, 8)),
    "map, nested": (mapped_nested, 10 * LAYER, (5, 8)),
}


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch compiles them, and cannot be told not to")
@pytest.mark.parametrize("name", MODELS)
def test_control_flow_is_followed(name: str) -> None:
    """As Python's own: every step counts, and a branch on data is declared."""
    forward, macs, shape = MODELS[name]
    model = module(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 8), w=nn.Parameter(torch.ones(8, 8)))

    report = fxprof.analyze(model, (2, 8))

    assert (report.macs, report.uncounted) == (macs, ())
    assert [bound.what for bound in report.bounds] == (["a branch on data"] if name == "cond" else [])
    assert {op.name: op.outputs[0].shape for op in report.ops}[report.outputs[0]] == shape


class Measured:
    """A tensor with a unit, that is none itself."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it to the values."""
        plain = [arg.values if isinstance(arg, Measured) else arg for arg in args]
        return Measured(func(*plain, **(kwargs or {})))


measured: Any = Measured


def test_what_is_no_tensor_does_as_it_says() -> None:
    """Its own ``__torch_function__`` is asked, and what that calls is recorded."""
    model = module(lambda self, x: F.linear(measured(x), self.a.weight).values, a=nn.Linear(8, 8))

    assert fxprof.analyze(model, (2, 8)).macs == LAYER


@pytest.mark.parametrize("kind", ["causal_lower_right", "causal_upper_left"])
@pytest.mark.parametrize("given", [False, True])
def test_a_causal_mask_is_a_tensor_without_rows(kind: str, given: bool) -> None:
    """It says itself how attention takes it, in the model or as an input: no numbers of its own are read."""
    mask = getattr(importlib.import_module("torch.nn.attention.bias"), kind)(5, 10)
    shapes = [(1, 3, 5, 8), (1, 3, 10, 8), (1, 3, 10, 8)]
    made = module(lambda self, q, k, v: F.scaled_dot_product_attention(q, k, v, mask))
    taken = module(lambda self, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask))
    model, inputs = (taken, (*shapes, mask)) if given else (made, tuple(shapes))

    report = fxprof.analyze(model, *inputs)
    tensors = [torch.randn(shape) for shape in shapes] + [mask] * given

    assert (report.macs, report.exact) == (3 * 5 * 10 * (8 + 8), True)
    torch.testing.assert_close(fxprof.trace(model, *inputs)(*tensors), model(*tensors))


class Named(Tensor):
    """A tensor that hands its name on to what is computed from it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As torch does, and the name of the first that has one."""
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, Named):
            result.label = next(arg.label for arg in args if isinstance(arg, Named))  # type: ignore[attr-defined]
        return result


def test_a_tensor_keeps_what_its_class_adds() -> None:
    """What a model reads of it is there, and the count is that of the plain tensor."""

    def forward(self: Any, x: Any) -> Any:
        y = self.a(x)
        return self.b(y) if y.label == "image" else y

    x = torch.randn(2, 8).as_subclass(Named)
    x.label = "image"  # type: ignore[attr-defined]

    assert fxprof.analyze(module(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 8)), x).macs == 2 * LAYER
