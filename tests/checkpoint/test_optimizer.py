"""Optimizer state follows its parameters: unchanged, renamed, dropped, added, adapted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.optim import SGD, Adam, AdamW, Optimizer

from fxprof.checkpoint.groups import param_groups
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.plan import Match, Plan
from fxprof.errors import CheckpointError
from tests.checkpoint import files
from tests.checkpoint.nets import Net, Renamed, made, same, snapshot, unchanged

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda parameters: Adam(parameters, lr=0.01, amsgrad=True),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01),
}
X = torch.linspace(-1, 1, 2 * 3 * 16).reshape(2, 3, 4, 4)


def train(model: nn.Module, optimizer: Optimizer, steps: int = 1) -> None:
    """A few steps on a fixed input."""
    for _ in range(steps):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        optimizer.step()


def trained(make: Callable[[Any], Optimizer], model: Any = None) -> tuple[Any, Optimizer]:
    """A model after two steps, and its optimizer."""
    model = made(Net, seed=1) if model is None else model
    optimizer = make(model.parameters())
    train(model, optimizer, 2)
    return model, optimizer


def gone_on(model: nn.Module, optimizer: Optimizer, make: Callable[[Any], Optimizer]) -> Optimizer:
    """Train, save, load into another model, and train both to equal weights; the other's optimizer."""
    train(model, optimizer, 2)
    again = made(type(model))
    resumed = make(again)
    load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)
    return resumed


def state_of(optimizer: Optimizer, parameter: Tensor) -> dict[str, Any]:
    """The tensors an optimizer keeps for a parameter."""
    return dict(optimizer.state.get(parameter, {}))


# -- nothing changed ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("named", [False, True])
def test_training_goes_on_bit_identically(kind: str, named: bool, tmp_path: Path) -> None:
    """Two steps after a save and a load give the weights of two steps without them."""
    if named and torch.__version__ < "2.6":
        pytest.skip("this torch's optimizers take no names")

    def make(model: nn.Module) -> Optimizer:
        return OPTIMIZERS[kind](model.named_parameters() if named else model.parameters())

    model = made(Net, seed=1)
    optimizer = make(model)
    optimizer.param_groups[0]["lr"] = 0.003
    train(model, optimizer, 2)
    torch.save({"net": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "at2.pth")
    again = made(Net)
    resumed = make(again)
    result = load(again, tmp_path / "at2.pth", optimizer=resumed)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)
    assert resumed.param_groups[0]["lr"] == 0.003
    assert result.optimizer is not None
    assert len(result.optimizer.restored) == len(list(model.parameters()))
    assert not result.optimizer.fresh
    assert not result.optimizer.dropped


def test_schedulers_and_scalers_pass_through(tmp_path: Path) -> None:
    """What lies beside is given as it was."""
    model, optimizer = trained(OPTIMIZERS["sgd"])
    beside = {"scheduler": {"last_epoch": 3, "_last_lr": [0.1]}, "scaler": {"scale": 65536.0}, "epoch": 3}
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), **beside}, tmp_path / "f.pth")
    result = load(made(Net), tmp_path / "f.pth")
    assert {name: result.extras[name] for name in beside} == beside
    assert result.optimizer is None


def test_the_loaded_state_is_its_own(tmp_path: Path) -> None:
    """Training on does not touch the optimizer that the state came from."""
    model, optimizer = trained(OPTIMIZERS["adam"])
    kept = copy.deepcopy(optimizer.state_dict())
    again = made(Net)
    resumed = OPTIMIZERS["adam"](again.parameters())
    load(again, {"model": model.state_dict(), "optim": optimizer.state_dict()}, optimizer=resumed)
    train(again, resumed)
    now = optimizer.state_dict()
    for place, entry in kept["state"].items():
        for key, value in entry.items():
            assert torch.equal(torch.as_tensor(now["state"][place][key]), torch.as_tensor(value))


# -- something changed -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_state_follows_renamed_parameters(kind: str) -> None:
    """The same layers under other names train on bit-identically."""
    model, optimizer = trained(OPTIMIZERS[kind])
    again = made(Renamed)
    resumed = OPTIMIZERS[kind](again.parameters())
    load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    for ours, theirs in zip(again.parameters(), model.parameters()):
        assert torch.equal(ours, theirs)


def test_state_of_a_partial_load() -> None:
    """A new head starts fresh, the old head's state is dropped and listed, the rest follows."""
    model, optimizer = trained(OPTIMIZERS["adam"])
    again = made(Net, classes=2)
    resumed = OPTIMIZERS["adam"](again.parameters())
    result = load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    follow = result.optimizer
    assert follow is not None
    assert follow.fresh == ("fc.weight", "fc.bias")
    assert follow.dropped == ("fc.weight", "fc.bias")
    assert "6 restored, 2 fresh (fc.weight, fc.bias)" in str(result)
    assert torch.equal(
        state_of(resumed, again.conv2.weight)["exp_avg"], state_of(optimizer, model.conv2.weight)["exp_avg"]
    )
    assert not state_of(resumed, again.fc.weight)
    train(again, resumed)


def test_layers_added_and_dropped() -> None:
    """State lands on the right parameters although every position has shifted."""

    class Longer(Net):
        def __init__(self) -> None:
            super().__init__()
            first = nn.Conv2d(3, 3, 1)
            self._modules = {"conv0": first, **self._modules}
            del self._modules["bn1"]

    model, optimizer = trained(OPTIMIZERS["sgd"])
    again = made(Longer)
    resumed = OPTIMIZERS["sgd"](again.parameters())
    result = load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    assert result.optimizer is not None
    assert set(result.optimizer.fresh) == {"conv0.weight", "conv0.bias"}
    assert set(result.optimizer.dropped) == {"bn1.weight", "bn1.bias"}
    for name in ("conv1.weight", "fc.bias"):
        ours = state_of(resumed, again.get_parameter(name))["momentum_buffer"]
        assert torch.equal(ours, state_of(optimizer, model.get_parameter(name))["momentum_buffer"])


def test_groups_in_another_order() -> None:
    """Weight decay for some parameters only: two groups, whose order is not the model's."""

    def make(model: nn.Module) -> Optimizer:
        parameters = list(model.parameters())
        thick = [p for p in parameters if p.ndim > 1]
        return AdamW([{"params": thick, "lr": 0.02}, {"params": [p for p in parameters if p.ndim <= 1], "lr": 0.01}])

    model = made(Net, seed=1)
    optimizer = make(model)
    optimizer.param_groups[1]["weight_decay"] = 0.0
    assert gone_on(model, optimizer, make).param_groups[1]["weight_decay"] == 0.0


class Alike(nn.Module):
    """Three layers that shapes do not tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x.flatten(1)[:, :4]).tanh()).tanh()).tanh()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_parameters_in_an_order_of_the_users(kind: str) -> None:
    """An optimizer that takes the last layer first gets its state in that order, as from torch."""

    def make(model: nn.Module) -> Optimizer:
        return OPTIMIZERS[kind]([p for part in ("c", "a", "b") for p in model.get_submodule(part).parameters()])

    model = made(Alike, seed=1)
    gone_on(model, make(model), make)


def test_named_groups_that_changed_places() -> None:
    """Names say which group is which: weight decay stays with its own parameters."""

    def groups(model: nn.Module) -> list[dict[str, Any]]:
        parts = [[(n, p) for n, p in model.named_parameters() if n.endswith(end)] for end in ("bias", "weight")]
        return [
            {"params": [p for _, p in part], "weight_decay": decay, "param_names": [n for n, _ in part]}
            for part, decay in zip(parts, (0.0, 0.1))
        ]

    model = made(Alike, seed=1)
    optimizer = AdamW(groups(model))
    train(model, optimizer, 2)
    again = made(Alike)
    resumed = AdamW(groups(again)[::-1])
    result = load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    assert result.optimizer is not None
    assert result.optimizer.groups
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)


def test_state_listed_by_names() -> None:
    """torch.distributed's state_dicts have names where others have positions, in any order."""
    model = made(Alike, seed=1)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 2)
    plain = optimizer.state_dict()
    names = [name for name, _ in model.named_parameters()]
    state = {name: plain["state"][place] for place, name in reversed([*enumerate(names)])}
    named = {"state": state, "param_groups": [{**plain["param_groups"][0], "params": [*state]}]}
    again = made(Alike)
    resumed = OPTIMIZERS["adam"](again.parameters())
    load(again, {"model": model.state_dict(), "optimizer": named}, optimizer=resumed)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)


@pytest.mark.parametrize("named", ["positions", "names", "flat", "flat file"])
def test_state_from_a_folder_of_torch_distributed(named: str, tmp_path: Path) -> None:
    """The folder keeps lists and positions in a form of its own, and torch.distributed flattens states further."""
    model = made(Net, seed=1)
    halves: list[dict[str, Any]] = [{"params": list(model.parameters())[:4], "lr": 0.02}]
    optimizer = AdamW([*halves, {"params": list(model.parameters())[4:]}])
    train(model, optimizer, 2)
    state: Any = optimizer.state_dict()
    if named != "positions":
        options = StateDictOptions(flatten_optimizer_state_dict=named.startswith("flat"))
        state = get_optimizer_state_dict(model, optimizer, options=options)
    content = {"model": model.state_dict(), "optim": copy.deepcopy(state)}
    path = files.write_zip(content, tmp_path) if named == "flat file" else files.write_distributed(content, tmp_path)
    again = made(Net)
    resumed = AdamW([{"params": list(again.parameters())[:4]}, {"params": list(again.parameters())[4:]}])
    result = load(again, path, optimizer=resumed)
    assert result.optimizer is not None
    assert (len(result.optimizer.restored), result.optimizer.groups) == (8, True)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", ""])
def test_names_of_a_wrapped_model(wrapper: str) -> None:
    """The weights were saved without the wrapper whose names the optimizer has, or the other way round."""
    model = made(Net, seed=1)
    optimizer = AdamW(model.parameters())
    train(model, optimizer, 2)
    state = optimizer.state_dict()
    state["param_groups"][0]["param_names"] = [wrapper + name for name, _ in model.named_parameters()]
    weights = {("" if wrapper else "module._orig_mod.") + name: value for name, value in model.state_dict().items()}
    again = made(Net)
    resumed = AdamW(again.parameters())
    result = load(again, {"model": weights, "optimizer": state}, optimizer=resumed)
    assert result.optimizer is not None
    assert not result.optimizer.fresh
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)


@pytest.mark.parametrize("name", ["optimizer.pt", "optimizer.bin"])
def test_state_in_a_file_of_its_own(name: str, tmp_path: Path) -> None:
    """Trainers write a folder with the weights in one file and the optimizer's state in another."""
    model, optimizer = trained(OPTIMIZERS["adam"])
    files.write_safetensors(model.state_dict(), tmp_path, "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / name)
    again = made(Net)
    resumed = OPTIMIZERS["adam"](again.parameters())
    load(again, tmp_path, optimizer=resumed)
    train(model, optimizer, 2)
    train(again, resumed, 2)
    assert same(again, model)
    with pytest.raises(CheckpointError, match=f"{name} must hold a dict of tensors by name, but it is an optimizer's"):
        load(again, tmp_path / name)


@pytest.mark.parametrize("classes", [5, 2])
def test_state_of_all_parameters_at_once(classes: int) -> None:
    """LBFGS keeps one history for all: it follows as a whole, or not at all."""

    def step(model: nn.Module, optimizer: Optimizer) -> None:
        def closure() -> float:
            optimizer.zero_grad()
            loss = model(X).square().sum()
            loss.backward()
            return loss.item()

        optimizer.step(closure)

    model, again = made(Net, seed=1), made(Net, classes=classes)
    optimizer, resumed = (torch.optim.LBFGS(one.parameters(), lr=0.01, max_iter=3) for one in (model, again))
    step(model, optimizer)
    load(again, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=resumed)
    step(model, optimizer)
    step(again, resumed)
    assert same(again, model) == (classes == 5)


@pytest.mark.skipif(not hasattr(torch.optim, "Adafactor"), reason="this torch has no Adafactor")
def test_factored_moments_start_fresh_when_fused() -> None:
    """Moments of rows and columns cannot be stacked as the matrices are."""
    model: Any = nn.Module()
    model.q, model.k, model.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
    optimizer = torch.optim.Adafactor(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    fused: Any = nn.Module()
    fused.qkv = nn.Linear(4, 12, bias=False)
    resumed = torch.optim.Adafactor(fused.parameters())
    source = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    result = load(fused, source, optimizer=resumed)
    assert result.optimizer is not None
    assert result.optimizer.fresh == ("qkv.weight",)
    fused.qkv.weight.grad = torch.ones(12, 4)
    resumed.step()


def test_state_is_fused_like_its_parameter() -> None:
    """Moments of q, k and v are stacked, a transposed matrix's are transposed."""

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
            self.up = nn.Parameter(torch.ones(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)[:, :4]
            return torch.cat([self.q(x), 2 * self.k(x), 3 * self.v(x), x @ self.up], 1)

    model, optimizer = trained(OPTIMIZERS["adam"], made(Apart))
    fused: Any = nn.Module()
    fused.qkv = nn.Linear(4, 12, bias=False)
    fused.up = nn.Linear(4, 6, bias=False)
    resumed = OPTIMIZERS["adam"](fused.parameters())
    plan = Plan(
        (
            Match("qkv.weight", ("q.weight", "k.weight", "v.weight"), "qkv"),
            Match("up.weight", "up", "transpose"),
        )
    )
    source = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    load(fused, source, optimizer=resumed, plan=plan, force=True)
    wanted = [state_of(optimizer, layer.weight)["exp_avg"] for layer in (model.q, model.k, model.v)]
    assert torch.equal(state_of(resumed, fused.qkv.weight)["exp_avg"], torch.cat(wanted))
    assert torch.equal(state_of(resumed, fused.up.weight)["exp_avg_sq"], state_of(optimizer, model.up)["exp_avg_sq"].T)


# -- several in one file -----------------------------------------------------------------------


class Gan(nn.Module):
    """Two networks with an optimizer each; of equal shapes if ``size`` is 4."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.netG = nn.Sequential(*(nn.Linear(4, 4) for _ in range(2 if size == 4 else 1)))
        self.netD = nn.Sequential(nn.Linear(4, size), nn.Linear(size, 4))


def gan(size: int) -> tuple[Gan, dict[str, Any]]:
    """A GAN, and the states of its optimizers under G and D."""
    model = made(Gan, seed=1, size=size)
    both = {"G": Adam(model.netG.parameters(), lr=0.1), "D": Adam(model.netD.parameters(), lr=0.2)}
    for optimizer in both.values():
        for rate, parameter in enumerate(optimizer.param_groups[0]["params"]):
            parameter.grad = torch.full_like(parameter, rate + optimizer.param_groups[0]["lr"])
        optimizer.step()
    return model, {name: optimizer.state_dict() for name, optimizer in both.items()}


def lightning(weights: Any, states: dict[str, Any]) -> dict[str, Any]:
    """The states in a list."""
    return {"state_dict": weights, "optimizer_states": list(states.values()), "lr_schedulers": []}


SEVERAL: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "a list": lightning,
    "names": lambda weights, states: {"model": weights, **{f"optimizer_{name}": states[name] for name in states}},
    "camel case": lambda weights, states: {"model": weights, **{f"optim{name}": states[name] for name in states}},
    "one without a name": lambda weights, states: {
        "model": weights, "optimizer": states["G"], "optimizer_D": states["D"]
    },
    "a dict": lambda weights, states: {"model": weights, "optimizers": states},
}  # fmt: skip


@pytest.mark.parametrize("layout", SEVERAL)
@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("which", ["G", "D"])
def test_the_state_of_the_optimizer_at_hand(layout: str, size: int, which: str) -> None:
    """Of several states the one whose parameters fit is taken; where both fit, the one that is named after them."""
    model, states = gan(size)
    source = SEVERAL[layout](model.state_dict(), states)
    again = made(Gan, size=size)
    resumed = Adam(again.get_submodule(f"net{which}").parameters())
    if layout == "a list" and size == 4:
        with pytest.raises(CheckpointError, match=r"optimizer_states.0, optimizer_states.1 fit equally well; pass"):
            load(again, source, optimizer=resumed)
        return
    result = load(again, source, optimizer=resumed)
    assert result.optimizer is not None
    assert not result.optimizer.fresh
    assert resumed.param_groups[0]["lr"] == states[which]["param_groups"][0]["lr"]
    for place, parameter in enumerate(resumed.param_groups[0]["params"]):
        assert torch.equal(state_of(resumed, parameter)["exp_avg"], states[which]["state"][place]["exp_avg"])


def test_each_state_beside_its_own_weights() -> None:
    """The state comes from where the weights do."""
    model, states = gan(4)
    parts = {"G": model.netG, "D": model.netD}
    source = {name: {"model": part.state_dict(), "optim": states[name]} for name, part in parts.items()}
    again: Any = made(Gan).netD
    resumed = Adam(again.parameters())
    load(again, source, optimizer=resumed, container="D.model")
    assert resumed.param_groups[0]["lr"] == 0.2


def test_none_of_several_fits() -> None:
    """What there is, and why it is another optimizer's."""
    model, states = gan(6)
    again = made(Gan, size=6)
    with pytest.raises(
        CheckpointError, match=r"none of the 2 optimizers' states in the checkpoint \(optimizer_states"
    ) as e:
        load(again, lightning(model.state_dict(), states), optimizer=SGD(again.netD.parameters()))
    assert "optimizer_states.0: the state in the checkpoint is of another optimizer than SGD" in str(e.value)


def test_several_files_of_a_folder(tmp_path: Path) -> None:
    """accelerate writes a further optimizer's state to a further file."""
    model, states = gan(6)
    files.write_safetensors(model.state_dict(), tmp_path, "model.safetensors")
    torch.save(states["G"], tmp_path / "optimizer.bin")
    torch.save(states["D"], tmp_path / "optimizer_1.bin")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        again = made(Gan, size=6)
        resumed = Adam(again.netD.parameters())
        load(again, path, optimizer=resumed)
        assert resumed.param_groups[0]["lr"] == 0.2


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda model, good: {}, "needs an optimizer's state_dict in the checkpoint"),
        (lambda model, good: {"a": good, "b": good}, "but a, b fit equally well; pass a mapping"),
        (lambda model, good: {"states": [good, good]}, "but states.0, states.1 fit equally well;"),
        (lambda model, good: {"optimizer": trained(OPTIMIZERS["sgd"])[1].state_dict()}, "another optimizer than Adam"),
        (lambda model, good: {"optimizer": {**good, "state": 3}}, "must be what torch"),
        (lambda model, good: {"optimizer": {"state": {}, "param_groups": []}}, "must be what torch"),
        (
            lambda model, good: {"optimizer": {**good, "state": {99: {}}}},
            "has '?99'?, which no group lists",
        ),
        (
            lambda model, good: {"optimizer": {**good, "param_groups": [{**good["param_groups"][0], "params": [0]}]}},
            "which no group lists",
        ),
        (
            lambda model, good: {"optimizer": trained(OPTIMIZERS["adam"], made(Net, middle=3))[1].state_dict()},
            "cannot be told apart",
        ),
        (
            lambda model, good: {"optimizer": trained(OPTIMIZERS["adamw"])[1].state_dict()},
            "its decoupled_weight_decay is True",
        ),
    ],
)
def test_wrong_optimizer_state(build: Callable[[Any, Any], dict[str, Any]], message: str) -> None:
    """State that is missing, another optimizer's or another model's: one sentence, nothing changed."""
    source, optimizer = trained(OPTIMIZERS["adam"])
    model = made(Net)
    mine = OPTIMIZERS["adam"](model.parameters())
    before = snapshot(model)
    if message.startswith("its decoupled") and "decoupled_weight_decay" not in mine.param_groups[0]:
        pytest.skip("this torch does not mark AdamW")
    with pytest.raises(CheckpointError, match=message) as info:
        load(model, {"model": source.state_dict(), **build(source, optimizer.state_dict())}, optimizer=mine)
    assert "\n" not in str(info.value)
    assert unchanged(model, before)
    assert not mine.state


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        (
            "adam",
            "exp_avg",
            "text",
            "'exp_avg' of the optimizer's state in the checkpoint must be a tensor with values",
        ),
        ("adam", "exp_avg_sq", torch.ones(8, 3, 3, 3, device="meta"), r"got a tensor \(8, 3, 3, 3\) on meta"),
        ("adam", "step", "text", "cannot be that of Adam, which says: ValueError: could not convert string to float"),
        ("sgd", "momentum_buffer", {"a": 1}, "must be a tensor with values, got dict {'a': 1}"),
        ("sgd", "lr", "fast", "'lr' of the optimizer's state in the checkpoint must be a number, got str 'fast'"),
        ("adam", "decoupled_weight_decay", torch.ones(2, 2).to_sparse(), ""),
    ],
)
def test_damaged_values(kind: str, key: str, value: Any, message: str) -> None:
    """A value of another kind ends in a sentence when it is loaded, and not in torch's code at the next step."""
    source, optimizer = trained(OPTIMIZERS[kind])
    state = copy.deepcopy(optimizer.state_dict())
    place = state["state"][0] if key in state["state"][0] else state["param_groups"][0]
    place[key] = value
    model = made(Net)
    mine = OPTIMIZERS[kind](model.parameters())
    before = snapshot(model)
    groups = copy.deepcopy(mine.state_dict()["param_groups"])
    if not message:
        load(model, {"model": source.state_dict(), "optimizer": state}, optimizer=mine)
        return
    with pytest.raises(CheckpointError, match=message):
        load(model, {"model": source.state_dict(), "optimizer": state}, optimizer=mine)
    assert unchanged(model, before)
    assert not mine.state
    assert mine.state_dict()["param_groups"] == groups


def test_an_optimizer_of_another_model() -> None:
    """An optimizer whose parameters are not the model's is refused."""
    source, optimizer = trained(OPTIMIZERS["sgd"])
    with pytest.raises(CheckpointError, match="8 parameters of the optimizer are not the model's"):
        load(
            made(Net), {"model": source.state_dict(), "optimizer": optimizer.state_dict()},
            optimizer=OPTIMIZERS["sgd"](made(Net).parameters()),
        )  # fmt: skip


def test_an_optimizer_of_meta_parameters() -> None:
    """Loading replaces meta parameters, so the optimizer has to be built afterwards."""
    source, optimizer = trained(OPTIMIZERS["sgd"])
    with torch.device("meta"):
        model = Net()
    mine = OPTIMIZERS["sgd"](model.parameters())
    with pytest.raises(CheckpointError, match="build it after loading"):
        load(model, {"model": source.state_dict(), "optimizer": optimizer.state_dict()}, optimizer=mine)
    assert all(parameter.is_meta for parameter in model.parameters())


# -- freeze and groups -------------------------------------------------------------------------


def test_freeze_and_groups() -> None:
    """freeze=True freezes what was loaded; without it, loaded and new layers get their own rates."""
    model = made(Net, classes=2)
    result = load(model, made(Net, seed=1).state_dict(), freeze=True)
    assert {id(p) for p in result.trainable_parameters} == {id(model.fc.weight), id(model.fc.bias)}
    groups = param_groups(model, result, lr=0.01)
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(2, 0.1)]
    model = made(Net, classes=2)
    result = load(model, made(Net, seed=1).state_dict())
    groups = param_groups(model, result, lr=0.01, new_lr=0.5, weight_decay=0.1)
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(6, 0.01), (2, 0.5)]
    train(model, SGD(groups, momentum=0.9))
    with pytest.raises(CheckpointError, match="must be of this model"):
        param_groups(made(Renamed), result, lr=0.01)
