"""Choices among alternatives: which expert, class or code each row takes, where only real data would tell.

``topk``, ``argmax`` and their like over a few alternatives pick, for each row, some of them. Whatever the data,
every row picks as many; so the trace picks them evenly and goes on with real numbers: loops over experts,
masks, counts and offsets find sizes that add up exactly, however the model's code sorts its rows. Where a choice
turns out to be followed for some alternatives only, nothing adds up, and the next attempt leaves it open: what
depends on it then takes its upper bound. A few random numbers are likewise spread evenly over their range, so that a
layer that is seldom left out is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.graph import Node

# Position of ``dim`` and its default, for the ops that pick along a dimension.
CHOOSING: dict[str, tuple[int, int | None]] = {
    "topk": (2, -1), "argmax": (1, None), "argmin": (1, None), "max": (1, None), "sort": (1, -1), "argsort": (1, -1),
    "multinomial": (3, -1),
}  # fmt: skip
# Random numbers that steer: whether a layer is left out in training, and which. More are noise.
DRAWING = frozenset(["rand", "rand_like", "uniform_", "randperm"])
_DRAWN = 256
_ALTERNATIVES = 1024  # more are positions or words rather than experts
_TURNS = 64  # choices at one line within one call of a module: a loop that goes on until the data says otherwise


@dataclass(eq=False)
class Assumed:
    """Made-up values: what stands for them, and what others could change. ``source`` is "" where it is the reader's."""

    op: str
    what: str
    assumed: str
    effect: str
    module: str = ""
    source: str = ""


INPUT = Assumed(
    "", "the values of an input given without data", "all 1", "real values may find other sizes or take other branches"
)

DRAW = Assumed("", "a random draw", "spread evenly over its range", "another draw may find other sizes or branches")


def spread(drawn: Tensor, span: tuple[float, float] | None) -> Tensor | None:
    """A row of numbers for a few that are drawn from ``span``, one in the middle; None where there are many.

    Integers are a permutation.
    """
    count = drawn.numel()
    if span is None or drawn.dim() > 1 or not 0 < count <= _DRAWN:
        return None
    if not drawn.dtype.is_floating_point:  # a permutation
        return torch.arange(count, dtype=drawn.dtype)
    row = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (span[1] - span[0]) + span[0]
    return row.to(drawn.dtype).reshape(drawn.shape)


@dataclass(eq=False)
class Choice(Assumed):
    """One choice per row; ``masks`` holds how many elements each mask over the rows has selected."""

    key: tuple[str, int] = ("", 0)
    rows: int = 0
    masks: dict[Node, int] = field(default_factory=dict)

    def select(self, mask: Node, size: int, found: int) -> None:
        """Note that ``mask``, of so many elements, selects some."""
        if size >= self.rows:
            self.masks[mask] = found

    @property
    def followed_in_part(self) -> bool:
        """Whether masks were used that together leave rows out."""
        return bool(self.masks) and sum(self.masks.values()) < self.rows


class Choices:
    """The choices of one trace, and which of them earlier attempts have shown to be followed only in part."""

    def __init__(self) -> None:
        self._open: set[tuple[str, int]] = set()
        self.reset()

    def reset(self) -> None:
        """Forget the choices of the last attempt, but not which have to stay open."""
        self._made: list[Choice] = []
        self._count: dict[str, int] = {}
        self._turns: dict[tuple[str, str], int] = {}

    def found_partial(self) -> bool:
        """Whether this attempt shows choices that the next one must leave open."""
        new = {choice.key for choice in self._made if choice.followed_in_part} - self._open
        self._open |= new
        return bool(new)

    def make(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, where: tuple[str, str], call: str
    ) -> tuple[Any, Choice] | None:
        """Pick evenly: the ``result`` of the op with real indices, and the choice; None where it stays open."""
        picked = result if isinstance(result, Tensor) else result[-1] if isinstance(result, tuple) else None
        x = args[0] if args else kwargs.get("input")
        position, default = CHOOSING[name]
        dim = kwargs.get("dim", args[position] if len(args) > position else default)
        if type(dim) is not int or not isinstance(x, Tensor) or picked is None or picked.dtype is not torch.int64:
            return None
        if not x.dim():  # one number, which is the choice
            return None
        module, source = where
        size = x.shape[dim]
        turns = self._turns[call, source] = self._turns.get((call, source), 0) + 1
        key = (source, self._count.get(source, 0))
        self._count[source] = key[1] + 1
        if not 0 < size <= _ALTERNATIVES or turns > _TURNS or key in self._open or not picked.numel():
            return None
        each = picked.shape[dim] if picked.dim() == x.dim() else 1
        index = _evenly(picked.shape, dim if picked.dim() == x.dim() else None, size)
        what = f"which {each:,} of {size:,} each row takes"
        effect = "how the rows spread over them; not how many there are in all, where all are visited"
        choice = Choice(name, what, "each equally often", effect, module, source, key, picked.numel() // each)
        self._made.append(choice)
        return (index if picked is result else type(result)((*result[:-1], index))), choice


def _evenly(shape: torch.Size, dim: int | None, size: int) -> Tensor:
    """Indices below ``size``, each as often as the others, distinct along ``dim`` (None: there is one per row)."""
    each = 1 if dim is None else shape[dim]
    rows = torch.arange(shape.numel() // each)[:, None] * (each if each < size else 1)
    picked = (rows + torch.arange(each)) % size
    if dim is None:
        return picked.reshape(shape)
    moved = [*shape[: dim % len(shape)], *shape[dim % len(shape) + 1 :], each]
    return picked.reshape(moved).movedim(-1, dim).contiguous()
