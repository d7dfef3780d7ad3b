"""Inputs of another batch, image size or sequence length, made from those that a model is counted at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fxprof.errors import InputError
from fxprof.report import TensorSpec

_WANTED = {
    "batch": "a tensor whose first dimension is the batch, or a list of images",
    "size": "an image: a tensor of 4 or more dimensions, height and width last, or a list of images",
    "seq": "a sequence: an integer tensor of 2 dimensions, or a tensor of 3, the length second",
}


def resized(
    inputs: tuple[Any, ...], kwargs: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put other sizes by "batch", "size" and "seq" into positional and keyword arguments.

    Height and width become ``size``; the batch is the first dimension of every tensor that shares that of the
    first one (or the number of images in a list); the length is the second dimension of integer tensors (n, length),
    or where there is none of tensors (n, length, features), as far as they share that of the first one. Tensors with
    values repeat them. Raises InputError where nothing has such a dimension.
    """
    named: dict[str, Any] = {**{str(index): value for index, value in enumerate(inputs)}, **kwargs}
    for kind, size in sizes.items():
        changed = {name: value for name, value in _CHANGES[kind](named, size).items() if value is not named[name]}
        if not changed:
            taken = ", ".join(f"{'x'.join(map(str, t.shape))}" for t in _tensors(named)) or "no tensors"
            raise InputError(f"{kind} must find {_WANTED[kind]}, among {taken}; give others with --input")
        named |= changed
    return tuple(named[str(index)] for index in range(len(inputs))), {name: named[name] for name in kwargs}


def _batch(named: Mapping[str, Any], size: int) -> dict[str, Any]:
    batch = next((value.shape[0] for value in named.values() if _is_tensor(value) and value.shape), None)
    return {
        name: [value[index % len(value)] for index in range(size)]
        if _is_images(value)
        else _with(value, 0, size)
        if _is_tensor(value) and value.shape and value.shape[0] == batch
        else value
        for name, value in named.items()
    }


def _size(named: Mapping[str, Any], size: int) -> dict[str, Any]:
    def change(value: Any) -> Any:
        if _is_images(value):
            return [_with(_with(image, -1, size), -2, size) for image in value]
        if _is_tensor(value) and len(value.shape) >= 4:
            return _with(_with(value, -1, size), -2, size)
        return value

    return {name: change(value) for name, value in named.items()}


def _seq(named: Mapping[str, Any], size: int) -> dict[str, Any]:
    tensors = [value for value in named.values() if _is_tensor(value)]
    ids = [value for value in tensors if len(value.shape) == 2 and _is_integer(value)]
    first = next(iter(ids or [value for value in tensors if len(value.shape) == 3]), None)
    if first is None:
        return dict(named)
    rank, length = len(first.shape), first.shape[1]
    return {
        name: _with(value, 1, size)
        if _is_tensor(value) and len(value.shape) == rank and value.shape[1] == length
        else value
        for name, value in named.items()
    }


_CHANGES: Mapping[str, Callable[[Mapping[str, Any], int], dict[str, Any]]] = {
    "batch": _batch, "size": _size, "seq": _seq,
}  # fmt: skip


def _tensors(named: Mapping[str, Any]) -> Iterator[Any]:
    for value in named.values():
        yield from filter(_is_tensor, value if isinstance(value, (list, tuple)) else [value])


def _is_tensor(value: Any) -> bool:
    """Whether it is a TensorSpec or a tensor, without importing torch to ask."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_images(value: Any) -> bool:
    """Whether it is a list of images (channels, height, width), as detectors take them."""
    return isinstance(value, list) and bool(value) and all(_is_tensor(item) and len(item.shape) == 3 for item in value)


def _is_integer(value: Any) -> bool:
    return "int" in str(value.dtype) or "bool" in str(value.dtype)


def _with(value: Any, axis: int, size: int) -> Any:
    """A tensor of another size along one axis; values come again from the first on where there are too few."""
    axis %= len(value.shape)
    if isinstance(value, TensorSpec):
        return TensorSpec((*value.shape[:axis], size, *value.shape[axis + 1 :]), value.dtype)
    return value[(slice(None),) * axis + ([index % value.shape[axis] for index in range(size)],)]
