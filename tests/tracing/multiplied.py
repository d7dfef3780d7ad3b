"""What torch itself multiplies in a model, forward and backward."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tests.tracing.same import tensors


class Products(TorchDispatchMode):
    """Counts MACs as FlopCounterMode does, which cannot follow modules through a gradient taken in a forward."""

    macs = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and count it if torch has a formula."""
        result = op(*args, **(kwargs or {}))
        if op.overloadpacket in flop_registry:
            self.macs += flop_registry[op.overloadpacket](*args, **(kwargs or {}), out_val=result) // 2
        return result


def products(model: nn.Module, x: Tensor, training: bool) -> int:
    """What torch multiplies, with real tensors."""
    with Products() as counted:
        results = [result for result in tensors(copy.deepcopy(model)(x)) if result.requires_grad]
        if training and results:
            torch.stack([result.sum() for result in results]).sum().backward()
    return counted.macs
