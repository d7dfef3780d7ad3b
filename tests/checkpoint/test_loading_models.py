"""``load`` into models of every kind: tied, on the meta device, wrapped, renamed."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize("act", [load, fxprof.match])
def test_lazy_models_are_refused(act: Any) -> None:
    """Parameters without a shape are named, with what to do; on either side."""
    with pytest.raises(CheckpointError, match="run the model once"):
        act(nn.Sequential(nn.LazyLinear(3)), {"0.weight": torch.zeros(3, 4)})
    for source in (nn.LazyLinear(3).state_dict(), nn.LazyLinear(3)):
        with pytest.raises(CheckpointError, match="one has none before the first forward: run the model once on an in"):
            act(nn.Linear(4, 3), source)


def quantized(*names: str) -> nn.Module:
    """A model with these layers quantized."""
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.ao.quantization.quantize_dynamic(
            layers, dict.fromkeys(names, torch.ao.quantization.default_dynamic_qconfig), inplace=True
        )
    return layers


@pytest.mark.skipif(not torch.backends.quantized.supported_engines[1:], reason="there is no kernel for it here")
def test_quantized_layers_keep_their_weights_elsewhere() -> None:
    """What a state_dict makes up as it is asked for cannot be written to: said, and the rest is loaded."""
    source = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    result = load(quantized("0"), source.state_dict())
    assert result.loaded == ("1.weight", "1.bias")
    said = "0.scale, 0.zero_point, 0._packed_params.dtype and 1 more of the model's state are no parameters or buffers"
    assert result.notes[0].startswith(said)
    for saved in (source.state_dict(), quantized("0", "1").state_dict()):
        with pytest.raises(CheckpointError, match="and cannot be loaded: load before the model is quantized"):
            load(quantized("0", "1"), saved)


def test_a_model_without_tensors() -> None:
    """There is nothing that could be loaded."""
    with pytest.raises(CheckpointError, match="The model has no parameters or buffers to load into"):
        load(nn.ReLU(), nn.Linear(2, 2).state_dict())


class Stateful(nn.Linear):
    """A layer with a state of its own beside its tensors."""

    steps = 0

    def get_extra_state(self) -> Any:
        """A number."""
        return {"steps": self.steps}

    def set_extra_state(self, state: Any) -> None:
        """As it was saved."""
        self.steps = state["steps"]


def test_a_state_beside_the_tensors_is_not_lost_silently() -> None:
    """It is code of the model's that reads it, so it is named, and handed out."""
    source, model = nn.Sequential(Stateful(2, 2)), nn.Sequential(Stateful(2, 2))
    source[0].steps = 7  # type: ignore[assignment]
    result = load(model, {"model": source.state_dict(), "epoch": 3})
    assert result.notes == (
        "model.0._extra_state of the checkpoint is not loaded: give result.extras[...] to set_extra_state.",
    )
    assert result.extras["model.0._extra_state"] == {"steps": 7}
    assert not load(nn.Sequential(nn.Linear(2, 2)), source.state_dict()).notes


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
