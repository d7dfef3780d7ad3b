"""The 22 ordinary situations that other loaders were measured on: each fully right, and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from fxprof.checkpoint.loading import load

State = dict[str, Tensor]


@dataclass(frozen=True)
class Situation:
    """A model, a checkpoint for it, and what should arrive: our name -> the tensor of the weights."""

    model: Callable[[], nn.Module]
    source: Callable[[State], Mapping[str, Any]]
    says: str = ""  # in the printed result
    name: Callable[[str], str | None] = field(default=lambda name: name)


class Detector(nn.Module):
    """A ResNet without its head, one level down."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet18()
        self.backbone.fc = nn.Identity()
        self.box = nn.Linear(512, 4)


def gray() -> nn.Module:
    """A ResNet for one input channel."""
    model = resnet18()
    model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return model


def prefixed(prefix: str) -> Callable[[State], State]:
    """The weights with a prefix before every key."""
    return lambda state: {prefix + name: value for name, value in state.items()}


def half(state: State) -> State:
    """A prefix before every other key."""
    return {("module." if i % 2 else "") + name: value for i, (name, value) in enumerate(state.items())}


def extra(state: State) -> State:
    """Layers that the model does not have."""
    return {**state, "aux.weight": torch.ones(7, 9), "aux.bias": torch.ones(7)}


def no_layer4(state: State) -> State:
    """The last stage is missing."""
    return {name: value for name, value in state.items() if not name.startswith("layer4")}


def untracked(state: State) -> State:
    """A file from before BatchNorm counted its batches."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def transformers_names(state: State) -> State:
    """The names of transformers' ResNetForImageClassification."""
    return {_transformers_name(name): value for name, value in state.items()}


def _transformers_name(name: str) -> str:
    path, _, leaf = name.rpartition(".")
    kind = {"conv": "convolution", "bn": "normalization"}
    if path == "fc":
        return f"classifier.1.{leaf}"
    if not path.startswith("layer"):
        return f"resnet.embedder.embedder.{kind[path[:-1]]}.{leaf}"
    stage, block, *inner = path.split(".")
    at = f"resnet.encoder.stages.{int(stage[-1]) - 1}.layers.{block}"
    if inner[0] == "downsample":
        return f"{at}.shortcut.{'convolution' if inner[1] == '0' else 'normalization'}.{leaf}"
    return f"{at}.layer.{int(inner[0][-1]) - 1}.{kind[inner[0][:-1]]}.{leaf}"


def without(*names: str) -> Callable[[str], str | None]:
    """Everything arrives but these."""
    return lambda name: None if name.startswith(names) else name


SITUATIONS = {
    "plain": Situation(resnet18, dict, "102 of the model's 102 tensors were loaded"),
    "state_dict, epoch, optimizer": Situation(
        resnet18, lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}, "state_dict"
    ),
    "model": Situation(resnet18, lambda s: {"model": s}, "model"),
    "model_state_dict": Situation(resnet18, lambda s: {"model_state_dict": s}, "model_state_dict"),
    "net": Situation(resnet18, lambda s: {"net": s}, "net"),
    "nested": Situation(resnet18, lambda s: {"ckpt": {"state_dict": s}}, "ckpt.state_dict"),
    "raw and ema": Situation(
        resnet18, lambda s: {"state_dict": s, "state_dict_ema": {k: v * 0 for k, v in s.items()}}, "state_dict_ema"
    ),
    "module.": Situation(resnet18, prefixed("module."), "module."),
    "_orig_mod.": Situation(resnet18, prefixed("_orig_mod."), "_orig_mod."),
    "module._orig_mod.": Situation(resnet18, prefixed("module._orig_mod."), "module._orig_mod."),
    "_orig_mod.module.": Situation(resnet18, prefixed("_orig_mod.module."), "_orig_mod.module."),
    "module.module.": Situation(resnet18, prefixed("module.module."), "module.module."),
    "model.": Situation(resnet18, prefixed("model."), "model."),
    "half of the keys": Situation(resnet18, half, "module."),
    "target is DataParallel": Situation(
        lambda: nn.DataParallel(resnet18()), dict, "module.", lambda name: f"module.{name}"
    ),
    "target nests it": Situation(
        Detector, dict, "backbone.", lambda name: None if name.startswith("fc") else f"backbone.{name}"
    ),
    "head 1000 to 2": Situation(lambda: resnet18(num_classes=2), dict, "fc.weight", without("fc")),
    "one channel": Situation(gray, dict, "conv1.weight", without("conv1")),
    "extra layers": Situation(resnet18, extra, "aux"),
    "missing layers": Situation(resnet18, no_layer4, "layer4", without("layer4")),
    "no num_batches_tracked": Situation(
        resnet18, untracked, "102 of the model's 102 tensors were loaded", lambda n: None if "batches" in n else n
    ),
    "names of transformers": Situation(resnet18, transformers_names, "renamed"),
}  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> State:
    """A ResNet-18 with random values everywhere."""
    torch.manual_seed(0)
    state = resnet18().state_dict()
    return {k: torch.rand_like(v) if v.is_floating_point() else v + 7 for k, v in state.items()}


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(name: str, weights: State) -> None:
    """Every wanted tensor arrives, everything else is as it was, and the result says what was done."""
    situation = SITUATIONS[name]
    model = situation.model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = load(model, situation.source(dict(weights)))
    wanted = {our: value for key, value in weights.items() if (our := situation.name(key)) is not None}
    now = model.state_dict()
    right = [key for key, value in wanted.items() if torch.equal(now[key], value)]
    assert len(right) == len(wanted), sorted(set(wanted) - set(right))
    assert all(torch.equal(now[key], value) for key, value in before.items() if key not in wanted)
    assert situation.says in str(result)
