"""Which dicts of tensors of a file are taken for a model: one of them, or several as its parts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxprof import load, match, read
from fxprof.checkpoint.plan import Plan
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import made, same, snapshot, unchanged

Parts = Mapping[str, Mapping[str, Tensor]]


def encoder() -> nn.Sequential:
    """Two convolutions around a norm."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 3))


def decoder() -> nn.Sequential:
    """The same the other way round: another net of the same names."""
    return nn.Sequential(nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3))


class Pair(nn.Module):
    """Two parts and a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(), decoder()
        self.scale = nn.Parameter(torch.ones(3))


def parts(model: nn.Module, ending: str = "") -> dict[str, Any]:
    """Each part's state_dict under its name."""
    return {f"{name}{ending}": child.state_dict() for name, child in model.named_children()}


@pytest.mark.parametrize(
    "file",
    [
        lambda model: {**parts(model), "epoch": 3},
        lambda model: {"model": {**parts(model), "scale": model.scale}, "optimizer": {"state": {}, "param_groups": []}},
        lambda model: parts(model, "_state_dict"),
        lambda model: {name: {"state_dict": state, "step": 3} for name, state in parts(model).items()},
        lambda model: {
            name: {f"module.{key}": value for key, value in state.items()} for name, state in parts(model).items()
        },
        lambda model: {"ema": parts(made(Pair, seed=2)), "model": parts(model)},
        lambda model: {**parts(made(Pair, seed=2), "_ema"), **parts(model)},
    ],
    ids=["flat", "nested", "endings", "deeper", "wrapped", "ema-around", "ema-beside"],
)
@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel, lambda model: nn.ModuleDict({"net": model})])
def test_parts_are_joined(file: Callable[[nn.Module], Any], wrap: Callable[[nn.Module], nn.Module]) -> None:
    """Dicts of the names of a model's modules are taken together, raw weights only."""
    model, other = made(Pair, seed=1), made(Pair)
    result = load(wrap(other), file(model))
    assert same(other.encoder, model.encoder) and same(other.decoder, model.decoder)
    assert set(result.container.joined.values()) >= {"encoder", "decoder"}
    assert not any("ema" in name for name in result.container.joined)


def test_parts_are_said(tmp_path: Path) -> None:
    """The plan says what was taken together and what lies beside it; saved, it takes the same again."""
    model, other = made(Pair, seed=1), made(Pair)
    torch.save({**parts(model), "scale": model.scale, "head": {"weight": torch.ones(7)}}, tmp_path / "net.pth")
    plan = match(other, tmp_path / "net.pth")
    assert plan.container.joined == {"encoder": "encoder", "decoder": "decoder", "": ""}
    assert plan.container.alternatives == {"head": 1}
    assert "Taken together: the outermost dict, encoder, decoder." in str(plan)
    again = Plan.from_dict(json.loads(plan.to_json()))
    assert again == plan and load(other, tmp_path / "net.pth", plan=again).complete and same(other, model)


def test_towers_on_modules_of_their_names_are_joined() -> None:
    """A student and its average go to the modules named so; a part of another size is listed as mismatched."""
    model, other = (nn.ModuleDict({"student": encoder(), "teacher": encoder()}) for _ in range(2))
    assert load(other, parts(model)).complete and same(other, model)
    plan = match(nn.ModuleDict({"student": encoder(), "head": nn.Linear(4, 5)}), {
        "student": encoder().state_dict(), "head": nn.Linear(4, 7).state_dict()
    })  # fmt: skip
    assert set(plan.mismatched_keys) == {"head.weight", "head.bias"} and not plan.missing_keys


def test_the_part_that_fits_is_taken() -> None:
    """A model that one of several dicts was made for gets that one, whichever has the better known name."""
    model = made(Pair, seed=1)
    for name, make in (("encoder", encoder), ("decoder", decoder)):
        other = made(make)
        result = load(other, parts(model))
        assert result.container.path == (name,) and result.complete and same(other, parts(model)[name])
    heads = {"actor": made(nn.Linear, 4, 3).state_dict(), "critic": made(nn.Linear, 4, 1).state_dict()}
    assert match(nn.Linear(4, 1), heads).container.path == ("critic",)


def test_a_whole_model_is_taken_before_its_parts() -> None:
    """Parts beside a dict that fits the whole model are no reason to join them, nor is an average that fits better."""
    model, other = made(Pair, seed=1), made(Pair)
    result = load(other, {**parts(made(Pair, seed=2)), "state_dict": model.state_dict()})
    assert result.container.path == ("state_dict",) and same(other, model)
    raw = {name: value for name, value in model.state_dict().items() if name != "scale"}
    assert match(other, {"net": raw, "ema": model.state_dict()}).container.path == ("net",)
    assert match(other, {"net": raw, "ema": parts(model)}).container.path == ("net",)


@pytest.mark.parametrize(
    ("make", "file", "names"),
    [
        (encoder, lambda: {"q1": made(encoder).state_dict(), "q2": made(encoder, seed=1).state_dict()}, "'q1', 'q2'"),
        (Pair, lambda: {"a": parts(made(Pair)), "b": parts(made(Pair, seed=1))}, "'a', 'b'"),
    ],
)
def test_equal_fits_are_refused(make: Callable[[], nn.Module], file: Callable[[], Any], names: str) -> None:
    """Of two that fit equally well none is taken; the name of either settles it, parts below it included."""
    model, source = made(make), file()
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=f"but {names} fit equally well; choose one with container="):
        load(model, source)
    assert unchanged(model, before)
    second = list(source)[1]
    result = load(model, source, container=second)
    assert result.container.path == (second,)
    assert all(same(getattr(model, name), state) for name, state in source["b"].items()) if "b" in source else True


def test_a_container_of_dicts_is_read_whole() -> None:
    """The name of a dict that has no tensors but in dicts below it stands for all of them, the optimizer's apart."""
    model = made(Pair)
    tree = {"net": parts(model), "optimizer": {"exp_avg": {"w": torch.ones(2)}}}
    assert next(iter(read(tree, container="net").specs)) == "encoder.0.weight"
    assert list(read(tree, container="").specs)[-1] == "net.decoder.2.bias"


def test_a_plan_takes_the_dict_that_it_was_made_with() -> None:
    """A plan made with container= needs it no second time."""
    model, source = made(encoder), {"state_dict": made(encoder).state_dict(), "ema": made(encoder, seed=1).state_dict()}
    load(model, source, plan=match(model, source, container="ema"))
    assert same(model, source["ema"])


def test_what_is_not_for_the_model_does_not_stop_it() -> None:
    """A dict beside the weights may hold what cannot be loaded at all."""
    model = made(Pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nested tensors are a prototype
        odd = {"samples": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}
    assert load(model, {"state_dict": made(Pair, seed=1).state_dict(), "debug": odd}).complete
    assert not match(model, {**parts(model), "debug": odd}).mismatched_keys
