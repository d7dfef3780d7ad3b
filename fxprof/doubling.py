"""``scaling``: a self-check that doubles batch, image size or sequence length, and looks how each cost grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import sqrt
from typing import Any

from torch import nn

from fxprof.analysis import analyze
from fxprof.errors import FxprofError, InputError, check_named, shown
from fxprof.growth import Doubling, Scaling, compared
from fxprof.report import Report, TensorSpec
from fxprof.resize import resized
from fxprof.tracing.inputs import is_shape

DIMENSIONS = ("batch", "size", "seq")


def scaling(
    model: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    dimensions: Iterable[str] | None = None,
    **options: Any,
) -> Scaling:
    """Count ``model`` at ``inputs`` and with each dimension doubled, and compare every module.

    A convolution grows with the square of an image's size, attention with the square of a sequence's length,
    everything with the batch; a module that does otherwise is worth a look, or is counted wrongly.

    Args:
        model: as of ``analyze``; left untouched.
        *inputs: as of ``analyze``.
        kwargs: the same for keyword arguments.
        dimensions: of ``batch``, ``size`` (height and width) and ``seq``; by default those that the inputs have.
        **options: more arguments of ``analyze``.

    Raises:
        InputError: the inputs have no such dimension.
        FxprofError: the model cannot be counted at the inputs; where only the doubled ones fail, the doubling says so.
    """
    check_named("kwargs", kwargs, "forward's arguments by name")
    if dimensions is not None and (isinstance(dimensions, str) or not isinstance(dimensions, Iterable)):
        raise InputError(f"dimensions must be a list of names, got {shown(dimensions)}")
    dimensions = None if dimensions is None else list(dimensions)
    given = tuple(map(_described, inputs))
    named = {name: _described(value) for name, value in (kwargs or {}).items()}
    sizes = _sizes([*given, *named.values()])
    if not sizes:
        raise InputError("scaling must find a batch, an image or a sequence among the inputs, got none")
    if wrong := [name for name in dimensions or () if not isinstance(name, str) or name not in sizes]:
        raise InputError(
            f"dimensions must be among those that the inputs have ({', '.join(sizes) or 'none'}), got {shown(wrong[0])}"
        )
    before = analyze(model, *given, kwargs=named, **options)
    chosen = [name for name in DIMENSIONS if name in (sizes if dimensions is None else dimensions)]
    return Scaling(
        before.name, tuple(_doubled(model, given, named, name, sizes[name], before, options) for name in chosen)
    )


def _doubled(
    model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, size: tuple[int, ...],
    before: Report, options: Mapping[str, Any],
) -> Doubling:  # fmt: skip
    # Height and width become one size; where they differ, the side of a square of their area has grown.
    first, second = sqrt(size[0] * size[-1]), 2 * max(size)
    try:
        larger, named = resized(inputs, kwargs, {name: second})
        after = analyze(model, *larger, kwargs=named, **options)
    except FxprofError as err:
        return Doubling(name, first, second, error=str(err))
    return Doubling(name, first, second, tuple(compared(before, after)))


def _described(value: Any) -> Any:
    """A bare shape as a TensorSpec; anything else as it is."""
    return TensorSpec(value) if is_shape(value) else value


def _sizes(values: list[Any]) -> dict[str, tuple[int, ...]]:
    """What ``resized`` would change: the batch, height and width, the length."""
    found: dict[str, tuple[int, ...]] = {}
    for tensor in _tensors(values):
        shape = tuple(tensor.shape)
        if shape:
            found.setdefault("batch", (shape[0],))
        if len(shape) >= 4:
            found.setdefault("size", shape[-2:])
        elif len(shape) == 3 or (len(shape) == 2 and "int" in str(tensor.dtype)):
            found.setdefault("seq", (shape[1],))
    return {name: size for name, size in found.items() if min(size)}


def _tensors(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            yield value
