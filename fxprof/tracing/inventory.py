"""What a model consists of, read in one walk: its modules, parameters and buffers with their names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter

from torch import Tensor, nn

from fxprof.errors import InputError, not_made

_parts = attrgetter("_parameters", "_buffers", "_modules")


class Inventory:
    """Modules with all their names (a shared one has several), parameters and buffers with their first.

    ``names`` has the names of parameters and buffers by identity. Raises InputError where a module is not made to the
    end, or holds itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.paths: dict[nn.Module, list[str]] = {}
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}
        try:
            self._walk(model, "")
        except RecursionError as err:
            raise InputError(
                f"modules must not hold one another in a circle, or deeper than Python's recursion limit, but those of "
                f"{type(model).__name__} do"
            ) from err

    def _walk(self, module: nn.Module, path: str) -> None:
        """As named_modules, named_parameters and named_buffers go, in the same order."""
        known = self.paths.get(module)
        prefix = f"{path}." if path else ""
        try:
            parameters, buffers, children = _parts(module)
        except AttributeError as err:
            raise not_made(path, type(module).__name__, str(err.name)) from err
        if known is None:
            self.paths[module] = [path]
            if parameters:
                self._name(prefix, parameters, self.parameters)
            if buffers:
                self._name(prefix, buffers, self.buffers)
        else:
            known.append(path)
        if children:
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
