"""Break a call without a rule down into the aten ops it runs, on meta tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.passes.shape_prop import TensorMetadata
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof.tracing.graph import Node


@dataclass(frozen=True)
class AtenCall:
    """One aten op: its tensors are given by their shapes."""

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any


def decompose(node: Node, known: Callable[[Any], bool]) -> list[AtenCall]:
    """The aten ops that ``node`` runs, each broken down further until it is ``known`` or cannot be.

    A call that cannot run on meta tensors comes back as itself, for the caller to report.
    """
    args, kwargs = _materialized(node.args), _materialized(node.kwargs)
    target = getattr(Tensor, node.target) if isinstance(node.target, str) else node.target
    opaque = AtenCall(node.target, (), {}, None)
    recorder = _Recorder(known)
    try:
        with torch.no_grad(), recorder:
            target(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError):
        return [opaque]
    return recorder.calls or [opaque]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, known: Callable[[Any], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self.calls: list[AtenCall] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self._known(func):
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        self.calls.append(AtenCall(func, _shapes(args), _shapes(kwargs), _shapes(result)))
        return result


def _materialized(argument: Any) -> Any:
    """An argument with meta tensors in place of nodes."""
    if isinstance(argument, Node):
        return _meta(argument.tensor_meta)  # None for an object that is no tensor
    if isinstance(argument, dict):
        return {
            key: torch.device("meta") if key == "device" else _materialized(value) for key, value in argument.items()
        }
    if isinstance(argument, (tuple, list)):
        return (
            type(argument)([_materialized(value) for value in argument])
            if type(argument) in (tuple, list)
            else [_materialized(value) for value in argument]
        )
    return argument


def _meta(meta: Any) -> Any:
    if isinstance(meta, TensorMetadata):
        if len(meta.stride) != len(meta.shape):
            return torch.empty(meta.shape, dtype=meta.dtype, device="meta")
        return torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device="meta")
    if isinstance(meta, (tuple, list)):
        return tuple(_meta(item) for item in meta)
    return meta


def _shapes(item: Any) -> Any:
    if isinstance(item, Tensor):
        return tuple(item.shape)
    if isinstance(item, dict):
        return {key: _shapes(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return tuple([_shapes(value) for value in item])
    return item
