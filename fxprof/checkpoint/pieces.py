"""From a match to copies: which view of the checkpoint goes to which view of the model.

Every adaptation that only moves values (qkv, transpose, rope, the rows of a head) is written as copies
between views of both sides, so a fused matrix is filled from its three sources without a fourth tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from fxprof.checkpoint import adapt, targets
from fxprof.checkpoint.names import number
from fxprof.checkpoint.plan import Match
from fxprof.errors import CheckpointError

_BLOCK = re.compile(r"qkv\[(\d+)/(\d+)\]")
_ROWS = re.compile(r"qkv\[(\d+):(\d+)\]")
_APART = re.compile(r"weight-norm\[([gv])(?::(\d+))?\]")


_FROM_TWO: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "weight-norm": adapt.weight_norm,
    "pruning": adapt.pruned,
}


@dataclass(frozen=True)
class Piece:
    """One copy: ``source`` into ``target``, views of equal shape."""

    target: Tensor
    source: Tensor


def pieces(match: Match, target: Tensor, sources: Sequence[Tensor], model: nn.Module) -> list[Piece]:
    """The copies that carry out ``match``. Nothing is written; large tensors are not copied.

    Raises:
        CheckpointError: the shapes do not fit after the adaptation that the match names.
    """
    try:
        return _checked(_pieces(match, target, sources, model))
    except CheckpointError as err:
        raise CheckpointError(f"{match.target!r} from {' + '.join(map(repr, match.sources))}: {err}") from err


def _pieces(match: Match, target: Tensor, sources: Sequence[Tensor], model: nn.Module) -> list[Piece]:
    if targets.is_sharded(target):
        whole = adapted(match, target, sources, model)
        return [Piece(targets.local_part(target), targets.own_part(whole, target))]
    if match.how == "qkv" and len(sources) > 1:
        return _stacked(target, sources)
    if match.how == "head-rows" and sources[0].shape[1:] == target.shape[1:]:
        rows = min(sources[0].shape[0], target.shape[0])
        return [Piece(target[:rows], sources[0][:rows])]
    if match.how == "rope" and target.is_contiguous():
        return _halves(target, sources[0], *_rotary(match, tuple(target.shape), model))
    return [Piece(target, adapted(match, target, sources, model))]


def adapted(match: Match, target: Tensor, sources: Sequence[Tensor], model: nn.Module) -> Tensor:
    """The whole tensor that ``match`` makes of its sources; a view where that can be."""
    how, shape = match.how, tuple(target.shape)
    if how == "qkv" and len(sources) > 1:
        return adapt.fuse_qkv(sources)
    if how in _FROM_TWO and len(sources) == 2:
        return _FROM_TWO[how](*sources)
    if how == "spectral-norm" and len(sources) == 3:
        weight, u, v = sources
        return adapt.spectral_norm(weight, u, v, _spectral_axis(match.target, sources, model))
    if len(sources) != 1:
        raise CheckpointError(f"{how!r} takes one tensor of the checkpoint, got {len(sources)}")
    source = sources[0]
    if block := _BLOCK.fullmatch(how):
        return adapt.split_qkv(source, int(block[1]), int(block[2]))
    if rows := _ROWS.fullmatch(how):
        return adapt.qkv_rows(source, number(rows[1]), number(rows[2]))
    if part := _APART.fullmatch(how):
        return adapt.weight_norm_part(source, part[1], None if part[2] is None else number(part[2]))
    if how == "head-rows":
        if targets.is_sharded(target):
            raise CheckpointError("head-rows cannot keep the rows of a sharded tensor")
        return adapt.head_rows(source, target)
    if how == "first-conv":
        return adapt.first_conv(source, shape[1] if len(shape) > 1 else 0)
    if how == "rope":
        return adapt.rope(source, *_rotary(match, tuple(source.shape), model))
    if how == "pos-embed":
        return adapt.pos_embed(source, shape, extra_last="relative_position" in match.target)
    if how == "reshape":
        return adapt.reshape(source, shape)
    if how not in ("exact", "prefix", "renamed", "transpose"):
        raise CheckpointError(f"how must be exact, prefix, renamed, or an adaptation that a plan can name, got {how!r}")
    return adapt.transpose(source) if how == "transpose" else source


def is_moved_only(match: Match) -> bool:
    """Whether values are moved, not computed: what belongs to them (an optimizer's moments) can follow."""
    return not match.is_computed and match.how not in ("first-conv", "head-rows", "pos-embed")


def _stacked(target: Tensor, sources: Sequence[Tensor]) -> list[Piece]:
    rows = [source.shape[0] if source.ndim else 0 for source in sources]
    if target.ndim == 0 or sum(rows) != target.shape[0]:
        raise CheckpointError(f"{' + '.join(map(str, rows))} rows do not make {tuple(target.shape)}")
    return [Piece(part, source) for part, source in zip(torch.split(target, rows), sources)]


def _halves(target: Tensor, source: Tensor, heads: int, to_halves: bool) -> list[Piece]:
    rows = source.shape[0] if source.ndim else 0
    if source.shape != target.shape or heads < 1 or rows == 0 or rows % (2 * heads):
        raise CheckpointError(f"rope with {heads} heads cannot make {tuple(source.shape)} into {tuple(target.shape)}")
    half = rows // heads // 2
    pairs, sides = (heads, half, 2, *source.shape[1:]), (heads, 2, half, *source.shape[1:])
    there, here = (sides, pairs) if to_halves else (pairs, sides)
    return [Piece(target.view(there), source.reshape(here).transpose(1, 2))]


def _rotary(match: Match, shape: tuple[int, ...], model: nn.Module) -> tuple[int, bool]:
    """Number of heads, and whether the model wants the layout of halves (transformers) or of pairs (Meta)."""
    to_pairs = _is_meta_name(match.target) and not _is_meta_name(match.sources[0])
    return targets.head_count(model, match.target, shape), not to_pairs


def _spectral_axis(name: str, sources: Sequence[Tensor], model: nn.Module) -> int:
    """The axis that u has the size of; of several the one that torch takes: 1 of a transposed convolution, else 0."""
    sizes = [size == sources[1].numel() for size in sources[0].shape]
    module = targets.owner(model, name)
    usual = 1 if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) else 0
    if not any(sizes):
        raise CheckpointError(f"spectral-norm needs a u of the size of an axis of {tuple(sources[0].shape)}")
    return usual if usual < len(sizes) and sizes[usual] else sizes.index(True)


def _is_meta_name(name: str) -> bool:
    return bool({"wq", "wk"} & set(name.split(".")))


def _checked(made: list[Piece]) -> list[Piece]:
    for piece in made:
        if piece.target.shape != piece.source.shape:
            raise CheckpointError(
                f"the model has {tuple(piece.target.shape)}, the checkpoint gives {tuple(piece.source.shape)}"
            )
    return made


# -- what may be copied ------------------------------------------------------------------------


def check_source(name: str, tensor: Tensor) -> None:
    """Refuse what holds no plain numbers. Raises CheckpointError with the tensor's name."""
    what = ""
    if tensor.is_quantized:
        what = "is quantized: dequantize it before saving"
    elif tensor.layout != torch.strided:
        what = f"is sparse ({str(tensor.layout).removeprefix('torch.')}): save its to_dense()"
    elif not targets.has_memory(tensor):
        what = f"is of the type {type(tensor).__name__}, which keeps its values elsewhere: dequantize it before saving"
    elif tensor.is_meta:
        what = "is on the meta device and has no values"
    if what:
        raise CheckpointError(f"{name!r} in the checkpoint {what}; or leave it out with exclude=")


def check_target(name: str, tensor: Tensor) -> None:
    """Refuse to write where a copy cannot go. Raises CheckpointError with the tensor's name."""
    local = targets.local_part(tensor)
    what = ""
    if local.is_quantized or local.layout != torch.strided:
        what = "is quantized" if local.is_quantized else f"is {str(local.layout).removeprefix('torch.')}"
    elif not targets.has_memory(local):
        what = f"is of the type {type(local).__name__}, which keeps its values elsewhere,"
    elif any(size > 1 and step == 0 for size, step in zip(local.shape, local.stride())):
        what = "is expanded, so several of its elements are one"
    elif local.is_inference() and not torch.is_inference_mode_enabled():
        what = "was made under torch.inference_mode()"
    if what:
        raise CheckpointError(f"{name!r} of the model {what} and cannot be loaded; leave it out with exclude=")


def check_dtypes(match: Match, target: Tensor, sources: Sequence[Tensor]) -> None:
    """Allow conversion within one kind of number only. Raises CheckpointError."""
    for name, source in zip(match.sources, sources):
        if kind(source.dtype) != kind(target.dtype):
            raise CheckpointError(
                f"{name!r} is {dtype_name(source.dtype)} in the checkpoint and {match.target!r} is "
                f"{dtype_name(target.dtype)} in the model: {kind(source.dtype)} numbers are not made "
                f"{kind(target.dtype)} ones; leave it out with exclude="
            )
        if not _converts(source.dtype, target.dtype):
            raise CheckpointError(
                f"{name!r} is {dtype_name(source.dtype)} in the checkpoint, which torch cannot make "
                f"{dtype_name(target.dtype)}, as {match.target!r} is: convert it before saving, "
                "or leave it out with exclude="
            )


def check_scaled(name: str, tensor: Tensor, beside: Container[str], used: Container[str]) -> None:
    """Refuse 8-bit floats whose scale lies beside them and has no place in the model: they are quantized."""
    if not tensor.is_floating_point() or tensor.dtype.itemsize > 1:
        return
    owner, _, last = name.rpartition(".")
    dot = f"{owner}." if owner else ""
    names = (f"{name}_scale", f"{name}_scale_inv", f"{dot}scale_{last}", f"{dot}scale", f"{dot}{last}_scales")
    scale = next((other for other in names if other in beside and other not in used), None)
    if scale is not None:
        raise CheckpointError(
            f"{name!r} in the checkpoint is {dtype_name(tensor.dtype)} and its scale is {scale!r}, for which the model "
            "has no place: dequantize it before saving, or leave it out with exclude="
        )


@lru_cache(maxsize=256)
def _converts(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether torch copies the one dtype into the other: not what packs several numbers into a byte."""
    try:
        torch.empty(1, dtype=target).copy_(torch.empty(1, dtype=source))
    except (NotImplementedError, RuntimeError):
        return False
    return True


def kind(dtype: torch.dtype) -> str:
    """``floating``, ``complex`` or ``integer`` (with bool)."""
    if dtype.is_complex:
        return "complex"
    return "floating" if dtype.is_floating_point else "integer"


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


# -- values ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """What was found in the values of one tensor: counts of elements."""

    non_finite: int = 0
    overflow: int = 0  # finite in the checkpoint, not so in the model's dtype
    changed: int = 0  # integers that the model's dtype cannot hold


def may_not_fit(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether a value of the one dtype can be out of range in the other."""
    if source == target or source == torch.bool:
        return False
    if kind(source) == "integer":
        return True
    return torch.finfo(target).max < torch.finfo(source).max


def values(source: Tensor, dtype: torch.dtype) -> Values:
    """Look at every value once; only where something is found, again and in full."""
    if source.numel() == 0 or source.dtype == torch.bool:
        return Values()
    if kind(source.dtype) == "integer":
        return Values(changed=0 if source.dtype == dtype else int((source.to(dtype).to(source.dtype) != source).sum()))
    plain, real = _real(source), dtype.to_real() if dtype.is_complex else dtype
    low, high = torch.aminmax(plain)  # nan if any is
    bound = torch.finfo(real).max
    if bool(torch.isfinite(low) & torch.isfinite(high)) and max(-float(low), float(high)) <= bound:
        return Values()
    finite = torch.isfinite(plain)
    landed = torch.isfinite(_real(plain.to(real)))
    return Values(non_finite=int((~finite).sum()), overflow=int((finite & ~landed).sum()))


def _real(tensor: Tensor) -> Tensor:
    """The same numbers in a dtype that can be compared."""
    plain = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return plain.float() if plain.dtype.itemsize == 1 else plain  # 8-bit floats have no arithmetic of their own


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same values, NaN for NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.is_floating_point:
        a, b = _real(a), _real(b)
    return bool(torch.equal(a, b) or ((a == b) | (a.isnan() & b.isnan())).all())
