"""Models that differentiate in their forward: torch.func, torch.autograd.functional, ``backward``, ``grad``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

import fxprof
from tests.tracing.made import module
from tests.tracing.multiplied import products
from tests.tracing.same import fingerprint, tensors

func: Any = torch.func
autograd: Any = torch.autograd.functional
# TorchScript, which torch.func.jvp uses as well, announces its end.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")


def net() -> nn.Module:
    """8 -> 4."""
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4))


def model(forward: Callable[[Any, Tensor], Any]) -> nn.Module:
    """A model whose forward differentiates ``net``."""
    return module(lambda self, x: forward(self.a, x), a=net())


def per_sample(a: nn.Module, x: Tensor) -> Any:
    """The gradient of each sample's loss by the weights, as in differential privacy."""

    def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return func.functional_call(a, weights, (row[None],)).pow(2).sum()

    held = {name: weight.detach() for name, weight in a.named_parameters()}
    return torch.vmap(func.grad(loss), (None, 0))(held, x)


def after_backward(a: nn.Module, x: Tensor) -> Tensor:
    """As attacks do; the weights get a gradient as well."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        a(x).sum().backward()
    assert x.grad is not None
    return x.grad


def one_hots(a: nn.Module, x: Tensor) -> Tensor:
    """The rows of the Jacobian, in one call."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(a(x).sum(0), x, torch.eye(4), is_grads_batched=True)[0]


ONCE: dict[str, Callable[[Any, Tensor], Any]] = {
    "grad": lambda a, x: func.grad(lambda y: a(y).pow(2).sum())(x),
    "grad of every row": lambda a, x: torch.vmap(func.grad(lambda y: a(y).sum()))(x),
    "grad by the weights": per_sample,
    "vjp": lambda a, x: (lambda out, back: (out, back(torch.ones_like(out))[0]))(*func.vjp(a, x)),
    "jvp": lambda a, x: func.jvp(a, (x,), (torch.ones_like(x),)),
    "jacrev": lambda a, x: torch.vmap(func.jacrev(a))(x),
    "jacfwd": lambda a, x: func.jacfwd(a)(x[0]),
    "hessian": lambda a, x: func.hessian(lambda y: a(y).sum())(x[0]),
    "Hutchinson": lambda a, x: (lambda e, back: (back(e)[0] * a(x).sum()).sum(-1))(
        torch.randn_like(a(x)), func.vjp(a, x)[1]
    ),
    "autograd.jacobian": lambda a, x: autograd.jacobian(a, x[0]),
    "autograd.jacobian at once": lambda a, x: autograd.jacobian(a, x[0], vectorize=True),
    "autograd.vjp": lambda a, x: autograd.vjp(a, x[0], torch.ones(4)),
    "autograd.jvp": lambda a, x: autograd.jvp(a, x[0], torch.ones(8)),
    "backward": after_backward,
    "batched": one_hots,
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ONCE)
def test_a_gradient_in_forward_counts_what_torch_multiplies(name: str, training: bool) -> None:
    """With the backward pass of training behind it; the model is as it was."""
    made, x = model(ONCE[name]), torch.randn(3, 8)
    before = fingerprint(made)

    report = fxprof.analyze(made, (3, 8), training=training)

    assert report.macs == products(made, x, training)
    assert report.exact
    assert report.params == sum(p.numel() for p in made.parameters())
    assert fingerprint(made) == before


@pytest.mark.parametrize("name", ["grad", "grad by the weights", "jacrev", "hessian"])
def test_the_graph_computes_the_gradient(name: str) -> None:
    """On the model's own weights."""
    made, x = model(ONCE[name]), torch.randn(3, 8)

    found = fxprof.trace(made, (3, 8))(x)

    pairs = list(zip(tensors(found), tensors(made(x)), strict=True))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_analyses_before_do_not_change_one_of_batched_weights() -> None:
    """An ensemble's layers look like others met before, but torch.vmap has wrapped their weights."""
    layers = nn.ModuleList(net() for _ in range(3))

    def forward(self: Any, x: Tensor) -> Tensor:
        held, buffers = func.stack_module_state(list(self.layers))
        call = lambda weights, names, x: func.functional_call(self.layers[0], (weights, names), (x,))  # noqa: E731
        return torch.vmap(call, (0, 0, None))(held, buffers, x)

    fxprof.analyze(net(), (3, 8))

    assert fxprof.analyze(module(forward, layers=layers), (3, 8)).macs == 3 * 3 * (8 * 6 + 6 * 4)


def force(a: nn.Module, x: Tensor) -> Tensor:
    """The gradient of an energy by positions, to be trained."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(a(x).sum(), x, create_graph=True)[0]


def test_a_gradient_is_trained_by_two_products_for_each_of_its_own() -> None:
    """One for the gradient that came in, one for the weight: torch leaves out that of the ones at the end only."""
    once = 3 * (8 * 6 + 6 * 4)  # and the gradient by x is as much again

    assert fxprof.analyze(model(force), (3, 8)).macs == 2 * once
    assert fxprof.analyze(model(force), (3, 8), training=True).macs >= products(model(force), torch.randn(3, 8), True)
    assert fxprof.analyze(model(force), (3, 8), training=True).macs <= 2 * once + 2 * once + 2 * once


def twice(a: nn.Module, x: Tensor) -> Tensor:
    """The curvature of an energy, in any mode."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        slope = torch.autograd.grad(a(x).sum(), x, create_graph=True)[0]
        return torch.autograd.grad(slope.sum(), x, create_graph=True)[0]


@pytest.mark.parametrize(
    ("forward", "training", "assumed"),
    [
        (force, False, []),
        (force, True, ["2 products for each of its own"]),
        (twice, False, ["a product for each of its own"]),
        (twice, True, ["2 products for each of its own"] * 2),
    ],
)
def test_the_gradient_of_a_gradient_is_not_said_to_be_exact(
    forward: Callable[[Any, Tensor], Tensor], training: bool, assumed: list[str]
) -> None:
    """Torch makes a product for each factor that needs a gradient, which is not looked into."""
    report = fxprof.analyze(model(forward), (3, 8), training=training)

    assert [bound.assumed for bound in report.bounds] == assumed
    assert report.exact == (not assumed)
    assert all("test_gradients.py:" in bound.source and "needs a gradient" in bound.effect for bound in report.bounds)


def linearized(a: nn.Module, x: Tensor) -> Tensor:
    """The derivative as a function, which torch traces."""
    return func.linearize(a, x)[1](x)


def retraced(a: nn.Module, x: Tensor) -> Tensor:
    """A graph made in each call."""
    return make_fx(a)(x)(x)


@pytest.mark.parametrize("forward", [linearized, retraced])
def test_what_traces_itself_in_a_forward_is_refused(forward: Callable[[Any, Tensor], Tensor]) -> None:
    """What it traced would be missing; afterwards, torch is as it was."""
    made, x = model(forward), torch.randn(3, 8)

    with pytest.raises(fxprof.TraceError, match=r"the model does at .*test_gradients.py:\d+, with make_fx"):
        fxprof.analyze(made, (3, 8))

    assert make_fx(net())(x)(x).shape == (3, 4)


@pytest.mark.parametrize("trace", [lambda a, x: torch.export.export(a, (x,)).module(), torch.jit.trace])
def test_what_is_exported_in_a_forward_is_refused(trace: Callable[[Any, Any], Any]) -> None:
    """Neither takes tensors without data."""
    with pytest.raises(fxprof.TraceError, match="traces by itself cannot be traced again"):
        fxprof.analyze(model(lambda a, x: trace(a, x)(x)), (3, 8))


def test_a_gradient_without_a_graph_of_its_own_is_not_trained() -> None:
    """Nothing flows through it."""
    plain = model(lambda a, x: torch.autograd.grad(a(x).sum(), a[0].weight)[0])

    assert fxprof.analyze(plain, (3, 8), training=True).macs == products(plain, torch.randn(3, 8), True)


def test_a_scripted_layer_is_trained() -> None:
    """TorchScript detaches what it differentiates by itself."""
    made = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU())), nn.Linear(8, 4))

    assert fxprof.analyze(made, (3, 8), training=True).macs == 2 * 3 * 64 + 3 * 3 * 32


def constrained(self: Any, x: Tensor) -> Tensor:
    """As EEGNet limits its weights."""
    self.a.weight.data = torch.renorm(self.a.weight.data, 2, 0, 1)
    return self.a(x)


def copied(self: Any, x: Tensor) -> Tensor:
    """The same, in place."""
    with torch.no_grad():
        self.a.weight.copy_(self.a.weight / self.a.weight.norm())
    return self.a(x)


def moved(self: Any, x: Tensor) -> Tensor:
    """To where it is."""
    return self.a.to("cpu")(x)


def converted(self: Any, x: Tensor) -> Tensor:
    """Through another dtype."""
    return self.a.half().float()(x)


def result_written(self: Any, x: Tensor) -> Tensor:
    """What a layer returned gets other numbers, of another layer."""
    x = self.a(x)
    x.data = self.c(x).data
    return x


def result_scaled(self: Any, x: Tensor) -> Tensor:
    """The same, in place."""
    x = self.a(x)
    with torch.no_grad():
        x.mul_(2)
    return x


def measured(self: Any, x: Tensor) -> Tensor:
    """Parts that are looked at first where gradients are off."""
    parts = self.a(x).chunk(2, -1)
    with torch.no_grad():
        size = parts[0].mean() + parts[1].mean()
    return torch.cat(parts, -1) * size


def frozen(self: Any, x: Tensor) -> Tensor:
    """A layer that forward does not train."""
    self.a.requires_grad_(False)
    return self.a(x)


def wanted(self: Any, x: Tensor) -> Tensor:
    """Positions that want a gradient, as an attribute says."""
    x = x.detach()
    x.requires_grad = True
    return self.a(x)


class Assign(torch.autograd.Function):
    """Fills a part of its argument and returns that, as the solvers of torchdiffeq do."""

    @staticmethod
    def forward(ctx: Any, scratch: Tensor, value: Tensor, index: Any) -> Tensor:
        """Behind autograd's back."""
        ctx.index = index
        scratch.data[index] = value
        return scratch

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Of all, and of the part."""
        return gradient, gradient[ctx.index], None


def assigned(self: Any, x: Tensor) -> Tensor:
    """Two stages of a step."""
    stages = Assign.apply(torch.empty(3, 4, 2), self.c(x), (..., 0))
    return Assign.apply(stages, self.a(x), (..., 1)).sum(-1)


class Reverse(torch.autograd.Function):
    """Turns a gradient around, as domain adaptation does."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Nothing."""
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The other way."""
        return -gradient


def reversed_(self: Any, x: Tensor) -> Tensor:
    """An autograd Function that returns its argument."""
    return Reverse.apply(self.a(x))


@pytest.mark.parametrize(
    "first",
    [
        assigned,
        reversed_,
        constrained,
        copied,
        moved,
        converted,
        result_written,
        result_scaled,
        measured,
        frozen,
        wanted,
    ],
)
def test_what_is_written_without_gradients_is_trained_as_before(first: Callable[[Any, Tensor], Tensor]) -> None:
    """A tensor keeps its gradient whatever numbers are put into it; a second analysis says the same."""
    layers = {name: nn.Linear(4, 4) for name in "abc"}
    made = module(lambda self, x: self.b(first(self, x)), **layers)
    before = fingerprint(made)

    report = fxprof.analyze(made, (3, 4), training=True)

    assert report.macs == products(made, torch.randn(3, 4), True)
    assert report == fxprof.analyze(made, (3, 4), training=True)
    assert fingerprint(made) == before
