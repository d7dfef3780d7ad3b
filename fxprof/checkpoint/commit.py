"""Write to the model: all of it or nothing.

A load that fails must leave the model as it was, and must not need the memory of a second model. By the time
``commit`` runs, names, shapes, dtypes and values are checked and the tensors are mapped. Then:

1. *Swap* what is cheap to undo: tensors that replace meta ones, the optimizer's state, frozen flags. Any exception,
   an interrupt included, puts the old objects back.
2. *Copy* all small tensors in one call of ``torch._foreach_copy_``. Python runs no code inside it, so no interrupt and
   no signal handler can stop between two tensors, and with everything checked it has no reason to raise. Its last
   copy sets a flag: from then on the load is finished, never undone.
3. *Copy* the large ones (``copying.py``), which takes Python between two stretches. Whatever interrupts there, the
   same copies are made again in one call as above, before it goes on.

Only copies that run foreign code or allocate on an accelerator could fail midway (tensor subclasses, strided targets
on a GPU). They go before these, with the originals kept, and are undone by copying those back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fxprof.checkpoint import copying
from fxprof.checkpoint.optimizer import Follow
from fxprof.checkpoint.pieces import Piece
from fxprof.checkpoint.result import Change
from fxprof.checkpoint.targets import Replacement

Undo = list[Callable[[], Any]]


@dataclass
class Draft:
    """What a load is about to do."""

    copies: list[Piece] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    replacements: list[Replacement] = field(default_factory=list)
    loaded: list[Tensor] = field(default_factory=list)  # the tensors that get values, as they will be


def commit(draft: Draft, follow: Follow | None, freeze: bool) -> list[Piece]:
    """Change the model, or raise and leave it as it was. Returns the copies known to hold finite values only."""
    undo: Undo = []
    done = torch.zeros(1, device="cpu")  # whatever the default is
    last = Piece(done, torch.ones(1, device="cpu"))
    safe = [piece for piece in draft.copies if _cannot_fail(piece)]
    large = [piece for piece in safe if copying.is_large(piece)]
    small = [piece for piece in safe if not copying.is_large(piece)]
    copy_large = copying.prepared(large)
    try:
        with torch.no_grad():
            for entry in draft.replacements:
                undo.append(partial(entry.table.__setitem__, entry.key, entry.old))
                entry.table[entry.key] = entry.new
            if follow is not None:
                undo.append(follow.undo)
                follow.apply()
            if freeze:
                _freeze(draft.loaded, undo)
            _copy_undoably([piece for piece in draft.copies if not _cannot_fail(piece)], undo)
            _copy_at_once([*small, last])
            finite = copy_large()
    except BaseException:
        if done.item():
            _copy_at_once([*large, last])
        else:
            for step in reversed(undo):
                step()
        raise
    return [piece for piece, known in zip(large, finite) if known]


def _freeze(loaded: Iterable[Tensor], undo: Undo) -> None:
    for tensor in loaded:
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
            undo.append(partial(tensor.requires_grad_, True))
            tensor.requires_grad_(False)


def _copy_undoably(risky: Iterable[Piece], undo: Undo) -> None:
    for piece in risky:
        undo.append(partial(_put_back, piece.target, piece.target.clone()))
        piece.target.copy_(piece.source)


def _copy_at_once(safe: Sequence[Piece]) -> None:
    with torch.no_grad():
        torch._foreach_copy_([piece.target for piece in safe], [piece.source for piece in safe])


def _put_back(target: Tensor, old: Tensor) -> None:
    with torch.no_grad():
        target.copy_(old)


def _cannot_fail(piece: Piece) -> bool:
    """Whether the copy is plain memory to plain memory, and needs none of an accelerator's for a temporary."""
    target, source = piece.target, piece.source
    if any(type(tensor) not in (Tensor, nn.Parameter) for tensor in (target, source)):
        return False
    if target.device.type == source.device.type == "cpu":
        return True
    same = target.dtype == source.dtype or source.device.type == "cpu"
    return same and target.is_contiguous() and source.is_contiguous()
