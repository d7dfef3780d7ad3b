"""Copy large tensors stretch by stretch, and look at each stretch for NaN and infinity while it is in the cache.

Looking at a large tensor after its copy reads it from memory once more, which costs about half as much as the copy.
Each thread goes its own way through the stretches: a parallel operation of torch per stretch would make all threads
wait for each other some thousand times, which takes seconds on a machine that is busy with something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from fxprof.checkpoint.pieces import Piece

STRETCH = 1 << 21  # bytes; shorter ones make threads wait for each other's Python, longer ones leave the cache
# The bits of infinity. As integers, NaN and infinity are all that is not below it, apart from the sign.
_INFINITY = {
    torch.float16: 0x7C00,
    torch.bfloat16: 0x7F80,
    torch.float32: 0x7F80_0000,
    torch.float64: 0x7FF0_0000_0000_0000,
}


def is_large(piece: Piece) -> bool:
    """Whether the copy is one of bytes from memory to memory, and so many that the cache does not hold them."""
    target, source = piece.target, piece.source
    return (
        target.nbytes > STRETCH
        and target.dtype == source.dtype
        and target.dtype in _INFINITY
        and target.device.type == source.device.type == "cpu"
        and target.is_contiguous()
        and source.is_contiguous()
        and not (target.is_neg() or source.is_neg())
    )


def prepared(pieces: Sequence[Piece]) -> Callable[[], list[bool]]:
    """What copies these large pieces, on as many threads as torch uses, and tells of each whether it is all finite."""
    arrays = [(_integers(piece.target), _integers(piece.source), _INFINITY[piece.target.dtype]) for piece in pieces]
    finite = [True] * len(pieces)
    todo = [
        (index, start) for index, (target, _, _) in enumerate(arrays) for start in range(0, target.size, _step(target))
    ]

    def work(shared: Iterator[tuple[int, int]]) -> None:
        for index, start in shared:
            target, source, infinity = arrays[index]
            stretch = source[start : start + _step(source)]
            np.copyto(target[start : start + stretch.size], stretch)
            if not _is_finite(stretch, infinity):
                finite[index] = False

    def copy() -> list[bool]:
        _in_threads(work, todo)
        for piece in pieces:
            torch.autograd.graph.increment_version(piece.target)  # as every write of torch's own does
        return finite

    return copy


def _in_threads(work: Callable[[Iterator[tuple[int, int]]], None], todo: list[tuple[int, int]]) -> None:
    shared, helpers = iter(todo), []
    more = min(torch.get_num_threads(), len(todo)) - 1
    with ThreadPoolExecutor(max(more, 1)) as pool:
        with suppress(RuntimeError):  # where no other thread is to be had, this one does it alone
            for _ in range(more):
                helpers.append(pool.submit(work, shared))
        work(shared)
    for helper in helpers:
        helper.result()


def _step(array: Any) -> int:
    return STRETCH // int(array.itemsize)


def _integers(tensor: torch.Tensor) -> Any:
    """The memory of a tensor, as an array of signed integers."""
    plain = tensor.detach().view(-1).view(torch.uint8).numpy()
    return plain.view(f"i{tensor.itemsize}")


def _is_finite(values: Any, infinity: int) -> bool:
    sign = 1 << (8 * values.itemsize - 1)
    return bool(values.max() < infinity and values.view(f"u{values.itemsize}").max() < infinity + sign)
