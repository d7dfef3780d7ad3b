"""``load``: what arrives, and all or nothing when something fails on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fxprof.checkpoint.loading import load
from fxprof.checkpoint.matching import match
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.reading import Checkpoint
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import Net, made, same, snapshot, unchanged

# -- what loads --------------------------------------------------------------------------------


@given(st.permutations(sorted(Net().state_dict())))
def test_order_of_keys_changes_nothing(order: list[str]) -> None:
    """Any order of the checkpoint's keys loads the same."""
    model, source = made(Net), made(Net, seed=1).state_dict()
    result = load(model, {name: source[name] for name in order})
    assert same(model, source)
    assert result.complete


def test_result_says_what_happened() -> None:
    """The result carries the plan's fields, and prints them."""
    model, source = made(Net, classes=3), made(Net, seed=1)
    result = load(model, source.state_dict())
    assert result.mismatched_keys == {"fc.weight": ((3, 6), (5, 6)), "fc.bias": ((3,), (5,))}
    assert set(result.loaded) == {m.target for m in result.matches}
    assert "fc.weight" not in result.loaded
    assert result.missing_keys == result.unexpected_keys == ()
    assert not result.complete
    assert result.trainable_parameters == tuple(model.parameters())
    assert "fc" in str(result)


def test_a_plan_is_replayed_exactly() -> None:
    """A plan that went through JSON, and was edited, is applied as it is."""
    model, source = made(Net), made(Net, seed=1).state_dict()
    plan = Plan.from_dict(match(model, source).to_dict())
    before = model.state_dict()["conv1.bias"].clone()
    edited = Plan(tuple(m for m in plan.matches if m.target != "conv1.bias"), coverage=plan.coverage)
    result = load(model, source, plan=edited)
    assert (result.missing_keys, result.unexpected_keys) == (("conv1.bias",), ("conv1.bias",))
    assert torch.equal(model.state_dict()["conv1.bias"], before)
    assert torch.equal(model.state_dict()["conv1.weight"], source["conv1.weight"])


@pytest.mark.parametrize(
    ("how", "sources", "target"),
    [
        ("qkv", [(4, 4)] * 3, (12, 4)),
        ("qkv[1/3]", [(12, 4)], (4, 4)),
        ("qkv[4:6]", [(8, 4)], (2, 4)),
        ("transpose", [(4, 6)], (6, 4)),
        ("reshape", [(6, 4, 1, 1)], (6, 4)),
        ("head-rows", [(9, 4)], (6, 4)),
        ("head-rows", [(3, 4)], (6, 4)),
        ("first-conv", [(4, 3, 2, 2)], (4, 1, 2, 2)),
        ("pos-embed", [(1, 17, 4)], (1, 26, 4)),
    ],
)
def test_adaptations_of_a_plan(how: str, sources: list[tuple[int, ...]], target: tuple[int, ...]) -> None:
    """Each adaptation writes what its pure function gives."""
    from fxprof.checkpoint.pieces import adapted

    model: Any = nn.Module()
    model.w = nn.Parameter(torch.zeros(target))
    state = {f"w{i}": torch.randn(shape) for i, shape in enumerate(sources)}
    names = tuple(state)
    one = Match("w", names if len(names) > 1 else names[0], how)
    wanted = adapted(one, model.w.detach().clone(), list(state.values()), model)
    load(model, state, plan=Plan((one,)), force=True)
    assert torch.equal(model.w.detach(), wanted)


def test_rope_of_a_plan() -> None:
    """The rows of a rotary query are permuted with the heads of its attention module, both ways."""
    from fxprof.checkpoint.adapt import rope

    model: Any = nn.Module()
    model.attention = nn.Module()
    model.attention.head_dim = 4
    model.attention.wq = nn.Linear(6, 8, bias=False)
    model.attention.q_proj = nn.Linear(6, 8, bias=False)
    source = torch.randn(8, 6)
    for target, key, to_halves in (("q_proj", "wq.weight", True), ("wq", "q_proj.weight", False)):
        plan = Plan((Match(f"attention.{target}.weight", key, "rope"),))
        load(model, {key: source}, plan=plan, force=True)
        assert torch.equal(model.get_parameter(f"attention.{target}.weight").detach(), rope(source, 2, to_halves))
    with pytest.raises(CheckpointError, match=r"'w' from 'wq': rope needs the width of a head"):
        bare: Any = nn.Module()
        bare.w = nn.Parameter(torch.zeros(8, 6))
        load(bare, {"wq": source}, plan=Plan((Match("w", "wq", "rope"),)), force=True)


def test_a_model_into_itself_with_names_exchanged() -> None:
    """A checkpoint that is the model's own memory under other names is read before it is overwritten."""
    model: Any = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    own = model.state_dict()
    a, b = own["a.weight"].clone(), own["b.weight"].clone()
    plan = Plan((Match("a.weight", "b.weight", "renamed"), Match("b.weight", "a.weight", "renamed")))
    load(model, own, plan=plan, force=True)
    assert torch.equal(model["a"].weight, b)
    assert torch.equal(model["b"].weight, a)


# -- all or nothing ----------------------------------------------------------------------------


class Failing(Tensor):
    """A tensor whose copies fail when the countdown is over."""

    left = 0
    error: BaseException = RuntimeError("no")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.copy_:
            Failing.left -= 1
            if Failing.left == 0:
                raise Failing.error
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("at", [1, 2, 5, 7])
def test_a_copy_that_fails_is_undone(at: int, error: BaseException) -> None:
    """Where foreign tensors make copies fallible, the k-th failing one leaves the model as it was."""
    model = made(Net)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().as_subclass(Failing))
    before = {name: torch.Tensor.clone(value).as_subclass(Tensor) for name, value in model.state_dict().items()}
    Failing.left, Failing.error = at, error
    with pytest.raises(type(error)):
        load(model, made(Net, seed=1).state_dict(), freeze=True)
    now = model.state_dict()
    assert all(torch.equal(now[name].as_subclass(Tensor), value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("at", range(7))
def test_a_tensor_that_cannot_be_read(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read error at the k-th tensor, an interrupt too, comes before anything is changed."""
    model, before, count = made(Net), None, 0
    original = Checkpoint.tensor

    def tensor(self: Checkpoint, name: str) -> Tensor:
        nonlocal count
        count += 1
        if count == at + 1:
            raise KeyboardInterrupt
        return original(self, name)

    monkeypatch.setattr(Checkpoint, "tensor", tensor)
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        load(model, made(Net, seed=1).state_dict())
    assert unchanged(model, before)


def test_an_interrupt_before_the_copy_undoes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen flags, replaced meta tensors and the optimizer are put back."""
    source = made(Net, seed=1)
    sgd = torch.optim.SGD(source.parameters(), lr=0.5, momentum=0.9)
    source(torch.randn(2, 3, 4, 4)).sum().backward()
    sgd.step()
    model = made(Net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    before = snapshot(model)
    monkeypatch.setattr(torch, "_foreach_copy_", stop)
    with pytest.raises(KeyboardInterrupt):
        load(model, {"model": source.state_dict(), "optimizer": sgd.state_dict()}, optimizer=optimizer, freeze=True)
    assert unchanged(model, before)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state
    with torch.device("meta"):
        empty = Net()
    before_ids = [id(parameter) for parameter in empty.parameters()]
    with pytest.raises(KeyboardInterrupt):
        load(empty, source.state_dict())
    assert [id(parameter) for parameter in empty.parameters()] == before_ids
    assert all(parameter.is_meta for parameter in empty.parameters())


def test_an_interrupt_right_after_the_copy_finds_it_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the copies are done, nothing is undone: weights, flags and optimizer belong together."""
    original = torch._foreach_copy_

    def late(*args: Any) -> None:
        original(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "_foreach_copy_", late)
    model, source = made(Net), made(Net, seed=1).state_dict()
    with pytest.raises(KeyboardInterrupt):
        load(model, source, freeze=True)
    assert same(model, source)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_plain_models_are_copied_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Python runs between two tensors: one call copies them all."""
    calls: list[int] = []
    original = torch._foreach_copy_

    def counted(targets: list[Tensor], sources: list[Tensor]) -> None:
        calls.append(len(targets))
        original(targets, sources)

    monkeypatch.setattr(torch, "_foreach_copy_", counted)
    load(made(Net), made(Net, seed=1).state_dict())
    assert calls == [len(Net().state_dict()) + 1]
