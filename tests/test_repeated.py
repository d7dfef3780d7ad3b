"""A report that was made before is given again where nothing has changed that it follows from, and only there."""

from __future__ import annotations

import itertools
import math
import operator
import random
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, NamedTuple, cast
from unittest import mock

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

import fxprof
from fxprof import analysis, repeated, tracing
from fxprof.tracing.closed import closed

WIDTH = 4
FACTOR = 4


def helper(x: Tensor) -> Tensor:
    """A function that a forward calls."""
    return F.relu(x) * math.sqrt(FACTOR)


class Block(nn.Module):
    """Attributes, a table, a buffer and a method that decide about what is called."""

    scale = 2.0
    positions: Tensor

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.act = nn.GELU()
        self.times = 2
        self.sizes = [1, 2]
        self.register_buffer("positions", torch.arange(3))
        self.unread = object()

    def forward(self, x: Tensor, flag: bool = False) -> Tensor:
        for _ in range(self.times):
            x = self.once(x)
        if self.positions[0].item() > 0 or flag:
            x = x + 1
        if len(self.sizes) > 2:
            x = x.sigmoid()
        return helper(x) * self.scale

    def once(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.linear(x)))


class Net(nn.Module):
    """A net whose code reads nothing but itself, its arguments and torch."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.drop(x)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Begin with no report, and no question."""
    repeated.forget()
    yield
    repeated.forget()


def twice(model: nn.Module, *inputs: Any, **options: Any) -> fxprof.Report:
    """Analyze it and again, which is when a report is kept."""
    fxprof.analyze(model, *inputs, **options)
    return fxprof.analyze(model, *inputs, **options)


def fresh(model: nn.Module, *inputs: Any, **options: Any) -> fxprof.Report:
    """The report of a new trace."""
    with mock.patch.object(repeated, "question", lambda *_: None):
        return fxprof.analyze(model, *inputs, **options)


def is_known(model: nn.Module, *inputs: Any, **options: Any) -> bool:
    """Whether a report is given again; it is the one of a new trace in any case."""
    with mock.patch.object(analysis, "record", wraps=tracing.record) as record:
        report = fxprof.analyze(model, *inputs, **options)
    assert report == fresh(model, *inputs, **options)
    return not record.called


def test_the_same_question_is_answered_without_a_trace() -> None:
    """The same model again, another like it, and a report of another name."""
    net = Net().eval()
    first = fxprof.analyze(net, (2, WIDTH))
    assert not repeated._reports and not is_known(net, (2, WIDTH))  # it is compared when it is asked for again

    assert is_known(net, (2, WIDTH))
    assert is_known(Net().eval(), (2, WIDTH))
    assert fxprof.analyze(net, (2, WIDTH)) == first
    named = fxprof.analyze(net, (2, WIDTH), name="mine")
    assert named.name == "mine" and named.macs == first.macs and fxprof.analyze(net, (2, WIDTH)).name == "Net"


def test_what_is_done_to_a_report_stays_with_it() -> None:
    """The one thing in a report that can be written to is not shared."""
    net = Net()
    for _ in range(3):
        fxprof.analyze(net, (2, WIDTH)).versions["torch"] = "mine"  # type: ignore[index]

    assert fxprof.analyze(net, (2, WIDTH)).versions["torch"] == torch.__version__


def with_hook(net: Any) -> None:
    """A hook changes what a layer returns."""
    net.drop.register_forward_hook(lambda module, args, result: result.exp())


def without_bias(net: Any) -> None:
    """A parameter becomes None."""
    net.blocks[0].linear.bias = None


def narrower(net: Any) -> None:
    """A weight gets other strides."""
    net.blocks[0].linear.weight.data = net.blocks[0].linear.weight.data[:, :].t()


def with_own_forward(net: Any) -> None:
    """An instance gets a forward of its own."""
    net.drop.forward = lambda x: x.tanh()


def with_own_method(net: Any) -> None:
    """An instance gets a method of its own."""
    net.blocks[0].once = types.MethodType(lambda self, x: x, net.blocks[0])


def frozen(net: Any) -> None:
    """A block needs no gradient."""
    net.blocks[0].requires_grad_(False)


def tied(net: Any) -> None:
    """Two layers get one weight."""
    net.blocks[0].linear.weight = net.blocks[1].linear.weight


def reparametrized(net: Any) -> None:
    """A weight is computed."""
    parametrizations.weight_norm(net.blocks[0].linear)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an attribute": lambda net: setattr(net.blocks[0], "times", 3),
    "an attribute of another type": lambda net: setattr(net.blocks[0], "scale", 2),
    "a list": lambda net: net.blocks[1].sizes.append(3),
    "an element of a list": lambda net: net.blocks[1].sizes.__setitem__(slice(None), [1, 2, 3]),
    "what a buffer holds": lambda net: net.blocks[0].positions.add_(1),
    "a dtype": lambda net: net.double(),
    "a dtype of one": lambda net: net.blocks[1].norm.half(),
    "training mode": lambda net: net.train(),
    "training mode of one": lambda net: net.drop.train(),
    "a child": lambda net: setattr(net.blocks[0], "act", nn.ReLU()),
    "a child's attribute": lambda net: setattr(net.blocks[0].act, "approximate", "tanh"),
    "a child more": lambda net: net.blocks.append(Block()),
    "a child that is not called": lambda net: net.add_module("unused", nn.Linear(3, 3)),
    "a parameter more": lambda net: net.register_parameter("p", nn.Parameter(torch.ones(3))),
    "a buffer less": lambda net: net.blocks[0].__delattr__("positions"),
    "no bias": without_bias,
    "strides": narrower,
    "no gradient": frozen,
    "one weight for two": tied,
    "one block for two": lambda net: net.blocks.__setitem__(1, net.blocks[0]),
    "a hook": with_hook,
    "a forward of its own": with_own_forward,
    "a method of its own": with_own_method,
    "weight norm": reparametrized,
    "another class": lambda net: setattr(net.blocks[0].act, "__class__", nn.SiLU),
    "an attribute of a tensor": lambda net: setattr(net.blocks[0].linear.weight, "mask", torch.ones(1)),
    "what no code reads": lambda net: setattr(net.blocks[0], "unread", object()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("training", [False, True])
def test_a_model_that_was_changed_is_traced(change: str, training: bool) -> None:
    """Whatever was done to it, the report is that of a new trace."""
    net = Net().eval()
    before = twice(net, (2, WIDTH), training=training)
    assert is_known(net, (2, WIDTH), training=training)

    CHANGES[change](net)
    try:
        expected = fresh(net, (2, WIDTH), training=training)
    except fxprof.FxprofError as err:
        with pytest.raises(type(err)) as seen:
            fxprof.analyze(net, (2, WIDTH), training=training)
        assert str(seen.value) == str(err)
        return
    assert fxprof.analyze(net, (2, WIDTH), training=training) == expected
    if change == "what no code reads":
        assert expected == before and is_known(net, (2, WIDTH), training=training)


class Tanh(TorchFunctionMode):
    """Puts tanh behind every relu."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result.tanh() if func is F.relu else result


class Double(AbstractContextManager[None]):
    """Makes float64 the default dtype."""

    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_: object) -> None:
        torch.set_default_dtype(torch.float32)


AROUND: dict[str, Callable[[], Any]] = {
    "a method of the class": lambda: mock.patch.object(Block, "once", lambda self, x: x.exp()),
    "a forward of the class": lambda: mock.patch.object(Block, "forward", lambda self, x: x.exp()),
    "a constant of the class": lambda: mock.patch.object(Block, "scale", 3),
    "a property of the class": lambda: mock.patch.object(Block, "times", property(lambda self: 1), create=True),
    "a forward of torch's": lambda: mock.patch.object(nn.LayerNorm, "forward", lambda self, x: x.cos()),
    "a function of torch's": lambda: mock.patch.object(F, "relu", lambda x: x.sin()),
    "a function below torch's": lambda: mock.patch.object(F, "gelu", lambda x, approximate: x.sin()),
    "a function of math": lambda: mock.patch.object(math, "sqrt", lambda x: x * torch.ones(2, 4)),
    "a global function": lambda: mock.patch.dict(helper.__globals__, {"helper": lambda x: x.exp()}),
    "a global number": lambda: mock.patch.dict(helper.__globals__, {"FACTOR": 9.5}),
    "a builtin's name": lambda: mock.patch.dict(helper.__globals__, {"range": lambda n: [1]}),
    "a method of every module": lambda: mock.patch.object(nn.Module, "once", lambda self, x: x, create=True),
    "a method of every tensor": lambda: mock.patch.object(Tensor, "sigmoid", lambda self: self.exp()),
    "a function mode": Tanh,
    "a default dtype": Double,
}


@pytest.mark.parametrize("change", AROUND)
def test_what_is_changed_around_a_model_is_seen(change: str) -> None:
    """Functions, constants and modes that its code uses; and afterwards all is as before."""
    net = Net().eval()
    cast(Block, net.blocks[0]).sizes.append(3)
    before = twice(net, (2, WIDTH))
    assert is_known(net, (2, WIDTH))
    with AROUND[change]():
        for _ in range(2):
            assert fxprof.analyze(net, (2, WIDTH)) == fresh(net, (2, WIDTH))
    assert fxprof.analyze(net, (2, WIDTH)) == before == fresh(net, (2, WIDTH))


def test_inputs_are_told_apart() -> None:
    """Shapes, dtypes, strides, numbers, plain values, names."""
    block = Block().eval()
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (((2, WIDTH),), {}),
        (((3, WIDTH),), {}),
        ((fxprof.TensorSpec((2, WIDTH), torch.float64),), {}),
        ((torch.ones(2, WIDTH),), {}),
        ((torch.ones(WIDTH, 2).t(),), {}),
        ((torch.ones(2, WIDTH), True), {}),
        ((torch.ones(2, WIDTH), 1), {}),
        ((torch.ones(2, WIDTH),), {"flag": True}),
        (((2, WIDTH),), {"flag": False}),
    ]
    for args, kwargs in asked:
        try:
            expected = fresh(block, *args, kwargs=kwargs)
        except fxprof.TraceError:
            continue
        assert not is_known(block, *args, kwargs=kwargs)
        assert not is_known(block, *args, kwargs=kwargs)
        assert is_known(block, *args, kwargs=kwargs)
        assert fxprof.analyze(block, *args, kwargs=kwargs) == expected


class Routed(nn.Module):
    """Takes numbers that decide."""

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        for i in ids.tolist():
            x = x.exp() if i else x.sin()
        return x


def test_numbers_in_inputs_count() -> None:
    """Integers are control data: other ones are another question."""
    routed = Routed()
    for ids in ([0, 1], [1, 1], [0, 1], [1, 1], [0, 1]):
        report = fxprof.analyze(routed, (2, 2), torch.tensor(ids))
        assert [op.op for op in report.ops] == ["exp" if i else "sin" for i in ids]
    assert is_known(Routed(), (2, 2), torch.tensor([0, 1]))
    assert not is_known(Routed(), (2, 2), torch.tensor([0, 0]))


STATE = {"calls": 0}
FLAG = [False]


def counted(x: Tensor) -> Tensor:
    """Depends on how often it was called."""
    STATE["calls"] += 1
    return x.exp() if STATE["calls"] % 2 else x.sin()


class _Config:
    deep = True


CONFIG = _Config()


def outer(deep: bool) -> Callable[..., Tensor]:
    """A forward that reads what encloses it."""
    settings = [deep]

    def forward(self: Any, x: Tensor) -> Tensor:
        return x.exp() if settings[0] else x.sin()

    return forward


def default(self: Any, x: Tensor, found: list[int] = []) -> Tensor:  # noqa: B006 - what is tested
    """A forward that changes its default."""
    found.append(1)
    return x.exp() if len(found) % 2 else x.sin()


def sets_global(self: Any, x: Tensor) -> Tensor:
    """A forward that sets a global."""
    global FACTOR
    FACTOR = 4
    return x


def by_name(self: Any, x: Tensor) -> Tensor:
    """A forward that reads an attribute by its name."""
    return getattr(x, "exp")()  # noqa: B009 - what is tested


def through_vars(self: Any, x: Tensor) -> Tensor:
    """A forward that reads attributes around their names."""
    return x * vars(self)["training"]


def imported(self: Any, x: Tensor) -> Tensor:
    """A forward that imports."""
    import time

    return x * time.time()


class Kind(Enum):
    """Plain values."""

    DEEP = 1
    FLAT = 2


class Sized(Enum):
    """Has a method, which may read anything."""

    DEEP = 1

    def is_deep(self) -> bool:
        """Read a global."""
        return FLAG[0]


class Pair(NamedTuple):
    """Two tensors."""

    first: Tensor
    second: Tensor


class Triple(NamedTuple):
    """Has a property, which may read anything."""

    first: Tensor

    @property
    def deep(self) -> bool:
        """Read a global."""
        return FLAG[0]


def checked(self: Any, x: Tensor) -> Tensor:
    """A forward with a check of torch's."""
    torch._assert(x.dim() == 2, "two")
    return x.exp()


def without_gradients(self: Any, x: Tensor) -> Tensor:
    """A forward that turns gradients and autocast off for a while."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return x.exp()


CLOSED: dict[str, Callable[..., Any]] = {
    "an enumeration": lambda self, x: x.exp() if self.kept is Kind.DEEP else x.sin(),
    "a named tuple": lambda self, x: Pair(x.exp(), x).first,
    "a list comprehension": lambda self, x: sum([x * i for i in range(3)]),
    "a function inside": lambda self, x: (lambda y: y + x)(x.exp()),
    "itertools": lambda self, x: [x * a for a in itertools.chain([1], [2])],
    "an error": lambda self, x: x.exp() if len(x) else ValueError(f"no {type(self).__name__}"),
    "checkpointing": lambda self, x: torch.utils.checkpoint.checkpoint(torch.exp, x, use_reentrant=False),
    "a check": checked,
    "modes": without_gradients,
}


@pytest.mark.parametrize("reads", CLOSED)
def test_code_that_reads_nothing_else_is_traced_once(reads: str) -> None:
    """Constants, what Python makes of its arguments, and torch."""
    kind = type("Shut", (nn.Module,), {"forward": CLOSED[reads]})
    model = kind()
    model.kept = Kind.DEEP
    twice(model, (2, 2))

    assert is_known(model, (2, 2))
    model.kept = Kind.FLAT
    assert is_known(model, (2, 2)) is (reads != "an enumeration")


OPEN: dict[str, Callable[..., Any]] = {
    "a global dict": lambda self, x: counted(x),
    "a global list": lambda self, x: x.exp() if FLAG[0] else x.sin(),
    "an object": lambda self, x: x.exp() if CONFIG.deep else x.sin(),
    "a closure": outer(True),
    "a default that is changed": default,
    "a global that is set": sets_global,
    "an attribute by its name": by_name,
    "attributes as a dict": through_vars,
    "an import": imported,
    "chance of Python's": lambda self, x: x.exp() if random.random() < 0.5 else x.sin(),
    "an address": lambda self, x: x.exp() if x.data_ptr() else x.sin(),
    "an identity": lambda self, x: x.exp() if id(x) % 32 else x.sin(),
    "a class of the user's": lambda self, x: Routed()(x, torch.tensor([1])),
    "a seed": lambda self, x: x if torch.initial_seed() else x.sin(),
    "an enumeration with a method": lambda self, x: x.exp() if Sized.DEEP.is_deep() else x.sin(),
    "a named tuple with a property": lambda self, x: x.exp() if Triple(x).deep else x.sin(),
    "an attribute's getter": lambda self, x: operator.attrgetter("exp")(x)(),
    "a gradient": lambda self, x: x if x.grad is None else x.sin(),
}


@pytest.mark.parametrize("reads", OPEN)
def test_code_that_reads_something_else_is_traced_each_time(reads: str) -> None:
    """Globals that can change, closures, chance, ways around names."""
    kind = type("Open", (nn.Module,), {"forward": OPEN[reads]})

    assert closed(frozenset([kind])) is None
    twice(kind(), (2, 2))
    assert not repeated._reports


def test_torchs_chance_is_not_kept() -> None:
    """Numbers that torch draws are others the next time."""
    kind = type("Chance", (nn.Module,), {"forward": lambda self, x: x[: int(nn.Linear(1, 1).weight.exp().item())]})

    assert closed(frozenset([kind])) is not None
    twice(kind(), (9, 2))

    assert not repeated._reports


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)

KEPT: dict[str, Any] = {
    "a list of itself": ENDLESS,
    "a long list": [1] * 5000,
    "a function of the user's": helper,
    "a method": CONFIG.__init__,  # type: ignore[misc]
    "an object": CONFIG,
    "a module that is not registered": [nn.ReLU()],
    "a tensor": torch.ones(1),
    "a set": {1},
}


@pytest.mark.parametrize("kept", KEPT)
def test_what_cannot_be_compared_is_not_told_from_another(kept: str) -> None:
    """An attribute that the code reads."""
    kind = type("Keeps", (nn.Module,), {"forward": lambda self, x: x.exp() if self.kept else x.sin()})
    model = kind()
    vars(model)["kept"] = KEPT[kept]

    for _ in range(3):
        assert not is_known(model, (2, 2))


def test_reports_do_not_gather_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of long sweeps go."""
    monkeypatch.setattr(repeated, "_LIMIT", 10)
    for size in range(1, 30):
        twice(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (size, 4))

    assert 0 < sum(len(report.ops) for report in repeated._reports.values()) <= 10


def test_a_report_that_is_kept_keeps_no_tensor() -> None:
    """The weights of a model that is gone are gone."""
    net = Net()
    weight = weakref.ref(net.get_parameter("blocks.0.linear.weight"))
    twice(net, (2, WIDTH))
    assert repeated._reports
    del net

    assert weight() is None


def test_bounds_and_rules_of_the_users_are_asked_each_time() -> None:
    """A rule may be any function."""
    linear = nn.Linear(4, 4)
    rules = {**fxprof.RULES, "linear": lambda *args, out, **kwargs: fxprof.Cost(macs=1, flops=1)}
    assert twice(linear, (2, 4)).macs == 32
    assert fxprof.analyze(linear, (2, 4), rules=rules).macs == 1
    assert fxprof.analyze(linear, (2, 4)).macs == 32
    with pytest.raises(fxprof.InputError, match="bounds"):
        fxprof.analyze(linear, (2, 4), bounds={"nozero": 3})


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "swin_t", "vit_b_32", "googlenet", "densenet121", "convnext_tiny"]
)
def test_the_zoos_models_are_known_again(name: str) -> None:
    """Real code: its helpers, its checks, its constants are followed."""
    from tests.tracing.models import small  # needs torchvision, which the other tests do not

    built = small(name, "cpu")
    twice(built.model.eval(), *built.inputs)

    assert is_known(built.model, *built.inputs)
