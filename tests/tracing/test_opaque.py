"""What cannot be seen into is one node that shows: custom ops, autograd Functions, ops without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from fxprof import Cost, TensorSpec
from fxprof.cli import main
from fxprof.rules import registry
from tests.tracing.made import module

_library = torch.library.Library("fxprof_opaque", "DEF")
_library.define("faked(Tensor x, Tensor w) -> Tensor")
_library.impl("faked", lambda x, w: x.new_empty((x.shape[0], w.shape[0])), "Meta")
_library.define("cpu(Tensor x, Tensor w) -> Tensor")  # a name that torch has for something else
_library.impl("cpu", lambda x, w: x @ w.t(), "CPU")
_library.define("nowhere(Tensor x, Tensor w) -> Tensor")
_library.define("composite(Tensor x, Tensor w) -> Tensor")
_library.impl("composite", lambda x, w: torch.mm(x, w.t()), "CompositeImplicitAutograd")
_library.define("into(Tensor x, Tensor(a!) out) -> ()")
_library.impl("into", lambda x, out: None, "Meta")
_library.define("pair(Tensor x, int times=2) -> (Tensor, Tensor)")
ops = torch.ops.fxprof_opaque


@torch.library.custom_op("fxprof_opaque::python", mutates_args=(), schema="(Tensor x, Tensor w) -> Tensor")
def python_op(x: Tensor, w: Tensor) -> Tensor:
    """An op made in Python, with a fake kernel."""
    return x @ w.t()


@python_op.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[0]))


@torch.library.custom_op("fxprof_opaque::unfaked", mutates_args=(), schema="(Tensor x, Tensor w) -> Tensor")
def unfaked_op(x: Tensor, w: Tensor) -> Tensor:
    """An op made in Python, without one."""
    return x @ w.t()


class Seen(torch.autograd.Function):
    """Made of torch's ops."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return F.linear(x, w)


class Kernel(torch.autograd.Function):
    """Launches something that needs real memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, repeat: int = 1) -> Tensor:
        assert x.data_ptr() and not x.is_meta, "the kernel takes addresses"
        raise RuntimeError("no device")


def layer(call: Any) -> nn.Module:
    """A linear layer of 4 x 8 x 8 MACs, then ``call`` on (4, 8) and a weight (6, 8)."""
    return module(
        lambda self, x: call(self.fc(x), self.w), fc=nn.Linear(8, 8, bias=False), w=nn.Parameter(torch.ones(6, 8))
    )


@pytest.fixture(autouse=True)
def untaught() -> Iterator[None]:
    """Forget what a test has taught."""
    before = dict(registry.REGISTERED), dict(registry.SHAPES)
    yield
    for table, saved in zip((registry.REGISTERED, registry.SHAPES), before):
        table.clear()
        table.update(saved)


UNKNOWN = {
    "fake kernel": (lambda x, w: ops.faked(x, w), "fxprof_opaque::faked", 24),
    "made in Python": (lambda x, w: python_op(x, w), "fxprof_opaque::python", 24),
    "by its overload": (lambda x, w: ops.python.default(x, w), "fxprof_opaque::python", 24),
    "no fake kernel": (lambda x, w: unfaked_op(x, w), "fxprof_opaque::unfaked", 24),
    "CPU kernel alone": (lambda x, w: ops.cpu(x, w), "fxprof_opaque::cpu", 24),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_op_is_one_uncounted_node(name: str) -> None:
    """A total without it, a note that names it, and no claim to be exact."""
    call, op, elements = UNKNOWN[name]

    report = fxprof.analyze(layer(call), (4, 8))

    assert report.macs == 4 * 8 * 8
    assert [(u.op, u.calls, u.elements) for u in report.uncounted] == [(op, 1, elements)]
    assert not report.exact
    assert op in str(report).partition("Intensity")[2]
    assert report.ops[-1].output == TensorSpec((4, 6), "float32")


def test_an_op_is_not_run_on_control_data() -> None:
    """Its result is not known, though all that it reads is: nothing of the model's own kernels runs."""
    report = fxprof.analyze(layer(lambda x, w: x + ops.faked(torch.arange(4.0)[:, None], torch.ones(8, 1))), (4, 8))

    assert [u.op for u in report.uncounted] == ["fxprof_opaque::faked"]


def test_an_unknown_op_has_an_upper_bound() -> None:
    """Each element written from each element read, once: more than the product that it may be."""
    report = fxprof.analyze(layer(lambda x, w: ops.faked(x, w)), (4, 8))

    (entry,) = report.uncounted
    assert entry.bound.macs == 24 * (32 + 48) >= 4 * 8 * 6
    assert entry.bound.flops == 2 * entry.bound.macs
    assert "Not exact: fxprof_opaque::faked uncounted." in str(report).splitlines()
    assert "not in the MACs and FLOPs, at most 1,920 MACs." in str(report)


def test_an_unknown_op_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """``--strict`` exits with 1 and names it; without, the total is there."""
    where = "tests.tracing.test_opaque:unknown_model"
    assert main(["report", where, "--input", "4,8"]) == 0
    assert "fxprof_opaque::faked" in capsys.readouterr().out
    assert main(["report", where, "--input", "4,8", "--strict"]) == 1
    assert "fxprof_opaque::faked" in capsys.readouterr().err


def unknown_model() -> nn.Module:
    """For the command line."""
    return layer(lambda x, w: torch.ops.fxprof_opaque.faked(x, w))


def test_an_op_that_only_writes_is_a_node_too() -> None:
    """It returns nothing, and is no silent zero."""
    report = fxprof.analyze(layer(lambda x, w: (out := torch.empty_like(x), ops.into(x, out))[0]), (4, 8))

    assert [(u.op, u.elements) for u in report.uncounted] == [("fxprof_opaque::into", 32)]


def test_an_op_made_of_others_is_counted_by_them() -> None:
    """A composite op decomposes."""
    report = fxprof.analyze(layer(lambda x, w: ops.composite(x, w)), (4, 8))

    assert (report.macs, report.exact) == (4 * 8 * 8 + 4 * 8 * 6, True)


def test_running_on_zeros_is_declared() -> None:
    """The only call that is ever run, to learn a shape."""
    (bound,) = fxprof.analyze(layer(lambda x, w: unfaked_op(x, w)), (4, 8)).bounds

    assert (bound.op, bound.what) == ("fxprof_opaque::unfaked", "the shape of its result")


def test_an_op_without_any_kernel_says_what_to_do() -> None:
    """Register a fake kernel, or teach a shape."""
    with pytest.raises(
        fxprof.TraceError, match=r"nowhere must have a fake kernel.*fxprof\.rule\('fxprof_opaque::nowhere', shape="
    ):
        fxprof.analyze(layer(lambda x, w: ops.nowhere(x, w)), (4, 8))


# -- teaching ----------------------------------------------------------------------------------------------


def product(x: Any, w: Any, *, out: Any) -> Cost:
    """x (n, k), w (m, k) -> out (n, m)."""
    return Cost(macs=out[0] * out[1] * x[1], flops=2 * out[0] * out[1] * x[1])


def test_a_taught_op_counts_in_every_later_report() -> None:
    """By its name, whichever overload is called; ``rules=`` counts by another."""
    model = layer(lambda x, w: ops.faked(x, w))
    assert fxprof.rule("fxprof_opaque::faked.default")(product) is product

    report = fxprof.analyze(model, (4, 8))

    assert (report.macs, report.exact) == (4 * 8 * 8 + 4 * 8 * 6, True)
    free = fxprof.analyze(model, (4, 8), rules={**fxprof.RULES, "fxprof_opaque::faked": lambda *_, out: Cost()})
    assert free.macs == 4 * 8 * 8


def test_a_taught_shape_stands_in_for_a_kernel() -> None:
    """For an op that has none; keyword arguments and several results of other dtypes included."""
    fxprof.rule("fxprof_opaque::nowhere", shape=lambda x, w: (x[0], w[0]))(product)
    assert fxprof.analyze(layer(lambda x, w: ops.nowhere(x, w)), (4, 8)).macs == 4 * 8 * 8 + 4 * 8 * 6

    fxprof.rule("fxprof_opaque::pair", shape=lambda x, times: (x, TensorSpec((x[0] * times,), "int64")))(
        lambda x, *, times, out: Cost(macs=times * out[1][0])
    )
    report = fxprof.analyze(layer(lambda x, w: ops.pair(x, times=3)[1] + 1), (4, 8))
    assert report.ops[1].outputs == (TensorSpec((4, 8), "float32"), TensorSpec((12,), "int64"))
    assert report.macs == 4 * 8 * 8 + 3 * 12


def test_a_taught_function_is_one_node() -> None:
    """An autograd Function by its qualified name, with its own defaults; the graph runs it."""
    name = f"{__name__}.Kernel"
    fxprof.rule(name, shape=lambda x, w: (x[0], w[0]))(product)

    report = fxprof.analyze(layer(lambda x, w: Kernel.apply(x, w)), (4, 8))

    assert report.ops[-1].op == name
    assert (report.macs, report.exact) == (4 * 8 * 8 + 4 * 8 * 6, True)


def test_a_function_made_of_torch_is_seen_into() -> None:
    """Without a rule its ops are counted; with one it is a node that has the rule's cost."""
    model = layer(lambda x, w: Seen.apply(x, w))
    assert fxprof.analyze(model, (4, 8)).macs == 4 * 8 * 8 + 4 * 8 * 6

    fxprof.rule(f"{__name__}.Seen")(lambda x, w, *, out: Cost(macs=1))
    assert fxprof.analyze(model, (4, 8)).macs == 4 * 8 * 8 + 1


seen = Seen.apply  # as code keeps them


@pytest.mark.parametrize("times", [0, 1])
def test_a_taught_function_is_known_by_whatever_name_it_is_called(times: int) -> None:
    """``apply`` kept under another name before the analysis is the same Function; only ``times`` gradients are on."""
    fxprof.rule(f"{__name__}.Seen")(product)
    model = layer(lambda x, w: seen(x, w.detach() if times == 0 else w))

    report = fxprof.analyze(model, (4, 8), training=True)

    assert report.by_op()[f"{__name__}.Seen"].macs == 4 * 8 * 6 * (2 + times)
    assert report.macs - 4 * 8 * 6 * (2 + times) == 2 * 4 * 8 * 8


def test_an_analysis_in_a_forward_leaves_functions_as_they_are() -> None:
    """The outer one goes on to see them."""
    fxprof.rule(f"{__name__}.Seen")(product)
    model = layer(lambda x, w: (fxprof.analyze(nn.Linear(8, 8), (4, 8)), seen(x, w))[1])

    assert fxprof.analyze(model, (4, 8)).by_op()[f"{__name__}.Seen"].macs == 4 * 8 * 6


def test_a_function_that_needs_data_says_what_to_do() -> None:
    """Its name, and how to teach it; torch's class is as before."""
    before = dict(vars(type(torch.autograd.Function)))
    with pytest.raises(
        fxprof.TraceError, match=r"the kernel takes addresses.*fxprof\.rule\('.*test_opaque\.Kernel', shape="
    ):
        fxprof.analyze(layer(lambda x, w: Kernel.apply(x, w)), (4, 8))
    assert dict(vars(type(torch.autograd.Function))) == before


def without_out(x: Any) -> Cost:
    """Cannot be told what the op returned."""
    return Cost()


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "one of torch's": (lambda: fxprof.rule("relu")(product), fxprof.InputError, "got 'relu'; pass rules="),
    "no name": (lambda: fxprof.rule()(product), fxprof.InputError, "a rule must be for an op"),
    "no parentheses": (lambda: fxprof.rule(product), fxprof.InputError, "with the name of the op"),  # type: ignore[arg-type]
    "no out": (lambda: fxprof.rule("a::b")(without_out), fxprof.InputError, "must take the shape of the result as out"),
    "no function": (lambda: fxprof.rule("a::b")(3), fxprof.InputError, "must be a function of shapes, got 3"),  # type: ignore[type-var]
    "no shape function": (
        lambda: fxprof.rule("a::b", shape=(1, 2)),  # type: ignore[arg-type]
        fxprof.InputError,
        r"shape must be a function .*got \(1, 2\)",
    ),
    "twice": (
        lambda: [fxprof.rule("a::b")(product) for _ in range(2)],
        fxprof.RuleError,
        "'a::b' already has a rule: product",
    ),
    "shipped": (
        lambda: fxprof.rule("flash_attn::_flash_attn_forward")(product),
        fxprof.RuleError,
        "already has a rule: heads_last",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_rule_is_refused_where_it_is_taught(name: str) -> None:
    """One sentence each, and nothing registered."""
    teach, error, message = BAD[name]
    with pytest.raises(error, match=message):
        teach()


@pytest.mark.parametrize(
    ("rule", "shape", "error", "message"),
    [
        (lambda x, *, out: 3, None, fxprof.RuleError, r"of fxprof_opaque::faked must return a Cost of ints, got 3"),
        (lambda x, y, z, *, out: Cost(), None, fxprof.RuleError, r"faked\(\(4, 8\), \(6, 8\)\) -> \(4, 6\)"),
        (product, lambda x: (x[0], -1), fxprof.InputError, r"shape of 'fxprof_opaque::faked' .* got \(4, -1\)"),
        (product, lambda x: x[7], fxprof.RuleError, r"could not be applied: IndexError"),
    ],
)  # fmt: skip
def test_a_rule_that_does_not_fit_is_named_where_it_is_used(rule: Any, shape: Any, error: Any, message: str) -> None:
    """The op, the call, and what was wrong."""
    fxprof.rule("fxprof_opaque::faked", shape=shape)(rule)
    with pytest.raises(error, match=message):
        fxprof.analyze(layer(lambda x, w: ops.faked(x, w)), (4, 8))


def test_a_region_named_for_the_profiler_is_exact() -> None:
    """``record_function`` computes nothing."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        with torch.profiler.record_function("stem"):
            return self.fc(x)

    report = fxprof.analyze(module(forward, fc=nn.Linear(4, 4)), (2, 4), training=True)

    assert report.exact
    assert [op.op for op in report.ops] == ["linear"]
