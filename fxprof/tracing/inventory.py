"""What a model consists of, read in one walk: its modules, parameters and buffers with their names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import Tensor, nn


class Inventory:
    """Modules with all their names (a shared one has several), parameters and buffers with their first.

    ``names`` has the names of parameters and buffers by identity.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.paths: dict[nn.Module, list[str]] = {}
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}
        self._walk(model, "")

    def _walk(self, module: nn.Module, path: str) -> None:
        """As named_modules, named_parameters and named_buffers go, in the same order."""
        known = self.paths.get(module)
        prefix = f"{path}." if path else ""
        held = vars(module)
        if known is None:
            self.paths[module] = [path]
            if tensors := held["_parameters"]:
                self._name(prefix, tensors, self.parameters)
            if tensors := held["_buffers"]:
                self._name(prefix, tensors, self.buffers)
        else:
            known.append(path)
        if children := held["_modules"]:
            for name, child in children.items():
                if child is not None:
                    self._walk(child, prefix + name)

    def _name(self, prefix: str, tensors: dict[str, Tensor | None], found: dict[str, Tensor]) -> None:
        names = self.names
        for name, tensor in tensors.items():
            if tensor is not None and (key := id(tensor)) not in names:
                names[key] = full = prefix + name
                found[full] = tensor

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Parameters, then buffers."""
        return chain(self.parameters.values(), self.buffers.values())
