"""One torchvision model of every family, for the tests that trace real ones."""

from __future__ import annotations

from typing import Any

import torch
import torchvision

from fxprof.report import TensorSpec
from fxprof.zoo import Built, build


def smallest_of_each_family() -> dict[str, str]:
    """Torchvision source file -> its model with the fewest parameters."""
    found: dict[str, tuple[int, str]] = {}
    for name in torchvision.models.list_models():
        family = torchvision.models.get_model_builder(name).__module__.removeprefix("torchvision.models.")
        params = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
        found[family] = min(found.get(family, (params, name)), (params, name))
    return {family: name for family, (_, name) in sorted(found.items())}


FAMILIES = smallest_of_each_family()
EXECUTABLE = {
    family: name for family, name in FAMILIES.items() if not family.startswith(("detection", "optical_flow", "video"))
}


def small(name: str, device: str = "cpu") -> Built:
    """A torchvision model with an input that is as small as its family takes."""
    made = build(name, device)
    return Built(made.name, made.model, tuple(shrunk(spec) for spec in made.inputs), made.kwargs)


def shrunk(item: Any) -> Any:
    """Quarter the images of detectors and optical flow, which take any size."""
    if isinstance(item, list):
        return [shrunk(entry) for entry in item]
    assert isinstance(item, TensorSpec)
    if len(item.shape) == 3 or item.shape[-1] > 384:
        height, width = (size // 32 * 8 for size in item.shape[-2:])
        return TensorSpec((*item.shape[:-2], max(height, 128), max(width, 128)), item.dtype)
    return item


def random_like(spec: Any) -> Any:
    """Real tensors for specs, in any nesting."""
    if isinstance(spec, TensorSpec):
        return torch.randn(spec.shape)
    return [random_like(item) for item in spec]
