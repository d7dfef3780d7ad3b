"""Tensors of a model that share a part of their memory: what a load writes there must agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fxprof.checkpoint import pieces, targets
from fxprof.checkpoint.pieces import Piece

Named = tuple[str, Piece]


def disagreeing(copies: Sequence[Named]) -> list[str]:
    """Names of the tensors that would not have their values after all copies, since another is written over them."""
    lost = []
    for group in _overlapping(copies):
        memory = _storage(group[0][1].target).clone()
        twins = [_on(memory, piece.target) for _, piece in group]
        for twin, (_, piece) in zip(twins, group):
            twin.copy_(piece.source)
        for twin, (name, piece) in zip(twins, group):
            if not pieces.equal(twin, piece.source.to(twin.device, twin.dtype)):
                lost.append(name)
    return lost


def _overlapping(copies: Sequence[Named]) -> Iterator[list[Named]]:
    """Copies into stretches of memory that overlap, in their order, one group for each memory."""
    spans = sorted(
        (*_span(piece.target), index)
        for index, (_, piece) in enumerate(copies)
        if targets.memory(piece.target) and piece.target.numel()
    )
    groups: dict[int, set[int]] = {}
    reach = ("", 0, 0, 0)  # the span that goes farthest so far
    for span in spans:
        if span[0] == reach[0] and span[1] < reach[2]:
            memory = targets.memory(copies[span[3]][1].target)
            groups.setdefault(memory, set()).update((reach[3], span[3]))
        if span[0] != reach[0] or span[2] > reach[2]:
            reach = span
    for group in groups.values():
        yield [copies[index] for index in sorted(group)]


def _span(tensor: Tensor) -> tuple[str, int, int]:
    """The device, and the first byte that a tensor has elements in, and the one after the last."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride()))
    return str(tensor.device), tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


def _on(memory: Any, like: Tensor) -> Tensor:
    empty = torch.empty(0, dtype=like.dtype, device=like.device)
    return empty.set_(memory, like.storage_offset(), like.shape, like.stride())
