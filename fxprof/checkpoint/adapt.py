"""Adaptations: pure functions that make a checkpoint's tensor fit a parameter of another form.

* Outputs stay equal: ``reshape``, ``transpose``, ``fuse_qkv``, ``split_qkv``, ``rope``. They move values, and
  return views where a view can say it.
* Approximations, which training has to settle: ``first_conv``, ``head_rows``, ``pos_embed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fxprof.errors import CheckpointError
from fxprof.records import Shape

# A class token, a distillation token, registers: more tokens than these before the grid are not known.
MOST_PREFIX_TOKENS = 16


def reshape(source: Tensor, shape: Shape) -> Tensor:
    """The same elements in another shape: linear <-> convolution over its whole input, squeezed ones.

    >>> reshape(torch.zeros(8, 12), (8, 3, 2, 2)).shape
    torch.Size([8, 3, 2, 2])
    """
    if source.numel() != prod(shape):
        raise _misfit("reshape", source, shape, "the number of elements differs")
    return source.reshape(shape)


def transpose(source: Tensor) -> Tensor:
    """Swap the two dimensions of a matrix: (in, out) of a Conv1D or of another framework <-> (out, in).

    >>> transpose(torch.zeros(3, 8)).shape
    torch.Size([8, 3])
    """
    if source.ndim != 2:
        raise CheckpointError(f"transpose needs a matrix, got the shape {tuple(source.shape)}")
    return source.mT


def fuse_qkv(sources: Sequence[Tensor]) -> Tensor:
    """Stack query, key and value, in the order given, along the rows.

    >>> fuse_qkv([torch.zeros(4, 4)] * 3).shape
    torch.Size([12, 4])
    """
    if len({source.shape[1:] for source in sources}) != 1:
        shapes = ", ".join(str(tuple(source.shape)) for source in sources)
        raise CheckpointError(f"qkv needs tensors that differ in rows only, got {shapes}")
    return torch.cat(tuple(sources))


def split_qkv(source: Tensor, index: int, parts: int) -> Tensor:
    """The ``index``-th of ``parts`` equal blocks of rows.

    >>> split_qkv(torch.arange(6), 1, 3)
    tensor([2, 3])
    """
    if not 0 <= index < parts or source.ndim == 0 or source.shape[0] % parts:
        raise CheckpointError(f"qkv[{index}/{parts}] does not divide the shape {tuple(source.shape)}")
    rows = source.shape[0] // parts
    return source.narrow(0, index * rows, rows)


def qkv_rows(source: Tensor, start: int, end: int) -> Tensor:
    """The rows of one of q, k and v, of which k and v are smaller where several queries share a key.

    >>> qkv_rows(torch.arange(6), 4, 5)
    tensor([4])
    """
    if source.ndim == 0 or not 0 <= start < end <= source.shape[0]:
        raise CheckpointError(f"qkv[{start}:{end}] lies outside the shape {tuple(source.shape)}")
    return source[start:end]


def rope(source: Tensor, heads: int, to_halves: bool = True) -> Tensor:
    """Permute the rows of a rotary query or key (weight or bias) between the two layouts in use.

    Meta's Llama rotates neighbouring rows (0, 1), (2, 3) of a head; transformers rotates row i with row
    i + half. ``to_halves`` goes from the first to the second.

    >>> rope(torch.arange(8), heads=2)
    tensor([0, 2, 1, 3, 4, 6, 5, 7])
    """
    rows = source.shape[0] if source.ndim else 0
    if heads < 1 or rows == 0 or rows % (2 * heads):
        raise CheckpointError(f"rope with {heads} heads does not divide the shape {tuple(source.shape)}")
    half = rows // heads // 2
    pairs = (heads, half, 2) if to_halves else (heads, 2, half)
    return source.reshape(*pairs, *source.shape[1:]).transpose(1, 2).reshape(source.shape)


def first_conv(source: Tensor, channels: int) -> Tensor:
    """Another number of input channels for a convolution: the sum for one, else repeated and scaled.

    Repeating c channels to n and scaling by c / n keeps the output's size for inputs of equal statistics.

    >>> first_conv(torch.ones(1, 3, 1, 1), 6).flatten()
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """
    if source.ndim < 3 or channels < 1 or source.shape[1] < 1:
        raise CheckpointError(f"first-conv needs a convolution's weight, got the shape {tuple(source.shape)}")
    wide = source.float() if source.dtype.itemsize < 4 else source  # sums in half precision lose digits
    if channels == 1:
        return wide.sum(1, keepdim=True).to(source.dtype)
    had = source.shape[1]
    index = torch.arange(channels, device=source.device) % had
    return (wide.index_select(1, index) * (had / channels)).to(source.dtype)


def head_rows(source: Tensor, current: Tensor) -> Tensor:
    """The rows that both have from ``source``, the others as they are in ``current``.

    >>> head_rows(torch.ones(2), torch.zeros(3))
    tensor([1., 1., 0.])
    """
    if source.ndim != current.ndim or source.ndim == 0 or source.shape[1:] != current.shape[1:]:
        raise _misfit("head-rows", source, tuple(current.shape), "they must differ in the number of rows only")
    rows = min(source.shape[0], current.shape[0])
    return torch.cat([source[:rows].to(current.dtype), current[rows:]])


def weight_norm(scale: Tensor, direction: Tensor) -> Tensor:
    """The weight that weight norm keeps as ``g`` and ``v``: ``v`` with the norms ``g``, along the axis that ``g`` has.

    >>> weight_norm(torch.tensor([[10.0], [1.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([[6., 8.],
            [0., 1.]])
    """
    axes = [axis for axis, size in enumerate(scale.shape) if size > 1]
    kept = axes[0] if axes else 0
    shape = tuple(size if axis == kept else 1 for axis, size in enumerate(direction.shape))
    if scale.ndim and scale.shape != shape:
        raise _misfit("weight-norm", scale, tuple(direction.shape), "g must have the sizes of one axis of v")
    exact = torch.float64 if torch.float64 in (direction.dtype, scale.dtype) else torch.float32
    return torch._weight_norm(direction.to(exact), scale.to(exact), kept if scale.ndim else -1)


def weight_norm_part(weight: Tensor, part: str, axis: int | None) -> Tensor:
    """What weight norm keeps of ``weight``: ``g``, its norms along ``axis`` (of all if None), or ``v``, itself.

    What is zero has no direction: its ``v`` are ones, of which ``g`` makes zeros again.

    >>> weight_norm_part(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "g", 0)
    tensor([[5.],
            [0.]])
    >>> weight_norm_part(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), "v", 0)
    tensor([[3., 4.],
            [1., 1.]])
    """
    if weight.ndim <= (axis or 0):
        raise CheckpointError(f"weight-norm needs a weight with an axis {axis or 0}, got {tuple(weight.shape)}")
    exact = torch.promote_types(weight.dtype, torch.float32)
    norms = torch.norm_except_dim(weight.to(exact), 2, -1 if axis is None else axis)
    if part == "g":
        return norms
    zero = norms == 0
    return torch.where(zero, torch.ones_like(weight), weight) if bool(zero.any()) else weight


def spectral_norm(weight: Tensor, rows: Tensor, columns: Tensor, axis: int) -> Tensor:
    """The weight that spectral norm keeps with two vectors: divided by its norm along them, as a matrix.

    ``rows`` (torch's u) has the size of ``axis``, ``columns`` (v) that of the other axes together.

    >>> spectral_norm(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), 0)
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000]])
    """
    exact = torch.promote_types(weight.dtype, torch.float32)
    wide = weight.to(exact)
    matrix = wide.movedim(axis, 0).flatten(1)
    if (rows.numel(), columns.numel()) != tuple(matrix.shape):
        raise _misfit("spectral-norm", rows, tuple(matrix.shape), "u and v must have the sizes of the weight")
    return wide / torch.dot(rows.to(exact), torch.mv(matrix, columns.to(exact)))


def pruned(weight: Tensor, mask: Tensor) -> Tensor:
    """The weight that pruning keeps as ``orig`` and ``mask``: their product."""
    if weight.shape != mask.shape:
        raise _misfit("pruning", weight, tuple(mask.shape), "the mask must have the shape of the weight")
    return weight * mask


def pos_embed(source: Tensor, shape: Shape, extra_last: bool = False) -> Tensor:
    """Resize a table of positions by bicubic interpolation; tokens outside its grid are kept.

    Understood are (1, k + h*w, d), (k + h*w, d), (1, d, h, w) and (1, h, w, d), with square grids in the
    first two. Tables of relative position bias, ((2h-1) * (2w-1) + k, heads), keep their k extra rows at the
    end: ``extra_last``.

    >>> pos_embed(torch.zeros(1, 1 + 14 * 14, 8), (1, 1 + 24 * 24, 8)).shape
    torch.Size([1, 577, 8])
    """
    if source.ndim != len(shape) or source.ndim not in (2, 3, 4):
        raise _misfit("pos-embed", source, shape, "it must be a table of positions")
    if source.ndim == 4:
        return _grid(source, shape)
    table, rows = source.reshape(-1, source.shape[-1]), shape[-2]
    if source.shape[-1] != shape[-1] or (source.ndim == 3 and (source.shape[0], shape[0]) != (1, 1)):
        raise _misfit("pos-embed", source, shape, "only the number of positions may differ")
    extra, had, wanted = _squares(source, shape, table.shape[0], rows)
    grid, kept = (table[: had**2], table[had**2 :]) if extra_last else (table[extra:], table[:extra])
    resized = _resize(grid.T.reshape(1, -1, had, had), (wanted, wanted)).reshape(-1, wanted**2).T
    return torch.cat([resized, kept] if extra_last else [kept, resized]).reshape(shape)


def _grid(source: Tensor, shape: Shape) -> Tensor:
    if source.shape[0] == shape[0] and source.shape[1] == shape[1]:
        return _resize(source, shape[2:])
    if source.shape[0] == shape[0] and source.shape[3] == shape[3]:
        return _resize(source.permute(0, 3, 1, 2), shape[1:3]).permute(0, 2, 3, 1)
    raise _misfit("pos-embed", source, shape, "only height and width may differ")


def _squares(source: Tensor, shape: Shape, rows: int, wanted: int) -> tuple[int, int, int]:
    """The fewest tokens outside the grid that leave a square on both sides, and the two sides."""
    for extra in range(MOST_PREFIX_TOKENS + 1):
        sides = isqrt(max(rows - extra, 0)), isqrt(max(wanted - extra, 0))
        if all(sides) and (sides[0] ** 2, sides[1] ** 2) == (rows - extra, wanted - extra):
            return extra, *sides
    raise _misfit("pos-embed", source, shape, "no square grid fits both")


def _resize(grid: Tensor, size: Shape) -> Tensor:
    wide = grid.to(torch.promote_types(grid.dtype, torch.float32))  # bicubic in half precision loses digits
    resized: Tensor = interpolate(wide, size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized.to(grid.dtype)


def _misfit(name: str, source: Tensor, shape: Shape, why: str) -> CheckpointError:
    return CheckpointError(f"{name} cannot make {tuple(source.shape)} into {tuple(shape)}: {why}")
