"""Weights kept in parts: under weight norm, spectral norm, pruning, on either side of a load."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import fxprof
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.plan import Match
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import snapshot, unchanged

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
    # Their formulas are known.
    if (not theirs and kinds[0] in ("weight norm", "pruning", "spectral norm")) or kinds == ["", "weight norm"]:
        result = load(model, source.state_dict())
        assert result.complete
        hows = {match.how.partition("[")[0] for match in result.matches}
        assert hows == {"exact", "".join(kinds).replace(" ", "-")}
        assert torch.allclose(model(torch.ones(2, 4)), source(torch.ones(2, 4)), atol=1e-7)
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


@pytest.mark.parametrize("norm", [torch.nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_plain_weights_are_taken_apart(norm: Any, axis: int | None) -> None:
    """A model under weight norm gets norms and directions; rows of zeros stay zeros."""
    source: Any = nn.ModuleDict({"down": nn.Conv1d(4, 4, 3), "up": nn.ConvTranspose1d(4, 2, 3)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(norm(nn.Conv1d(4, 4, 3), dim=axis), norm(nn.ConvTranspose1d(4, 2, 3), dim=axis))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(source.parameters(), lr=0.1, momentum=0.9)
    source["up"](source["down"](torch.ones(1, 4, 9))).sum().backward()
    other.step()
    with torch.no_grad():
        source["down"].weight[1] = 0
        source["down"].weight[:, 2] = 0
    saved = {"model": source.state_dict(), "optimizer": other.state_dict()}
    result = load(model, saved, optimizer=optimizer)
    assert result.complete and fxprof.Plan.from_dict(result.plan.to_dict()) == result.plan
    assert torch.allclose(model(torch.ones(1, 4, 9)), source["up"](source["down"](torch.ones(1, 4, 9))), atol=1e-6)
    assert result.optimizer and result.optimizer.restored == ("0.bias", "1.bias")  # moments of others are none of g, v


@pytest.mark.parametrize("norm", [torch.nn.utils.spectral_norm, parametrizations.spectral_norm])
def test_spectral_norm_of_any_layer(norm: Any) -> None:
    """Square layers do not say which axis u is of: the kind of layer does."""
    layers: list[Any] = [
        nn.Conv1d(4, 4, 3),
        nn.ConvTranspose1d(4, 4, 3),
        nn.ConvTranspose1d(4, 2, 3),
        nn.Conv1d(2, 5, 3),
    ]
    source, model = nn.Sequential(*map(norm, copy.deepcopy(layers))), nn.Sequential(*layers)
    for weight in (layer.weight for layer in layers):
        nn.init.normal_(weight)
    x = torch.randn(1, 4, 9)
    source(x)  # a step of the power method
    result = load(model, source.eval().state_dict())
    assert result.complete
    assert torch.allclose(model(x), source(x), atol=1e-6)


def test_parameters_that_are_called_like_parts() -> None:
    """Names in g and v are parts of a weight, or of what the other side has under the name before."""
    model = nn.ParameterDict({"gate_g": torch.zeros(4, 1), "gate_v": torch.zeros(4, 3)})
    other = {"kv": torch.ones(4, 3)}
    assert not fxprof.match(model, other).matches
    assert not fxprof.match(nn.ParameterDict(other), model.state_dict()).matches
    assert len(fxprof.match(model, {"gate": torch.ones(4, 3)}).matches) == 2


def test_two_kinds_of_parts_are_not_made_of_each_other() -> None:
    """Nor under other names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = nn.Sequential(torch.nn.utils.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
        model = nn.ModuleDict({"body": torch.nn.utils.weight_norm(nn.Linear(4, 4)), "head": nn.Linear(4, 2)})
    assert {match.target for match in fxprof.match(model, source.state_dict()).matches} <= {
        "body.bias", "head.weight", "head.bias"
    }  # fmt: skip


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
