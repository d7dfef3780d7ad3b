"""Small models for the tests of loading, and what "unchanged" means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Two convolutions with a norm, and a classifier."""

    def __init__(self, classes: int = 5, channels: int = 3, middle: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, middle, 3, padding=1)
        self.fc = nn.Linear(middle, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        return self.fc(x.mean((2, 3)))


class Renamed(nn.Module):
    """The same network under other names."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.norm(self.stem(x)).relu()).relu()
        return self.head(x.mean((2, 3)))


class Tied(nn.Module):
    """An embedding whose matrix is also the output layer's."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 4)
        self.mix = nn.Linear(4, 4)
        self.out = nn.Linear(4, 11, bias=False)
        if tie:
            self.out.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.mix(self.table(ids)))


def made(build: Callable[..., Any], *args: Any, seed: int = 0, **kwargs: Any) -> Any:
    """A model with random values of its own in every parameter and floating buffer."""
    torch.manual_seed(seed)
    model = build(*args, **kwargs)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 1.0)
    return model


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything a load could change: values, identity, memory, gradients wanted."""
    tensors = dict(model.state_dict(keep_vars=True))
    return {name: (id(t), t.data_ptr(), t.requires_grad, t.dtype, t.detach().clone()) for name, t in tensors.items()}


def unchanged(model: nn.Module, before: dict[str, Any]) -> bool:
    """Whether the model is bit-identical to its snapshot, and made of the same tensors."""
    now = snapshot(model)
    return now.keys() == before.keys() and all(
        now[name][:4] == before[name][:4] and torch.equal(now[name][4].view(-1), before[name][4].view(-1))
        for name in now
    )


def same(model: nn.Module, state: Any) -> bool:
    """Whether the model holds the values of another model or of a mapping."""
    state = state.state_dict() if isinstance(state, nn.Module) else state
    own = model.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items())
