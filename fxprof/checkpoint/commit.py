"""Write to the model: all of it or nothing.

A load that fails must leave the model as it was, and must not need the memory of a second model. By the time
``commit`` runs, names, shapes, dtypes and values are checked and the tensors are mapped. Then:

1. *Swap* what is cheap to undo: tensors that replace meta ones, the optimizer's state, frozen flags. Any exception,
   an interrupt included, puts the old objects back.
2. *Copy* all values in one call of ``torch._foreach_copy_``. Python runs no code inside it, so no interrupt and no
   signal handler can stop between two tensors, and with everything checked it has no reason to raise. Its last copy
   sets a flag: whoever interrupts right after it finds the load complete, not half undone.

Only copies that run foreign code or allocate on an accelerator could fail midway (tensor subclasses, strided targets
on a GPU). They go before that call, with the originals kept, and are undone by copying those back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

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


def commit(draft: Draft, follow: Follow | None, freeze: bool) -> None:
    """Change the model, or raise and leave it as it was."""
    undo: Undo = []
    done = torch.zeros(1)
    last = Piece(done, torch.ones(1))
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
            _copy([*draft.copies, last], undo)
    except BaseException:
        if not done.item():
            for step in reversed(undo):
                step()
        raise


def _freeze(loaded: Iterable[Tensor], undo: Undo) -> None:
    for tensor in loaded:
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
            undo.append(partial(tensor.requires_grad_, True))
            tensor.requires_grad_(False)


def _copy(copies: list[Piece], undo: Undo) -> None:
    safe: list[Piece] = []
    risky: list[Piece] = []
    for piece in copies:
        (safe if _cannot_fail(piece) else risky).append(piece)
    for piece in risky:
        undo.append(partial(_put_back, piece.target, piece.target.clone()))
        piece.target.copy_(piece.source)
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
