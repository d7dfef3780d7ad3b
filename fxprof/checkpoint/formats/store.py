"""What a format gives to ``read``: a tree of names whose leaves can be asked for shapes first, values later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch.nn.parameter import is_lazy

from fxprof.errors import CheckpointError, InputError
from fxprof.records import TensorSpec

NOTHING: Mapping[str, Any] = MappingProxyType({})
# A Buffer is newer than the oldest torch that fxprof takes.
_PLAIN = (torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.Tensor))
# For attributes by way of the class; torch's own types know nothing of ``__get__``.
TENSOR: Any = torch.Tensor


class Store(Protocol):
    """An opened checkpoint: nested dicts and lists; some leaves are tensors, or stand for them."""

    format: str
    tree: object
    metadata: Mapping[str, Any]

    def is_tensor(self, leaf: object) -> bool:
        """Whether a leaf is a tensor or stands for one."""
        ...

    def spec(self, leaf: Any) -> TensorSpec:
        """Shape and dtype of such a leaf, from the listing alone."""
        ...

    def tensor(self, leaf: Any) -> torch.Tensor:
        """Its values, on the CPU: a view on the file where the format allows."""
        ...

    def value(self, leaf: Any) -> Any:
        """What a leaf that is no tensor holds."""
        ...

    def verify(self, leaves: Iterable[Any]) -> None:
        """Check the file's own checksums over these leaves. Raises CheckpointError."""
        ...

    def settled(self, leaves: Iterable[Any]) -> Store:
        """This store, or one that can serve these leaves where it cannot (quantized, sparse)."""
        ...

    def close(self) -> None:
        """Let go of the file; tensors handed out stay valid."""
        ...


class MemoryStore:
    """Tensors that are in memory already: a mapping, a module, or what a trusted file unpickled into.

    Methods are looked up on the class (``torch.Tensor.shape.__get__``), never on the object: an
    unpickled tensor may carry an attribute named like any of them.
    """

    def __init__(self, tree: object, form: str = "mapping", metadata: Mapping[str, Any] = NOTHING) -> None:
        self.format = form
        self.tree = tree
        self.metadata = metadata

    def is_tensor(self, leaf: object) -> bool:
        """Whether the leaf is a tensor."""
        return isinstance(leaf, torch.Tensor)

    def spec(self, leaf: Any) -> TensorSpec:
        """Shape and dtype."""
        return spec_of(leaf)

    def tensor(self, leaf: Any) -> torch.Tensor:
        """The same values without graph and without attributes."""
        with torch.no_grad():
            return torch.Tensor.detach(leaf)

    def value(self, leaf: Any) -> Any:
        """The leaf."""
        return leaf

    def verify(self, leaves: Iterable[Any]) -> None:
        """Memory has no checksum."""

    def settled(self, leaves: Iterable[Any]) -> Store:
        """Itself: it can serve whatever it holds."""
        return self

    def close(self) -> None:
        """Nothing to let go of."""


def spec_of(tensor: torch.Tensor) -> TensorSpec:
    """Shape and dtype of a tensor, whatever attributes it carries."""
    if TENSOR.is_nested.__get__(tensor):
        raise CheckpointError("every tensor of the checkpoint must have one shape, but one is nested: save its parts")
    if is_lazy(tensor):
        raise CheckpointError(
            "every tensor of the checkpoint must have a shape, but one has none before the first forward: "
            "run the model once on an input, then save it"
        )
    shape: tuple[int, ...] = tuple(TENSOR.shape.__get__(tensor))
    return make_spec(shape, str(TENSOR.dtype.__get__(tensor)))


def make_spec(shape: tuple[int, ...], dtype: str) -> TensorSpec:
    """A TensorSpec; what cannot be one is the file's fault."""
    try:
        return TensorSpec(shape, dtype)
    except InputError as err:
        raise CheckpointError(f"a tensor of the checkpoint cannot be read: {err}") from err


def is_regular(tensor: torch.Tensor) -> bool:
    """Whether size, stride and storage say everything: not sparse, quantized, nested, conjugated or a subclass."""
    return (
        type(tensor) in _PLAIN
        and TENSOR.layout.__get__(tensor) is torch.strided
        and not TENSOR.is_quantized.__get__(tensor)
        and not TENSOR.is_conj(tensor)
        and not TENSOR.is_neg(tensor)
        and not TENSOR.is_nested.__get__(tensor)
    )
