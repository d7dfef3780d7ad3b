"""Elementwise functions of one tensor, of a tensor and a number, and of two tensors of one dtype."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fxprof.tracing.shapes.strides import empty, empty_like, is_ambiguous, is_dense, is_plain, ordered_like


def _unary(input: Any = None, *_: Any, inplace: bool = False, **rest: Any) -> Any:
    """A floating tensor of any shape -> the same shape, dtype and order of the dimensions in memory."""
    if not isinstance(input, Tensor) or not input.dtype.is_floating_point or "out" in rest:
        return NotImplemented
    if inplace:
        return input
    return _new(input)


def _new(tensor: Tensor) -> Any:
    """A result laid out like a tensor, without its holes."""
    if is_plain(tensor) or is_dense(tensor):
        return empty_like(tensor)
    made = ordered_like(tensor)
    return NotImplemented if made is None else made


def _unary_in_place(input: Any = None, *_: Any, **__: Any) -> Any:
    """A floating tensor -> itself."""
    return input if isinstance(input, Tensor) and input.dtype.is_floating_point else NotImplemented


def _binary(input: Any = None, other: Any = None, **rest: Any) -> Any:
    """Floating tensors of one dtype, or one and a number -> their common shape."""
    if rest and set(rest) != {"alpha"}:
        return NotImplemented
    if isinstance(input, Tensor) and type(other) in (int, float, bool):
        return _unary(input)
    if not isinstance(other, Tensor) or (type(input) not in (int, float, bool) and not isinstance(input, Tensor)):
        return NotImplemented
    if not isinstance(input, Tensor):
        return _unary(other)
    if input.dtype is not other.dtype or not input.dtype.is_floating_point:
        return NotImplemented
    if not input.dim() or not other.dim():
        return NotImplemented
    if input.shape == other.shape:
        made = empty_like(input) if input.stride() == other.stride() and is_dense(input) else ordered_like(input)
        return NotImplemented if made is None else made  # the first operand's order decides
    shape = _common(tuple(input.shape), tuple(other.shape))
    if shape is None:
        return NotImplemented
    for full, small in ((input, other), (other, input)):
        if full.shape == shape and is_dense(full) and _agrees(full, small):
            return empty_like(full)
    return _broadcast(input, other, shape)


def _reflected(input: Any = None, other: Any = None, **rest: Any) -> Any:
    """As ``_binary``, with the operands the other way round."""
    return _binary(other, input, **rest)


def _agrees(full: Tensor, small: Tensor) -> bool:
    """Whether both order in memory alike the dimensions that ``small`` is not repeated in.

    Then torch's TensorIterator, which sorts dimensions by the strides of all operands, lays its result out as ``full``.
    """
    strides, shape = full.stride(), full.shape
    if 0 in strides:
        return False
    skipped = full.dim() - small.dim()
    found = []
    for at, (size, stride) in enumerate(zip(small.shape, small.stride()), skipped):
        if stride and size == shape[at]:
            found.append((strides[at], size, stride))
    found.sort()
    return all(a[:2] < b[:2] and (a[2], a[1]) < (b[2], b[1]) for a, b in pairwise(found))


def _broadcast(input: Tensor, other: Tensor, shape: tuple[int, ...]) -> Any:
    """Contiguous tensors, none of which could be taken for channels-last."""
    if not (input.is_contiguous() and other.is_contiguous()):
        return NotImplemented
    if input.shape != other.shape and (1 in shape[1:] or not (is_plain(input) and is_plain(other))):
        return NotImplemented  # the strides of a size of 1 are arbitrary
    for tensor in (input, other):
        if tensor.shape == shape and is_ambiguous(tensor):
            return NotImplemented
    return empty(shape, input.dtype)


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that two broadcast to; None where they do not."""
    if len(a) < len(b):
        a, b = b, a
    b = (1,) * (len(a) - len(b)) + b
    if any(x != y and x != 1 and y != 1 for x, y in zip(a, b)):
        return None
    return tuple([y if x == 1 else x for x, y in zip(a, b)])


def _binary_in_place(input: Any = None, other: Any = None, **rest: Any) -> Any:
    """A floating tensor, and another or a number that fits into it -> the first."""
    if not isinstance(input, Tensor) or not input.dtype.is_floating_point or (rest and set(rest) != {"alpha"}):
        return NotImplemented
    if type(other) in (int, float, bool):
        return input
    if not isinstance(other, Tensor) or other.dtype is not input.dtype:
        return NotImplemented
    return input if _common(tuple(input.shape), tuple(other.shape)) == tuple(input.shape) else NotImplemented


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """A floating tensor -> itself where nothing is dropped or it is written to, else another like it."""
    if not input.dtype.is_floating_point or not 0.0 <= p <= 1.0:
        return NotImplemented
    if not training or p == 0 or inplace:
        return input
    return empty_like(input) if is_plain(input) or is_dense(input) else NotImplemented


def _softmax(input: Tensor, dim: Any = None, dtype: Any = None) -> Any:
    """A contiguous floating tensor -> another."""
    if type(dim) is not int or not -input.dim() <= dim < input.dim() or dtype is not None:
        return NotImplemented
    if not input.dtype.is_floating_point or not is_plain(input) or is_ambiguous(input):
        return NotImplemented
    return empty_like(input)


def _softmax_stacked(input: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """The same, with the parameters of ``torch.nn.functional``."""
    return _softmax(input, dim, dtype)


def _to(input: Tensor, dtype: Any) -> Any:
    """To a dtype: the tensor itself where it has it."""
    if not isinstance(dtype, torch.dtype):
        return NotImplemented
    if dtype is input.dtype:
        return input
    if not (is_plain(input) or is_dense(input)):
        return NotImplemented
    return torch.empty_strided(input.shape, input.stride(), dtype=dtype, device="meta")


_UNARY = (
    "relu gelu silu sigmoid tanh hardswish hardsigmoid hardtanh relu6 elu leaky_relu mish softplus logsigmoid "
    "exp log sqrt rsqrt neg negative abs square cos sin erf reciprocal __neg__"
).split()
_UNARY_IN_PLACE = "relu_ sigmoid_ tanh_ exp_ sqrt_ rsqrt_ neg_ abs_ clamp_ hardtanh_ leaky_relu_ elu_".split()
_BINARY = (
    "add sub mul div true_divide multiply subtract __add__ __radd__ __sub__ __mul__ __rmul__ __truediv__ __div__"
).split()
_REFLECTED = "__rsub__ __rtruediv__ __rdiv__".split()
_BINARY_IN_PLACE = "add_ sub_ mul_ div_ __iadd__ __isub__ __imul__ __itruediv__".split()


def _table(names: list[str], form: Callable[..., Any]) -> dict[Any, Callable[..., Any]]:
    """The form for every function of these names."""
    homes = (torch, F, Tensor, torch._C._nn)
    return {getattr(home, name): form for home in homes for name in names if hasattr(home, name)}


SHAPES: dict[Any, Callable[..., Any]] = {
    **_table(_UNARY, _unary),
    **_table(_UNARY_IN_PLACE, _unary_in_place),
    **_table(_BINARY, _binary),
    **_table(_REFLECTED, _reflected),
    **_table(_BINARY_IN_PLACE, _binary_in_place),
    Tensor.to: _to,
    F.dropout: _dropout,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    F.softmax: _softmax_stacked,
}
