"""Modules of torch.nn whose one call is recorded without running their forward: the graph is the same."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

import fxprof
from fxprof.tracing import leaves
from tests.tracing.made import module
from tests.tracing.test_fast_paths import forgotten, graph, without

IMAGE, SIGNAL, ROWS = (2, 4, 8, 8), (2, 4, 16), (2, 6, 4)
# Makers of modules, and a shape that they take.
KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(4, 3), ROWS),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False), ROWS),
    "conv1d": (lambda: nn.Conv1d(4, 2, 3), SIGNAL),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), IMAGE),
    "conv2d with a padding by name": (lambda: nn.Conv2d(4, 6, 3, padding="same"), IMAGE),
    "conv2d around the edges": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 2, stride=2), IMAGE),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGE),
    "batch norm without statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "batch norm in training": (lambda: nn.BatchNorm2d(4).train(), IMAGE),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "layer norm": (lambda: nn.LayerNorm(4), ROWS),
    "layer norm without bias": (lambda: nn.LayerNorm(4, bias=False), ROWS),
    "relu": (nn.ReLU, IMAGE),
    "relu in place": (lambda: nn.ReLU(inplace=True), IMAGE),
    "relu6": (nn.ReLU6, IMAGE),
    "prelu": (lambda: nn.PReLU(4), IMAGE),
    "gelu": (lambda: nn.GELU("tanh"), IMAGE),
    "silu": (nn.SiLU, IMAGE),
    "sigmoid": (nn.Sigmoid, IMAGE),
    "hardswish": (nn.Hardswish, IMAGE),
    "softmax": (lambda: nn.Softmax(-1), ROWS),
    "glu": (lambda: nn.GLU(1), IMAGE),
    "max pool": (lambda: nn.MaxPool2d(2), IMAGE),
    "max pool with indices": (lambda: nn.MaxPool2d(2, return_indices=True), IMAGE),
    "average pool": (lambda: nn.AvgPool2d(3, 2, 1), IMAGE),
    "adaptive pool": (lambda: nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    "dropout": (lambda: nn.Dropout(0.3), ROWS),
    "dropout in training": (lambda: nn.Dropout(0.3).train(), ROWS),
    "flatten": (nn.Flatten, IMAGE),
    "unflatten": (lambda: nn.Unflatten(1, (2, 2)), IMAGE),
    "upsample": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "zero padding": (lambda: nn.ZeroPad2d(1), IMAGE),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "unfold": (lambda: nn.Unfold(3), IMAGE),
    "identity": (nn.Identity, IMAGE),
    "lstm": (lambda: nn.LSTM(4, 3, batch_first=True), ROWS),
    "attention in a layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), ROWS),
}


class Two(nn.Module):
    """Two modules of a kind and two tensors of different sizes, called from code of its own and of torch's."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first = make()
        self.rest = nn.Sequential(nn.Identity(), make())

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return [m(t * 1) for m in (self.first, self.rest) for t in (x, y, x)]


def everything(model: nn.Module, *shapes: tuple[int, ...]) -> list[Any]:
    """The graph, with each node's source line and modules."""
    traced = fxprof.trace(model, *shapes).graph.nodes
    places = [(node.meta.get("source"), node.meta.get("nn_module_stack")) for node in traced]
    return [graph(model, *shapes), places]


@pytest.mark.parametrize("name", KINDS)
def test_a_module_seen_before_is_recorded_as_it_runs(name: str) -> None:
    """Another module of the kind, other sizes, called by torch's own container: nodes, places and source lines."""
    make, shape = KINDS[name]
    model = Two(make)
    shapes = (shape, (shape[0] + 1, *shape[1:]))
    with without("modules seen before"):
        expected = everything(model, *shapes)
    with forgotten():
        first = everything(model, *shapes)
        again = everything(model, *shapes)
        alone = [everything(nn.Sequential(make().eval()), shape) for _ in range(2)]
    with without("modules seen before"):
        assert alone == [everything(nn.Sequential(make().eval()), shape)] * 2

    assert first == expected
    assert again == expected


def test_forward_is_run_once_for_each_kind() -> None:
    """What makes it fast: forty layers of two kinds run two forwards."""
    model = nn.Sequential(*[layer for width in range(1, 21) for layer in (nn.Conv2d(width, width + 1, 1), nn.GELU())])
    ran: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in (nn.Conv2d.forward.__code__, nn.GELU.forward.__code__):
            ran.append(frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_filename)

    with forgotten():
        sys.setprofile(profile)
        try:
            report = fxprof.analyze(model, (1, 1, 4, 4))
        finally:
            sys.setprofile(None)

    assert len(ran) == len(set(ran)) == 2
    assert report.macs == sum(width * (width + 1) * 16 for width in range(1, 21))


def seen_before(layer: nn.Module, *shape: int) -> nn.Module:
    """The layer, when its like has been analyzed."""
    fxprof.analyze(type(layer)(*([shape[-1]] * 2)), shape)
    return layer


def test_what_changes_a_module_is_seen() -> None:
    """Hooks, a forward of its own, another weight, an attribute that forward reads."""
    linear = seen_before(nn.Linear(4, 4), 2, 4)
    assert ops(linear) == ["linear"]

    handle = linear.register_forward_hook(lambda module, args, result: result.relu())
    assert ops(linear) == ["linear", "relu"]
    handle.remove()

    handle = linear.register_forward_pre_hook(lambda module, args: (args[0].sigmoid(),))
    assert ops(linear) == ["sigmoid", "linear"]
    handle.remove()

    handle = nn.modules.module.register_module_forward_hook(lambda module, args, result: result.tanh())
    assert ops(linear) == ["linear", "tanh"]
    handle.remove()

    linear.forward = lambda x: x.exp()
    assert ops(linear) == ["exp"]
    del linear.forward

    with mock.patch.object(nn.Linear, "forward", lambda self, x: x @ self.weight):
        assert ops(linear) == ["matmul"]
    assert ops(linear) == ["linear"]

    with mock.patch.object(nn.functional, "linear", lambda x, weight, bias: (x @ weight).tanh()):
        assert ops(linear) == ["matmul", "tanh"]

    assert ops(parametrizations.weight_norm(nn.Linear(4, 4))) == ["_weight_norm", "linear"]
    conv = nn.Conv2d(4, 4, 3)
    assert fxprof.analyze(conv, (1, 4, 8, 8)).ops[0].output == fxprof.TensorSpec((1, 4, 6, 6), "float32")
    vars(conv)["_conv_forward"] = lambda x, weight, bias: x
    assert not fxprof.analyze(conv, (1, 4, 8, 8)).ops
    del vars(conv)["_conv_forward"]
    with mock.patch.object(nn.Conv2d, "_conv_forward", lambda self, x, weight, bias: x * 2):
        assert [op.op for op in fxprof.analyze(conv, (1, 4, 8, 8)).ops] == ["mul"]
    conv.stride = (2, 2)
    assert fxprof.analyze(conv, (1, 4, 8, 8)).ops[0].output == fxprof.TensorSpec((1, 4, 3, 3), "float32")


def ops(model: nn.Module) -> list[str]:
    """What it runs on two rows of four."""
    return [op.op for op in fxprof.analyze(model, (2, 4)).ops]


def test_a_subclass_runs_its_own_forward() -> None:
    """Only torch's own classes are known."""

    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(super().forward(x))

    seen_before(nn.Linear(4, 4), 2, 4)

    assert ops(Twice(4, 4)) == ["linear", "linear"]


def test_a_mode_that_the_model_enters_sees_every_call() -> None:
    """A function mode may change what a layer calls."""

    class Doubled(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            return result * 2 if func is nn.functional.linear else result

    def forward(self: Any, x: Tensor) -> Tensor:
        with Doubled():
            return self.layer(x)

    model = module(forward)
    model.layer = seen_before(nn.Linear(4, 4), 2, 4)

    assert ops(model) == ["linear", "mul"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(4, 4), (2, 5)), (nn.BatchNorm2d(4), (1, 4, 2)), (nn.BatchNorm2d(4), (1, 3, 2, 2)), (nn.ReLU(), (-1,))],
)
def test_an_error_is_the_one_that_forward_raises(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Sizes that do not fit, and too few dimensions."""
    fxprof.analyze(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), (2, 4))
    fxprof.analyze(nn.BatchNorm2d(4).eval(), (1, 4, 2, 2))
    with pytest.raises(fxprof.FxprofError) as seen:
        fxprof.analyze(layer.eval(), shape)
    with without("modules seen before"), pytest.raises(fxprof.FxprofError) as run:
        fxprof.analyze(layer, shape)

    assert str(seen.value) == str(run.value)


def test_what_is_kept_keeps_no_model() -> None:
    """After an analysis every model can be freed: recurrent layers, which list their weights, and patched ones."""
    layers = [nn.Linear(4, 4), nn.BatchNorm1d(4).eval(), nn.LSTM(4, 4), nn.Linear(4, 4)]
    vars(layers[3])["helper"] = vars(layers[3])["bias_k"] = object()
    vars(layers[3])["weight_"] = layers[0]
    shapes = [(2, 4), (2, 4), (2, 3, 4), (2, 4)]
    with forgotten():
        for layer, shape in zip(layers, shapes):
            fxprof.analyze(layer, shape)
        assert len([recipe for recipe in leaves._recipes.values() if recipe is not None]) == 2
        alive: list[Any] = [weakref.ref(tensor) for layer in layers for tensor in layer.parameters()]
        alive += [weakref.ref(layer) for layer in layers]
        del layer, layers
        gc.collect()
        assert [reference() for reference in alive] == [None] * len(alive)
