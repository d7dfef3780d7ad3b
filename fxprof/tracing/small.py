"""Whether control data stays small: values are kept for what is, shapes alone for what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.calls import Call
from fxprof.tracing.choices import Choice
from fxprof.tracing.devices import LITERALS
from fxprof.tracing.names import written_argument
from fxprof.tracing.values import CHOSEN_NUMEL, CONTROL_NUMEL, VIEWED_NUMEL, small_enough, storages, tensors_in

# Their results have no more elements than their one tensor, or than their tensors broadcast together.
_NEVER_LARGER = frozenset(
    """unsqueeze squeeze view reshape flatten ravel unflatten permute transpose t swapaxes swapdims movedim contiguous
    clone detach long int bool float to type_as neg abs logical_not bitwise_not __invert__ all any sum cumsum max min
    amax amin argmax argmin argsort sort flip roll tril triu unbind chunk split narrow select""".split()
)
_BROADCAST = frozenset(
    """add sub mul div true_divide floor_divide remainder eq ne lt le gt ge __eq__ __ne__ __lt__ __le__ __gt__ __ge__
    __and__ __or__ __xor__ logical_and logical_or __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ masked_fill where
    maximum minimum pow""".split()
)


def result_is_small(call: Call, on_meta: Callable[[Call], Any]) -> bool:
    """Whether what the call returns is small enough to keep its values, as all it takes are."""
    if call.name in LITERALS:
        return True
    if written_argument(call.name, call.args, call.kwargs) is not None:
        return True  # an argument
    if call.name in ("__getitem__", "getitem") and next(tensors_in(call.args[1]), None) is None:
        return True
    chosen = any(isinstance(fact, Choice) for value in call.values for fact in value.assumed)
    limit = CHOSEN_NUMEL if chosen else CONTROL_NUMEL
    if call.name in _BROADCAST and not call.kwargs:
        return small_enough(_broadcast(tensors_in(call.args)), limit)
    if call.name in _NEVER_LARGER and all(small_enough(value.handle.shape, limit) for value in call.values):
        return True
    call = call.with_tensors(lambda value: value.meta)
    try:
        result = on_meta(call)
    except NotImplementedError:
        return True  # no meta kernel: its inputs are control data, hence small
    large = [tensor for tensor in tensors_in(result) if not small_enough(tensor.shape, limit)]
    if not large:
        return True
    given = {storages(tensor) for tensor in tensors_in((call.args, call.kwargs))}
    return all(storages(tensor) in given and small_enough(tensor.shape, VIEWED_NUMEL) for tensor in large)


def _broadcast(tensors: Iterable[Tensor]) -> torch.Size:
    """At least as many elements as the tensors have when broadcast together."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    rank = max(map(len, shapes), default=0)
    return torch.Size(map(max, zip(*((1,) * (rank - len(shape)) + shape for shape in shapes))))
