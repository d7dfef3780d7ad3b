"""The zoos: for each its model names and how to build one with its default input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils._pytree import tree_map

from fxprof import zoo
from fxprof.errors import InputError
from fxprof.report import TensorSpec
from fxprof.zoo import Built


@dataclass(frozen=True)
class Zoo:
    """Model names, and a builder of one of them for a device ("cpu" or "meta")."""

    names: Callable[[], list[str]]
    build: Callable[[str, str], Built]


ZOOS = {"torchvision": Zoo(zoo.names, zoo.build)}


def chosen(name: str, models: Sequence[str] | None) -> list[str]:
    """The zoo's models, or those asked for. Raises InputError on one it does not have."""
    known = ZOOS[name].names()
    if unknown := sorted(set(models or ()) - set(known)):
        raise InputError(f"{name} has no model called {', '.join(unknown)}")
    return list(models) if models else known


def built(name: str, model: str, device: str) -> Built:
    """One model in eval mode; on "meta" every parameter and buffer is there, tables included."""
    found = ZOOS[name].build(model, device)
    found.model.eval()
    return Built(found.name, on_meta(found.model), found.inputs, found.kwargs) if device == "meta" else found


def on_meta(model: nn.Module) -> nn.Module:
    """Move everything the module registers to the meta device."""
    return model.to("meta")


def tensors(inputs: Any, make: Callable[[TensorSpec], Any]) -> Any:
    """Replace each spec in a structure of inputs by a tensor."""
    return tree_map(lambda leaf: make(leaf) if isinstance(leaf, TensorSpec) else leaf, inputs)
