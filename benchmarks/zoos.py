"""The zoos: for each its model names and how to build one with its default input."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

import fxprof
from fxprof import zoo
from fxprof.errors import InputError
from fxprof.report import TensorSpec
from fxprof.zoo import Built


@dataclass(frozen=True)
class Zoo:
    """Model names, a builder of one of them for a device ("cpu" or "meta"), and how ``coverage`` places them."""

    names: Callable[[], list[str]]
    build: Callable[[str, str], Built]
    places: tuple[str, ...] = ("cpu", "meta")  # of "cpu", "meta", "report"; see ``built``
    reference: tuple[str, ...] = ("meta", "cpu")  # where ``accuracy`` may run its models, in this order
    family: Callable[[str], str] = str  # models that are alike have one family
    sample: int | None = None  # how many a default comparison takes; None: all
    first: str = ""  # analyzed in the parent, so that its children need import nothing


def _timm_family(name: str) -> str:
    return str(importlib.import_module("timm.models._registry")._model_to_module[name])


def _transformers_family(name: str) -> str:
    return name.replace("-", "_").split("_")[0].rstrip("0123456789.")


# In memory, the models of the larger zoos would not fit.
ZOOS = {
    "torchvision": Zoo(zoo.names, zoo.build),
    "timm": Zoo(
        lambda: zoo.names("timm"),
        lambda name, device: zoo.build(f"timm:{name}", device),
        places=("report",), reference=("meta",), family=_timm_family, sample=100, first="resnet18",
    ),
    "transformers": Zoo(
        lambda: zoo.names("hf"),
        lambda name, device: zoo.build(f"hf:{name}", device),
        places=("report",), reference=("meta",), family=_transformers_family, sample=60, first="bert",
    ),
}  # fmt: skip


def chosen(name: str, models: Sequence[str] | None) -> list[str]:
    """The zoo's models, or those asked for. Raises InputError on one it does not have."""
    known = ZOOS[name].names()
    if unknown := sorted(set(models or ()) - set(known)):
        raise InputError(f"{name} has no model called {', '.join(unknown)}")
    return list(models) if models else known


def sampled(name: str, models: Sequence[str]) -> list[str]:
    """The zoo's sample of ``models``, spread over its families: the first of each, then the second of each, ..."""
    count = ZOOS[name].sample
    if count is None or len(models) <= count:
        return list(models)
    families: dict[str, list[str]] = {}
    for model in models:
        families.setdefault(ZOOS[name].family(model), []).append(model)
    ranked = sorted((place, model) for members in families.values() for place, model in enumerate(members))
    step = len([model for place, model in ranked if place == 0]) / count
    if step > 1:  # more families than asked for: evenly many of them
        return [ranked[int(i * step)][1] for i in range(count)]
    return sorted(model for _, model in ranked[:count])


def built(name: str, model: str, place: str) -> Built:
    """One model in eval mode.

    ``place`` is "cpu"; or "meta", with everything it registers there, tables included; or "report", as
    ``fxprof report`` builds it: weights on the meta device, tables with their values.
    """
    found = ZOOS[name].build(model, "cpu" if place == "cpu" else "meta")
    found.model.eval()
    if place == "meta":
        found.model.to("meta")
    return found


def warm_up(name: str) -> None:
    """Import in this process what the models of a zoo need, once for all processes forked from it."""
    if ZOOS[name].first:
        made = built(name, ZOOS[name].first, "report")
        fxprof.analyze(made.model, *made.inputs, kwargs=dict(made.kwargs))


def tensors(inputs: Any, make: Callable[[TensorSpec], Any], device: str) -> Any:
    """Replace each spec in a structure of inputs by a tensor, and put the tensors on the device."""

    def leaf(item: Any) -> Any:
        if isinstance(item, TensorSpec):
            return make(item)
        return item.to(device) if isinstance(item, Tensor) else item

    return tree_map(leaf, inputs)
