"""``loss.backward()`` in a forward, as attacks and test-time training do: recorded as ``torch.autograd.grad``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.store import Store

Record = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]


def backward(values: Store, record: Record, loss: Tensor, gradient: Tensor | None = None, *_: Any, **__: Any) -> None:
    """Record the gradients of all that wants one, and leave them where the model's code looks for them.

    The model's own tensors are left as they are.
    """
    leaves = values.leaves()
    if not leaves:
        return
    given = {"grad_outputs": gradient, "allow_unused": True}
    found = record(torch.autograd.grad, "grad", ((loss,), tuple(leaves)), given)
    for leaf, made in zip(leaves, found):
        if leaf.is_meta and not values.is_own(leaf):
            leaf.grad = made
