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
        if known is None:
            self.paths[module] = [path]
            for found, tensors in ((self.parameters, module._parameters), (self.buffers, module._buffers)):
                for name, tensor in tensors.items():
                    if tensor is not None and id(tensor) not in self.names:
                        self.names[id(tensor)] = full = prefix + name
                        found[full] = tensor
        else:
            known.append(path)
        for name, child in module._modules.items():
            if child is not None:
                self._walk(child, prefix + name)

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Parameters, then buffers."""
        return chain(self.parameters.values(), self.buffers.values())
