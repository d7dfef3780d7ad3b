"""Counting a torch call three ways: by its rule, by torch's own counter, and by the aten ops it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from fxprof import binding, ops
from fxprof.report import Cost
from fxprof.rules import RULES


def meta(*shape: int, grad: bool = False) -> torch.Tensor:
    """A tensor of that shape without data."""
    return torch.empty(shape, device="meta", requires_grad=grad)


def shapes(value: Any) -> Any:
    """``value`` with shapes in place of tensors, as rules get it."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, (tuple, list)):
        return tuple(map(shapes, value))
    if isinstance(value, dict):
        return {key: shapes(entry) for key, entry in value.items()}
    return value


def run(target: Any, *args: Any, **kwargs: Any) -> Any:
    """Call an fx target, a method's name included."""
    return (getattr(torch.Tensor, target) if isinstance(target, str) else target)(*args, **kwargs)


def outputs(value: Any) -> Any:
    """Shapes of what a call returned, None for what is no tensor."""
    return tree_map(lambda leaf: tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else None, value)


def cost(target: Any, *args: Any, **kwargs: Any) -> Cost:
    """What the rule of the call says."""
    return _checked(ops.op_of(target), target, args, kwargs, run(target, *args, **kwargs))


def _checked(name: str, target: Any, args: Any, kwargs: Any, result: Any) -> Cost:
    """Apply the rule, and hold it to what every cost is: whole numbers, none negative, two FLOPs per MAC."""
    found = binding.apply(RULES[name], target, shapes(args), shapes(kwargs), outputs(result))
    assert type(found.macs) is int
    assert type(found.flops) is int
    assert 0 <= 2 * found.macs <= found.flops
    return found


def left_to_right() -> AbstractContextManager[object]:
    """Einsum without opt_einsum, where it is installed."""
    backend = getattr(torch.backends, "opt_einsum", None)
    return backend.flags(enabled=False) if backend is not None and backend.is_available() else nullcontext()


def torch_macs(target: Any, *args: Any, **kwargs: Any) -> int:
    """What torch's FlopCounterMode says, in MACs."""
    with FlopCounterMode(display=False) as counter:
        run(target, *args, **kwargs)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


class _Recorder(TorchDispatchMode):
    """Adds up the rules of every aten op that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Cost()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = ops.op_of(func)
        self.seen.append(name)
        self.total += _checked(name, func, args, kwargs or {}, result)
        return result


def decomposed(target: Any, *args: Any, **kwargs: Any) -> Cost:
    """The sum of the rules of the aten ops that the call runs on meta tensors."""
    with torch.no_grad(), _Recorder() as recorder:
        run(target, *args, **kwargs)
    assert recorder.seen, "the call ran no op"
    return recorder.total
