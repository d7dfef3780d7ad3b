"""Torchvision's zoo: every name builds, downloads nothing, and knows its input; MODEL strings that are wrong."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torchvision import models

import fxprof
from fxprof import zoo
from fxprof.errors import InputError
from fxprof.report import TensorSpec
from fxprof.zoo.torchvision_models import FRAMES

# One per kind of default input.
KINDS = {
    "resnet50": (TensorSpec((1, 3, 224, 224)),),
    "inception_v3": (TensorSpec((1, 3, 299, 299)),),
    "vit_h_14": (TensorSpec((1, 3, 224, 224)),),  # as built; its published weights resize it to 518
    "swin_v2_t": (TensorSpec((1, 3, 256, 256)),),
    "quantized_googlenet": (TensorSpec((1, 3, 224, 224)),),
    "fcn_resnet50": (TensorSpec((1, 3, 520, 520)),),
    "r3d_18": (TensorSpec((1, 3, 16, 112, 112)),),
    "s3d": (TensorSpec((1, 3, 16, 224, 224)),),
    "raft_small": (TensorSpec((1, 3, 512, 512)), TensorSpec((1, 3, 512, 512))),
    "fasterrcnn_resnet50_fpn": ([TensorSpec((3, 800, 800))],),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ([TensorSpec((3, 320, 320))],),
    "keypointrcnn_resnet50_fpn": ([TensorSpec((3, 800, 800))],),
    "ssd300_vgg16": ([TensorSpec((3, 300, 300))],),
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any download fail."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the zoo must not download")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.mark.parametrize("name", KINDS)
def test_default_input(name: str) -> None:
    """The default input is that of the published evaluation, for each kind of model."""
    assert zoo.build(name).inputs == KINDS[name]


@pytest.mark.parametrize("name", models.list_models())
def test_every_name_builds(name: str) -> None:
    """Every name builds without a warning, and has an input no smaller than its weights allow."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = zoo.build(name)
    assert built.name == name
    specs = built.inputs[0] if isinstance(built.inputs[0], list) else built.inputs
    meta = models.get_model_weights(name).DEFAULT.meta
    if isinstance(getattr(built.model, "image_size", None), int):
        return
    assert meta.get("min_temporal_size", 1) <= FRAMES
    assert all(size >= least for spec in specs for size, least in zip(spec.shape[-2:], meta["min_size"]))


def test_weights_take_no_memory() -> None:
    """A zoo model's large weights are on the meta device, its tables hold their values."""
    model = zoo.build("swin_t").model
    tables = dict(model.named_buffers())
    assert all(parameter.is_meta for name, parameter in model.named_parameters() if name.endswith("weight"))
    assert all(tables[name].max() > 0 for name in tables if name.endswith("relative_position_index"))


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "regnet_y_400mf", "ssdlite320_mobilenet_v3_large"])
def test_meta_and_cpu_are_the_same_architecture(name: str) -> None:
    """Where the weights are changes neither names nor shapes nor dtypes."""
    built = [zoo.build(name, device).model.state_dict() for device in ("meta", "cpu")]
    shapes = [{key: (value.shape, value.dtype) for key, value in state.items()} for state in built]
    assert shapes[0] == shapes[1]


def test_building_leaves_torch_as_it_was() -> None:
    """After a build, torch.empty and the default device are the usual ones."""
    zoo.build("squeezenet1_0")
    assert torch.empty(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet_50", r"no torchvision model is called 'resnet_50'; did you mean resnet50 or"),
        ("", "no torchvision model is called ''"),
        ("json:JSONDecoder", "json:JSONDecoder must return an nn.Module, got JSONDecoder"),
        ("torch.nn:Lineal", "'torch.nn' has no 'Lineal'; did you mean Linear"),
        ("torch.nn:Linear", r"torch.nn:Linear failed: TypeError: .*missing 2 required positional arguments"),
    ],
)
def test_wrong_models(spec: str, message: str) -> None:
    """A wrong MODEL string is refused with what is near, or what is missing."""
    with pytest.raises(InputError, match=message):
        zoo.build(spec)


def test_dotted_attribute() -> None:
    """The part after the colon may be dotted."""
    assert type(zoo.build("torch:nn.Identity").model) is torch.nn.Identity


# One per family whose published cost is that of the very model torchvision builds without weights.
PUBLISHED = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b1", "inception_v3", "maxvit_t", "mnasnet0_75",
    "mobilenet_v3_small", "mvit_v2_s", "quantized_resnet18", "r2plus1d_18", "raft_small", "regnet_y_400mf", "resnet50",
    "s3d", "shufflenet_v2_x0_5", "squeezenet1_1", "ssd300_vgg16", "swin_t", "swin_v2_t", "vgg11", "vit_b_16",
    "fasterrcnn_resnet50_fpn", "fcos_resnet50_fpn",
)  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_at_the_default_input_are_the_published_ones(name: str) -> None:
    """Torchvision publishes GFLOPS (its word for 10^9 MACs) with three decimals: the same to the last."""
    built = zoo.build(name)
    published = models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert round(fxprof.analyze(built.model.eval(), *built.inputs).macs / 1e9, 3) == published


def test_options_reach_the_builder(here: Path) -> None:
    """Keyword arguments go to what builds the model; what it does not take is one sentence."""
    narrow = zoo.build("resnet50", options={"width_per_group": 32})
    own = zoo.build("my_net.py:Net", options={"width": 32})
    assert narrow.model.get_parameter("layer1.0.conv1.weight").shape == (32, 64, 1, 1)
    assert own.model.get_parameter("a.weight").shape == (32, 10)
    with pytest.raises(InputError, match=r"resnet50 with widht=3 failed: TypeError: .*unexpected keyword argument"):
        zoo.build("resnet50", options={"widht": 3})
    with pytest.raises(InputError, match=r"my_net.py:net is a model already and takes no width; name what builds it"):
        zoo.build("my_net.py:net", options={"width": 32})
