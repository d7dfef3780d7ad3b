"""Meta twins in the place of a model's own tensors: torch.func wants all that it differentiates on one device."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fxprof.tracing.inventory import Inventory
from fxprof.tracing.values import meta_twin

_TENSORS = frozenset([Tensor, nn.Parameter])


class Twins:
    """``names`` has the names of the model's tensors by the identity of their twins, too; ``behind`` them are these."""

    def __init__(self, model: Inventory) -> None:
        self.names = dict(model.names)
        self.behind: dict[str, Tensor] = {}
        self._made: dict[int, Tensor] = {}
        for module in model.paths:
            self._replace(module._parameters)
            self._replace(module._buffers)

    def _replace(self, held: dict[str, Any]) -> None:
        """Put twins into a module; who leaves it untouched puts its own tensors back."""
        for key, tensor in held.items():
            if type(tensor) in _TENSORS and _may_need_gradient(tensor):
                held[key] = self._made.get(id(tensor)) or self._twin(tensor)

    def _twin(self, tensor: Tensor) -> Tensor:
        twin = meta_twin(tensor)
        if isinstance(tensor, nn.Parameter):
            twin = nn.Parameter(twin, requires_grad=tensor.requires_grad)
        name = self.names[id(tensor)]
        self._made[id(tensor)], self.names[id(twin)], self.behind[name] = twin, name, tensor
        return twin


def _may_need_gradient(tensor: Tensor) -> bool:
    """Whether it is a weight or a table of numbers: not one number that nobody trains, which code may read."""
    return tensor.dtype.is_floating_point and (tensor.numel() != 1 or isinstance(tensor, nn.Parameter))
