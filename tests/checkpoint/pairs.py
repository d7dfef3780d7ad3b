"""Architectures under two sets of real names: torchvision's models, and what other libraries call their tensors.

``names.json`` holds, in the other library's order, its key -> [torchvision's key, the key's shape there].
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from fxprof.checkpoint.graph import describe
from fxprof.checkpoint.plan import Target
from fxprof.records import Shape

Table = dict[str, tuple[str, Shape]]

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "resnet18 transformers": lambda: models.resnet18(num_classes=10),
    "vit timm": lambda: models.VisionTransformer(32, 16, 2, 2, 16, 64, num_classes=10),
    "vit transformers": lambda: models.VisionTransformer(32, 16, 2, 2, 16, 64, num_classes=10),
    "mobilenet_v3_small timm": lambda: models.mobilenet_v3_small(num_classes=10),
    "convnext transformers": lambda: models.ConvNeXt(
        [CNBlockConfig(8, 16, 2), CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)], num_classes=10
    ),
    "swin timm": lambda: models.SwinTransformer([4, 4], 12, [2, 2], [2, 4], [7, 7], num_classes=10),
}


def table(name: str) -> Table:
    """The other library's keys, what torchvision calls them, and their shapes."""
    found = json.loads(Path(__file__).with_name("names.json").read_text(encoding="utf-8"))[name]
    return {key: (mine, tuple(shape)) for key, (mine, shape) in found.items()}


def there(name: str) -> dict[str, Shape]:
    """A checkpoint under the other library's names."""
    return {key: shape for key, (_, shape) in table(name).items()}


def here(name: str) -> Target:
    """Torchvision's model."""
    with torch.device("meta"):
        return describe(MAKERS[name]())


def truth(name: str) -> dict[str, tuple[str, ...]]:
    """Torchvision's key -> the other library's; q, k and v of one are three."""
    found: dict[str, tuple[str, ...]] = {}
    for key, (mine, _) in table(name).items():
        found[mine] = (*found.get(mine, ()), key)
    return found
