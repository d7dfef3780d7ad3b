"""``load``: what is refused, in one sentence, with the model as it was; and what is converted and reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from fxprof.checkpoint.loading import load
from fxprof.checkpoint.matching import match
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.saving import save
from fxprof.errors import CheckpointError, InputError
from tests.checkpoint.nets import Net, made, same, snapshot, unchanged

# -- refusals: one sentence, the model as it was -----------------------------------------------


def edited(**values: Any) -> dict[str, Any]:
    """A checkpoint of Net with some tensors replaced; ``__`` stands for a dot."""
    return {**made(Net, seed=1).state_dict(), **{name.replace("__", "."): value for name, value in values.items()}}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (edited(fc__bias=torch.zeros(5, dtype=torch.complex64)), "complex numbers are not made floating"),
        (edited(fc__bias=torch.zeros(5, dtype=torch.int64)), r"'fc.bias' is int64 in the checkpoint .* is float32"),
        (edited(bn1__num_batches_tracked=torch.tensor(1.5)), "floating numbers are not made integer"),
        (edited(fc__weight=torch.zeros(5, 6).to_sparse()), "sparse"),
        (edited(fc__weight=torch.zeros(5, 6, device="meta")), "meta device"),
        (edited(fc__weight=torch.full((5, 6), 1e300, dtype=torch.float64)), "30 values of 'fc.weight'.* infinite"),
    ],
)
def test_values_that_do_not_go(source: dict[str, Any], message: str) -> None:
    """Numbers of another kind, or none at all, are refused by name."""
    model = made(Net)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=message) as info:
        load(model, source)
    assert "\n" not in str(info.value)
    assert unchanged(model, before)


@pytest.mark.parametrize("value", [1, "no", 2.5, [True], {"a": 1.0}, object(), int], ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize("option", ["trust", "strict", "force", "freeze", "container", "rename", "plan"])
def test_an_option_of_another_kind(option: str, value: Any) -> None:
    """It is not taken for its truth: ``trust="no"`` would run code."""
    model = made(Net)
    before = snapshot(model)
    with pytest.raises((InputError, CheckpointError)) as info:
        load(model, made(Net, seed=1).state_dict(), **{option: value})
    assert "\n" not in str(info.value)
    assert unchanged(model, before)


@pytest.mark.parametrize("path", [3, b"a.pth", ["a.pth"], None])
def test_what_is_no_path_is_not_written_to(path: Any) -> None:
    """It is refused in words."""
    with pytest.raises(InputError, match="must be a path, got"):
        save(made(Net), path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_values_are_refused() -> None:
    """A quantized tensor is named."""
    quantized = torch.quantize_per_tensor(torch.zeros(5, 6), 0.1, 0, torch.qint8)
    model = made(Net)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=r"'fc.weight'.*quantized"):
        load(model, edited(fc__weight=quantized))
    assert unchanged(model, before)


@pytest.mark.parametrize("scale", ["fc.weight_scale_inv", "fc.weight_scale", "fc.scale_weight", "fc.scale"])
def test_scaled_floats_are_refused(scale: str) -> None:
    """An 8-bit weight with its scale beside it is quantized: cast alone, its values would be wrong."""
    model = made(Net)
    before = snapshot(model)
    eight = made(Net, seed=1).fc.weight.detach().to(torch.float8_e4m3fn)
    with pytest.raises(
        CheckpointError, match=f"'fc.weight' .* is float8_e4m3fn and its scale is '{scale}'.*dequantize"
    ):
        load(model, {**edited(fc__weight=eight), scale: torch.ones(1, 1)})
    assert unchanged(model, before)
    load(model, edited(fc__weight=eight))
    assert torch.equal(model.fc.weight, eight.float())


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="torch has no such dtype")
def test_packed_floats_are_refused() -> None:
    """Two numbers in a byte are no number of the model's."""
    packed = torch.zeros(5, 6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    model = made(Net)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=r"float4_e2m1fn_x2 .* torch cannot make float32, as 'fc.weight' is"):
        load(model, edited(fc__weight=packed))
    assert unchanged(model, before)


def test_lossless_integers() -> None:
    """Integers go where they fit, and are refused where they do not."""
    model: Any = nn.Module()
    model.register_buffer("steps", torch.zeros(3, dtype=torch.int8))
    load(model, {"steps": torch.tensor([1, -128, 127])})
    assert model.steps.tolist() == [1, -128, 127]
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="1 values of 'steps' do not fit int8"):
        load(model, {"steps": torch.tensor([1, 2, 128])})
    assert unchanged(model, before)


def test_overflow_by_force() -> None:
    """force=True loads values that become infinite, and says how many."""
    model = made(Net)
    result = load(model, edited(fc__bias=torch.tensor([1e300, 1, 1, 1, 1], dtype=torch.float64)), force=True)
    assert model.state_dict()["fc.bias"].isinf().tolist() == [True, False, False, False, False]
    assert [c.text for c in result.changes if c.kind == "overflow"] == ["1 values became infinite"]
    assert [c.text for c in result.changes if c.kind == "non-finite"] == ["1 values are NaN or infinite"]


def test_non_finite_values_are_reported() -> None:
    """NaN and infinity load, counted by tensor."""
    model = made(Net)
    source = edited(fc__bias=torch.tensor([float("nan"), float("inf"), 1, 1, 1]))
    result = load(model, source)
    assert [(c.target, c.kind) for c in result.changes] == [("fc.bias", "non-finite")]
    assert "2 values are NaN or infinite: fc.bias" in str(result)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floating_dtypes_convert(dtype: torch.dtype) -> None:
    """The model keeps its dtype, and the conversion is reported."""
    model = made(Net)
    source = {k: v.to(dtype) if v.is_floating_point() else v for k, v in made(Net, seed=1).state_dict().items()}
    result = load(model, source)
    assert same(model, {k: v.float() if v.is_floating_point() else v for k, v in source.items()})
    assert {c.kind for c in result.changes} == {"dtype"}
    narrow = made(Net).to(torch.bfloat16)
    load(narrow, source)
    assert {p.dtype for p in narrow.parameters()} == {torch.bfloat16}


def test_little_that_fits_is_refused() -> None:
    """Below half of both sides nothing loads, unless forced."""
    model = made(Net)
    before = snapshot(model)
    source = {"conv1.bias": torch.ones(4), **{f"other{i}.weight": torch.ones(99, 7) for i in range(9)}}
    with pytest.raises(CheckpointError, match=r"nothing was loaded, because 1 of .*force=True"):
        load(model, source)
    assert unchanged(model, before)
    assert load(model, source, force=True).loaded == ("conv1.bias",)
    assert load(model, source, include=["conv1.bias"]).loaded == ("conv1.bias",)


def test_a_plan_that_does_not_fit() -> None:
    """A plan for another model or checkpoint, or edited wrongly, is refused."""
    model, source = made(Net), made(Net, seed=1).state_dict()
    before = snapshot(model)
    for wrong, message in (
        (Match("fc.wieght", "fc.weight", "exact"), "'?fc.wieght'?, which the model does not have"),
        (Match("fc.weight", "fc.wieght", "exact"), "'?fc.wieght'?, which the checkpoint does not hold"),
        (Match("fc.weight", "conv1.weight", "exact"), r"model has \(5, 6\), the checkpoint gives \(4, 3, 3, 3\)"),
        (Match("conv1.bias", "conv1.bias", "exact"), "once, got conv1.bias twice"),
        (Match("fc.weight", "fc.weight", "as it is"), "how must be exact, prefix, renamed.*got 'as it is'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(model, source, plan=Plan((Match("conv1.bias", "conv1.bias", "exact"), wrong)), force=True)
    with pytest.raises(InputError, match="plan= must be a Plan from match"):
        load(model, source, plan={"matches": []})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="because 0 of the model's 10 tensors fit"):
        load(model, source, plan=replace(match(model, source), matches=()))
    longer = nn.Sequential(model, nn.Linear(5, 5))
    longer_plan = match(longer, {f"0.{name}": value for name, value in source.items()}, exclude="1.*")
    with pytest.raises(CheckpointError, match=r"missing '1.bias'; missing '1.weight'; unexpected 'more'"):
        load(
            longer,
            {**{f"0.{name}": value for name, value in source.items()}, "more": torch.ones(1)},
            plan=replace(longer_plan, excluded=()),
            strict=True,
        )
    assert unchanged(model, before)


def test_tensors_that_are_made_of_others(tmp_path: Path) -> None:
    """A subclass that keeps its values in other tensors, as quantized weights do, is named; the rest loads."""

    def wrapped() -> Any:
        model = made(Net, seed=1)
        for layer in (model.conv2, model.fc):
            layer.weight = nn.Parameter(TwoTensor(layer.weight.detach(), layer.weight.detach().clone()))
        return model

    model = wrapped()
    with pytest.raises(CheckpointError, match=r"'conv2.weight' of the model is of the type TwoTensor, which keeps"):
        load(model, made(Net).state_dict())
    assert torch.equal(model.conv1.weight, made(Net, seed=1).conv1.weight)
    with pytest.raises(CheckpointError, match=r"'conv2.weight' in the checkpoint is of the type TwoTensor.*dequantize"):
        load(made(Net), model.state_dict())
    load(model, made(Net).state_dict(), exclude=["conv2.weight", "fc.weight"])
    assert torch.equal(model.conv1.weight, made(Net).conv1.weight)
    with pytest.raises(CheckpointError, match=r"'conv2.weight' is none: use .pt"):
        save(model, tmp_path / "net.safetensors")


def test_why_little_fits_is_a_whole_sentence() -> None:
    """The error quotes one note alone: it says another architecture, or how much nothing tells apart."""
    layer = {"weight": torch.ones(4, 4), "bias": torch.ones(4)}
    source = {f"{name}.{key}": value for name in ("aa", "bb", "cc", "dd") for key, value in layer.items()}
    model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("ww", "xx", "yy", "zz")})
    with pytest.raises(CheckpointError, match="8 of its tensors have several candidates, and nothing says which"):
        load(model, source)
    with pytest.raises(CheckpointError, match="the two are probably different architectures"):
        load(nn.Conv2d(3, 4, 3), source)


def test_poisoned_attributes() -> None:
    """Attributes that a file put on a tensor are not asked."""
    source = made(Net, seed=1).state_dict()
    for value in source.values():
        value.size = value.to = 7
    model = made(Net)
    load(model, source)
    assert same(model, made(Net, seed=1))


BAD = (
    lambda t: t.to(torch.complex64),
    lambda t: t.to_sparse() if t.ndim else t.to(torch.complex64),
    lambda t: t.to("meta"),
    lambda t: t.double() * 1e300 if t.is_floating_point() else t + 0.5,
    lambda t: t.bool() if t.is_floating_point() else t.float(),
)


@given(st.sampled_from(sorted(Net().state_dict())), st.sampled_from(BAD), st.booleans())
def test_one_bad_tensor_changes_nothing(name: str, spoil: Any, freeze: bool) -> None:
    """Whichever tensor is bad, and however, it is named and the model is bit-identical."""
    model = made(Net)
    before = snapshot(model)
    source = made(Net, seed=1).state_dict()
    with pytest.raises(CheckpointError, match=name):
        load(model, {**source, name: spoil(source[name])}, freeze=freeze)
    assert unchanged(model, before)


def test_targets_that_cannot_be_written() -> None:
    """Expanded, inference and flattened tensors of the model are refused by name."""
    model: Any = nn.Module()
    model.register_buffer("wide", torch.zeros(1).expand(5))
    with pytest.raises(CheckpointError, match="'wide' of the model is expanded"):
        load(model, {"wide": torch.ones(5)})
    with torch.inference_mode():
        model = nn.Linear(3, 3)
    with pytest.raises(CheckpointError, match=r"made under torch.inference_mode"):
        load(model, {"weight": torch.ones(3, 3), "bias": torch.ones(3)})
    model = nn.Module()
    model._flat_param = nn.Parameter(torch.zeros(5))
    with pytest.raises(CheckpointError, match="FullyShardedDataParallel"):
        load(model, {"w": torch.ones(5)})


@pytest.mark.parametrize("model", [None, Net, {"a": 1}])
def test_only_a_module_is_loaded_into(model: Any) -> None:
    """A class, or nothing, is named."""
    with pytest.raises(InputError, match=r"model must be an nn\.Module, got "):
        load(model, made(Net).state_dict())


def test_strict_names_everything() -> None:
    """strict=True is one sentence with all that is missing, unexpected or of another shape, sorted."""
    model = made(Net, classes=3)
    before = snapshot(model)
    source = edited(extra__w=torch.zeros(2), b__w=torch.zeros(7))
    del source["conv1.bias"]
    with pytest.raises(CheckpointError, match="strict=True") as info:
        load(model, source, strict=True)
    text = str(info.value)
    parts = ["missing 'conv1.bias'", "unexpected 'b.w'", "unexpected 'extra.w'", "'fc.bias' is (3,)", "'fc.weight' is"]
    assert [text.find(part) for part in parts] == sorted(text.find(part) for part in parts)
    assert -1 not in [text.find(part) for part in parts]
    assert unchanged(model, before)


class Sharing(nn.Module):
    """Two parameters on one memory, of which they share a part, and one beside them."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.zeros(16)
        self.one, self.other, self.beside = (nn.Parameter(flat[a:b]) for a, b in ((0, 6), (4, 10), (10, 16)))


def test_memory_that_two_parameters_share_in_part() -> None:
    """Values that agree on the shared part are loaded; others would be written over, and are refused."""
    state = {name: torch.ones(6) for name in ("one", "other", "beside")}
    model = Sharing()
    assert not load(model, state).changes and same(model, state)
    model, state["other"] = Sharing(), torch.full((6,), 2.0)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="one of the model would be written over in part"):
        load(model, state)
    assert unchanged(model, before)
    assert [change.kind for change in load(model, state, force=True).changes] == ["tied"]
    assert load(Sharing(), state, exclude="one").matches
