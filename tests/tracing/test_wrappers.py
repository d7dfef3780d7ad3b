"""One model in every wrapping, mode, dtype and device costs the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import fxprof
from tests.tracing.made import module


class Net(nn.Module):
    """Convolution, norm, attention, recurrence, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.norm(self.conv(x)).relu()).flatten(2).transpose(1, 2)
        return self.rnn(self.layer(x))[0]


SHAPE = (1, 3, 4, 4)
# conv 16*8*27, layer: projections 4*16*8*8, scores and mixing 2*16*16*8, feed-forward 2*16*8*16; GRU 16*3*8*(8+8)
MACS = 16 * 8 * 27 + 4 * 16 * 8 * 8 + 2 * 16 * 16 * 8 + 2 * 16 * 8 * 16 + 16 * 3 * 8 * 16

VARIANTS: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda m: m,
    "meta": lambda m: m.to("meta"),
    "train": lambda m: m.train(),
    "eval": lambda m: m.eval(),
    "frozen": lambda m: m.requires_grad_(False),
    "frozen eval": lambda m: m.eval().requires_grad_(False),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "float64": lambda m: m.double(),
    "channels last": lambda m: m.to(memory_format=torch.channels_last),
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled in place": lambda m: m.compile() or m,  # type: ignore[func-returns-value]
    "compiled DataParallel": lambda m: torch.compile(nn.DataParallel(m)),
    "copied": copy.deepcopy,
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_count_does_not_depend_on_how_the_model_is_held(name: str) -> None:
    """Same MACs and parameters for every variant."""
    plain = Net()
    expected = fxprof.analyze(plain, SHAPE)
    variant = VARIANTS[name](Net())

    report = fxprof.analyze(variant, SHAPE)

    assert report.macs == expected.macs == MACS
    assert report.params == expected.params == sum(p.numel() for p in plain.parameters())
    assert not report.uncounted


def test_sizes_in_bytes_follow_the_dtype() -> None:
    """Half the bytes in bfloat16; shapes are given without a dtype."""
    full, half = (fxprof.analyze(nn.Linear(10, 10, dtype=dtype), (3, 10)) for dtype in (torch.float32, torch.bfloat16))

    assert half.param_bytes * 2 == full.param_bytes == 4 * 110
    assert half.activation_bytes * 2 == full.activation_bytes == 4 * 30
    assert half.inputs[0].spec.dtype == "bfloat16"


def scripted(model: nn.Module) -> nn.Module:
    """TorchScript announces its end."""
    with pytest.warns((FutureWarning, DeprecationWarning)) if torch.__version__ >= "2.9" else _nothing():
        return torch.jit.script(model)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_torchscript_is_seen_into() -> None:
    """A scripted model, a scripted child, a scripted function and a traced model all count."""
    plain = nn.Sequential(nn.Linear(10, 10, bias=False), nn.ReLU())
    whole = torch.jit.script(plain)
    child = nn.Sequential(torch.jit.script(plain), nn.Linear(10, 10, bias=False))
    double = torch.jit.script(lambda_free_double)
    traced = torch.jit.trace(plain, torch.ones(3, 10))
    calls = module(lambda self, x: self.fc(double(x)), fc=nn.Linear(10, 10, bias=False))

    assert fxprof.analyze(whole, (3, 10)).macs == 300
    assert fxprof.analyze(child, (3, 10)).macs == 600
    assert fxprof.analyze(traced, (3, 10)).macs == fxprof.analyze(nn.Sequential(traced), (3, 10)).macs == 300
    report = fxprof.analyze(calls, (3, 10))
    assert (report.macs, report.flops) == (300, 600 + 30)


def lambda_free_double(x: Tensor) -> Tensor:
    """TorchScript compiles named functions only."""
    return x * 2


def test_a_size_that_an_exported_program_was_not_made_for_is_named() -> None:
    """It checks its inputs; nothing in it traces anything."""
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(nn.Linear(4, 4), (torch.ones(8, 4),), dynamic_shapes=({0: batch},))
    assert fxprof.analyze(program, (16, 4)).macs == 16 * 4 * 4

    with pytest.raises(fxprof.TraceError, match=r"to be <= 64, but got 100, given 100x4$"):
        fxprof.analyze(program, (100, 4))


def test_graph_modules_and_exported_programs_are_models_too() -> None:
    """symbolic_trace, torch.export and fxprof's own graph count the same."""
    plain = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 5)).eval()
    traced = fx.symbolic_trace(plain)
    exported = torch.export.export(plain, (torch.randn(3, 10),))
    own = fxprof.trace(plain, (3, 10))

    assert {fxprof.analyze(model, (3, 10)).macs for model in (plain, traced, exported, own)} == {
        3 * 10 * 10 + 3 * 10 * 5
    }


PARAMETRIZED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "weight norm, old": nn.utils.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.5),
}


@pytest.mark.parametrize("name", PARAMETRIZED)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_parametrized_weights_are_the_layer_they_parametrize(name: str) -> None:
    """The linear op costs what it costs; recomputing the weight is seen beside it."""
    report = fxprof.analyze(PARAMETRIZED[name](nn.Linear(10, 10, bias=False)), (3, 10))

    assert report.by_op()["linear"].macs == 300


class Unmade(nn.Module):
    """Its __init__ forgets nn.Module's."""

    def __init__(self) -> None:
        pass


def _refuses(self: nn.Module, x: Tensor) -> Tensor:
    raise AssertionError


def circle() -> nn.Module:
    """A module that holds itself, by way of another."""
    model = nn.Sequential(nn.Identity())
    model[0].add_module("up", model)
    return model


BAD = {
    "a class": (nn.Linear, ((2, 3),), "model must be an nn.Module instance, got the class Linear"),
    "not a module": (lambda x: x, ((2, 3),), "model must be an nn.Module, got function"),
    "unmade": (nn.Sequential(Unmade()), ((2, 3),), r"but 0 \(Unmade\) has no '_parameters'; call super"),
    "circle": (circle(), ((2, 3),), "modules must not hold one another in a circle"),
    "lazy": (nn.LazyLinear(4), ((2, 3),), "every parameter must have a shape, but 'weight' is a lazy one"),
    "too many": (
        nn.Linear(3, 4),
        ((2, 3), (2,)),
        r"the inputs must fit Linear.forward\(.*too many positional arguments, got 2 inputs",
    ),
    "too few": (nn.Bilinear(3, 4, 5), ((2, 3),), "missing a required argument: 'input2', got 1 input"),
    "wrong size": (
        nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 6)),
        ((2, 3),),
        r"1 \(Linear\) raised RuntimeError.*, given 2x4$",
    ),
    "negative": (nn.Linear(3, 4), ((-1, 3),), r"sizes >= 0, got \(-1, 3\)"),
    "no words": (module(_refuses), ((2, 3),), r"raised AssertionError \(at "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_models_and_inputs_get_one_sentence(name: str) -> None:
    """What must hold, what was got, where."""
    model, inputs, message = BAD[name]

    with pytest.raises(fxprof.FxprofError, match=message):
        fxprof.analyze(model, *inputs)  # type: ignore[arg-type]


def test_two_threads_can_analyze_one_model_at_a_time() -> None:
    """Both get the report, and the model is as before."""
    model = Net()
    before = [dict(vars(part)) for part in model.modules()]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: fxprof.analyze(model, SHAPE), range(8)))

    assert all(report == reports[0] for report in reports)
    assert [dict(vars(part)) for part in model.modules()] == before


def test_analyze_does_not_import_torchvision() -> None:
    """So that a broken torchvision beside torch harms nobody's own model."""
    import subprocess
    import sys

    code = (
        "import sys, torch, fxprof; sys.modules['torchvision'] = None\n"
        "assert fxprof.analyze(torch.nn.Linear(3, 4), (2, 3)).macs == 24\n"
        "fxprof.trace(torch.nn.Linear(3, 4), (2, 3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


class Resized(nn.Module):
    """Takes a size, and says so."""

    def forward(self, x: Tensor, size: tuple[int, int], scale: Tensor | list[int]) -> Tensor:
        """x (n, c, h, w) -> (n, c, *size)."""
        return F.interpolate(x * torch.as_tensor(scale), size=size)


def resized() -> nn.Module:
    """Takes a size, and has one where none is given."""

    def forward(self: Any, x: Tensor, size=(2, 2), scale=None):
        return F.interpolate(x * scale, size=size)

    return module(forward)


@pytest.mark.parametrize("model", [Resized(), resized()])
@pytest.mark.parametrize("size", [(8, 8), [8, 8], torch.Size((8, 8))])
def test_ints_are_ints_where_forward_says_so(model: nn.Module, size: Any) -> None:
    """A tuple of ints is a shape, but not for a parameter that is annotated as ints, or has ints for a default."""
    named = fxprof.analyze(model, (1, 3, 4, 4), kwargs={"size": size, "scale": (4, 4)})
    report = fxprof.analyze(model, (1, 3, 4, 4), size, (4, 4))

    assert report.ops[-1].outputs[0].shape == named.ops[-1].outputs[0].shape == (1, 3, 8, 8)
    assert [entry.name for entry in report.inputs] == [entry.name for entry in named.inputs] == ["x", "scale"]
