"""``load`` into models of every kind: tied, on the meta device, wrapped, renamed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import fxprof
from fxprof.checkpoint.checks import sure
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.reading import read
from fxprof.errors import CheckpointError
from tests.checkpoint import files
from tests.checkpoint.nets import Net, Renamed, Tied, made, same, snapshot, unchanged

# -- tied weights ------------------------------------------------------------------------------


def test_tied_weights_stay_tied() -> None:
    """A file with one or both names fills the one tensor."""
    source = made(Tied, seed=1).state_dict()
    for state in (source, {k: v for k, v in source.items() if k != "out.weight"}):
        model = made(Tied)
        result = load(model, state)
        assert model.out.weight is model.table.weight
        assert torch.equal(model.table.weight, source["table.weight"])
        assert not result.missing_keys


def test_two_values_for_one_tensor() -> None:
    """A checkpoint of an untied model is refused by a tied one; force takes the first and says so."""
    source = made(Tied, tie=False, seed=1).state_dict()
    model = made(Tied)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=r"table.weight.* and .*out.weight.* differ"):
        load(model, source)
    assert unchanged(model, before)
    result = load(model, source, force=True)
    assert torch.equal(model.table.weight, source["table.weight"])
    assert model.out.weight is model.table.weight
    assert [c.kind for c in result.changes] == ["tied"]


# -- other models ------------------------------------------------------------------------------


def test_meta_model_is_materialized() -> None:
    """A model without memory gets it where it loads; tied parameters stay tied, frozen ones frozen."""
    with torch.device("meta"):
        model: Any = Tied()
    model.mix.bias.requires_grad_(False)
    source = made(Tied, seed=1)
    load(model, source.state_dict())
    assert same(model, source)
    assert model.out.weight is model.table.weight
    assert isinstance(model.out.weight, nn.Parameter)
    assert not model.mix.bias.requires_grad
    ids = torch.arange(5)
    assert torch.equal(model(ids), source(ids))


@pytest.mark.parametrize("form", files.WRITERS)
def test_the_default_device_is_not_the_files(form: str, tmp_path: Path) -> None:
    """Under a default device without values, as large models are built, the file's tensors have theirs."""
    state = made(Net, seed=1).state_dict()
    path = files.WRITERS[form](state, tmp_path)
    with torch.device("meta"):
        model = Net()
        load(model, path)
        with read(path) as checkpoint:
            assert all(torch.equal(checkpoint.tensor(name).to("cpu"), value) for name, value in state.items())
    assert same(model, made(Net, seed=1))


def test_a_state_is_restored_under_another_default_device() -> None:
    """The optimizer's state is compared and moved where its values are."""
    source, model = made(Net, seed=1), made(Net)
    optimizers = [torch.optim.Adam(one.parameters()) for one in (source, model)]
    source(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizers[0].step()
    with torch.device("meta"):
        load(model, {"model": source.state_dict(), "optimizer": optimizers[0].state_dict()}, optimizer=optimizers[1])
    assert all(entry["exp_avg"].device.type == "cpu" for entry in optimizers[1].state.values())


def test_a_meta_model_filled_in_inference_mode_can_be_trained() -> None:
    """What replaces meta tensors is not bound to the mode that the caller happens to be in."""
    with torch.device("meta"):
        model = Net()
    with torch.inference_mode():
        load(model, made(Net, seed=1).state_dict())
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    assert model.fc.weight.grad is not None


def test_meta_model_needs_everything() -> None:
    """What would stay without values is listed; the counters of BatchNorm start at zero."""
    with torch.device("meta"):
        model: Any = Net(classes=3)
    source = made(Net, seed=1).state_dict()
    with pytest.raises(CheckpointError, match=r"fc.weight, fc.bias of the model are on the meta device"):
        load(model, source)
    assert all(parameter.is_meta for parameter in model.parameters())
    with torch.device("meta"):
        model = Net()
    load(model, {name: value for name, value in source.items() if "num_batches" not in name})
    assert model.bn1.num_batches_tracked.item() == 0


def test_lazy_models_are_refused() -> None:
    """Parameters without a shape are named, with what to do."""
    with pytest.raises(CheckpointError, match="run the model once"):
        load(nn.Sequential(nn.LazyLinear(3)), {"0.weight": torch.zeros(3, 4)})


class Unmade(nn.Module):
    """Its __init__ forgets nn.Module's."""

    def __init__(self) -> None:
        pass


def test_modules_that_were_not_made_to_the_end_are_refused(tmp_path: Path) -> None:
    """On each way in, with the path of the first."""
    model = nn.Sequential(nn.Linear(2, 2), Unmade())
    save = partial(fxprof.save, model, tmp_path / "a.pt")
    for way in (partial(load, model, {}), partial(fxprof.match, model, {}), save):
        with pytest.raises(fxprof.InputError, match=r"1 \(Unmade\) has no '_parameters'; call super"):
            way()
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_traced_modules_are_loaded() -> None:
    """Their parts are found by torch, not in their own attributes."""
    model = torch.jit.trace(nn.Sequential(nn.Linear(2, 3)), torch.ones(1, 2))
    assert load(model, {"0.weight": torch.full((3, 2), 5.0), "0.bias": torch.ones(3)}).complete
    assert model(torch.ones(1, 2)).tolist() == [[11, 11, 11]]


def test_wrapped_models() -> None:
    """DataParallel and torch.compile, on either side."""
    source = made(Net, seed=1)
    wraps: tuple[Any, ...] = (nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m)))
    for wrap in wraps:
        model = made(Net)
        assert load(wrap(model), source.state_dict()).complete
        assert same(model, source)
        model = made(Net)
        assert load(model, wrap(source).state_dict()).complete
        assert same(model, source)


KINDS: dict[str, Any] = {
    "": lambda layer: layer,
    "weight norm": torch.nn.utils.weight_norm,
    "weight norm, new": parametrizations.weight_norm,
    "spectral norm": torch.nn.utils.spectral_norm,
    "spectral norm, new": parametrizations.spectral_norm,
    "pruning": partial(prune.random_unstructured, name="weight", amount=0.5),
    "parametrization": partial(parametrizations.orthogonal, use_trivialization=True),
}


def in_parts(kind: str, seed: int = 0) -> nn.Module:
    """Layers whose weights are kept in parts; square ones, so that no shape tells the parts apart."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the old functions are old
        layers = [KINDS[kind](nn.Linear(4, 4)) for _ in range(3)]
    return nn.Sequential(*layers, nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("ours", KINDS)
@pytest.mark.parametrize("theirs", KINDS)
def test_weights_kept_in_parts(ours: str, theirs: str) -> None:
    """Parts go to the same parts, whichever functions of torch made them; another kind's are none of these."""
    source, model = in_parts(ours, seed=1), in_parts(theirs)
    kinds = [kind.removesuffix(", new") for kind in (ours, theirs)]
    if kinds[0] == kinds[1]:
        assert load(model, source.state_dict()).complete
        assert torch.equal(model(torch.ones(2, 4)), source(torch.ones(2, 4)))
        return
    if not theirs and kinds[0] in ("weight norm", "pruning"):  # their formulas are known
        result = load(model, source.state_dict())
        assert result.complete and {match.how for match in result.matches} == {"exact", kinds[0].replace(" ", "-")}
        assert torch.equal(model(torch.ones(2, 4)), source(torch.ones(2, 4)))
        return
    plan = fxprof.match(model, source.state_dict())
    assert not any("weight" in entry.target for entry in plan.matches if not entry.target.startswith("3."))
    assert "3 tensors, such as 0.weight, are under" in plan.notes[0]
    assert [kind in plan.notes[0] for kind in kinds] == [True, True]
    assert "different architectures" not in " ".join(plan.notes)


@pytest.mark.parametrize("norm", [torch.nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_weight_norm_along_any_axis(norm: Any, axis: int | None) -> None:
    """The norms say along which axis they were taken; the layer may have another name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = nn.Sequential(norm(nn.Conv1d(4, 4, 3), dim=axis), norm(nn.ConvTranspose1d(4, 2, 3), dim=axis))
    model = nn.ModuleDict({"down": nn.Conv1d(4, 4, 3), "up": nn.ConvTranspose1d(4, 2, 3)})
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.mul_(1.7)
    assert load(model, source.state_dict()).complete
    assert torch.equal(model["up"](model["down"](torch.ones(1, 4, 9))), source(torch.ones(1, 4, 9)))


def test_parts_that_fit_no_formula_are_left() -> None:
    """Two tensors that are called like the parts of one, of other shapes, are none; nor is the head of another size."""
    model = nn.Linear(4, 3)
    before = snapshot(model)
    parts = {"weight_g": torch.ones(3, 4), "weight_v": torch.ones(3, 4), "bias": torch.ones(3)}
    assert [match.target for match in fxprof.match(model, parts).matches] == ["bias"]
    wide = {"weight_g": torch.ones(5, 1), "weight_v": torch.ones(5, 4), "bias": torch.ones(3)}
    assert fxprof.match(model, wide).mismatched_keys == {"weight": ((3, 4), (5, 4))}
    plan = replace(fxprof.match(model, wide), matches=(Match("weight", ("weight_g", "weight_v"), "weight-norm"),))
    with pytest.raises(CheckpointError, match=r"the model has \(3, 4\), the checkpoint gives \(5, 4\)"):
        load(model, wide, plan=plan)
    plan = replace(plan, matches=(Match("weight", ("bias", "weight_v"), "weight-norm"),))
    with pytest.raises(CheckpointError, match="g must have the sizes of one axis of v"):
        load(model, wide, plan=plan)
    assert unchanged(model, before)


def test_guesses_are_not_applied() -> None:
    """A match that a plan of rename="auto" is not sure of is left, and listed as ambiguous."""
    plan = Plan((Match("a", "x", "renamed", sure=False, reason="order"), Match("b", "y", "renamed")))
    kept = sure(plan)
    assert [m.target for m in kept.matches] == ["b"]
    assert kept.ambiguous == {"a": ("x",)}


def test_renamed_models_load() -> None:
    """The same layers under other names load, with equal outputs."""
    source, model = made(Net, seed=1).eval(), made(Renamed).eval()
    load(model, source.state_dict())
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(model(x), source(x))
