"""Two families of blocks that belong together: which block is which, by number as far as what they hold confirms it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby

from fxprof.checkpoint.names import counting, kind, words
from fxprof.checkpoint.pairing.blocks import Block, BlockPair
from fxprof.checkpoint.pairing.leaves import Signature

_ALIKE = 0.5
_ROW = 4
_FEW = 4  # less than one in so many
_LEVELS = 5  # no pyramid has more


def align(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    """Pair in natural-number order, as far as what the blocks hold confirms it."""
    if not all(counting([block.number for block in blocks]) for blocks in (ours, theirs)):
        return []
    if len(ours) == len(theirs) and all(_overlap(a, b) >= _ALIKE for a, b in zip(ours, theirs)):
        if _may_be_turned(ours, theirs):
            return [BlockPair(a, b, "order", False) for a, b in zip(ours, theirs)]
        return [BlockPair(a, b, "number" if len(ours) > 1 else "structure") for a, b in zip(ours, theirs)]
    if run := _contained(ours, theirs):
        return run
    ours_shared, theirs_shared = _common(ours, theirs)
    # Single leaf modules, as in a VGG, say little: only a long row of them is a row of layers.
    single = all(len(block.signature) == 1 for block in (*ours_shared, *theirs_shared))
    if single and len(ours_shared) < _ROW:
        return []
    if _kinds(ours_shared) == _kinds(theirs_shared):
        # Half of a family or less may have its equals by chance.
        most = 2 * len(ours_shared) > min(len(ours), len(theirs))
        return [BlockPair(a, b, "number" if most else "order", most) for a, b in zip(ours_shared, theirs_shared)]
    if backwards := _backwards(ours_shared, theirs_shared):
        return backwards
    return [] if single else _by_number(ours, theirs)


def _may_be_turned(ours: list[Block], theirs: list[Block]) -> bool:
    """Whether they are levels of a pyramid that all hold the same, under other names and from another first number on.

    DPT's refinenet4 is the first layer of the fusion stage in transformers.
    """
    alike = len({block.signature for block in (*ours, *theirs)}) == 1
    if not 2 < len(ours) <= _LEVELS or not alike or ours[0].number[-1:] == theirs[0].number[-1:]:
        return False
    names = ours[0].name, theirs[0].name
    return not (kind(names[0]) | kind(names[1])) <= words(names[0]) & words(names[1])


def _kinds(blocks: Sequence[Block]) -> list[tuple[Signature, ...]]:
    return [block.signature for block in blocks]


def _backwards(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    """One side counts a level from the other end: a decoder whose last stage is called its first.

    Not sure where moving the first block to the end, or the last to the beginning, says the same.
    """
    if len(ours) != len(theirs) or len({len(block.number) for block in ours}) != 1:
        return []
    wanted = _kinds(theirs)
    told = not any(_kinds([*ours[at:], *ours[:at]]) == wanted for at in range(1, len(ours)))
    for level in range(len(ours[0].number)):
        turned = sorted(
            ours, key=lambda block: (*block.number[:level], -block.number[level], *block.number[level + 1 :])
        )
        if _kinds(turned) == wanted:
            return [BlockPair(a, b, "number" if told else "order", told) for a, b in zip(turned, theirs)]
    return []


def _contained(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    """One family's kinds, in order, occur in the other's at exactly one place."""
    short, long = sorted((ours, theirs), key=len)
    kinds, within = [block.signature for block in short], [block.signature for block in long]
    if len(set(kinds)) < 2:
        return []
    starts = [at for at in range(len(long) - len(short) + 1) if within[at : at + len(short)] == kinds]
    if len(starts) != 1:
        return []
    end = starts[0] + len(short)
    # One more of the same kind in the same group could as well be the first or the last of the run.
    if any(_alike_neighbours(long, at) for at in (starts[0], end)):
        return []
    part = long[starts[0] : end]
    if _groups(short) != _groups(part):
        return []
    one, other = (short, part) if short is ours else (part, short)
    return [BlockPair(a, b, "number") for a, b in zip(one, other)]


def _groups(blocks: list[Block]) -> list[int]:
    """How many blocks in a row count on from each other: they differ in their last number only."""
    return [len(list(row)) for _, row in groupby(blocks, key=lambda block: block.number[:-1])]


def _alike_neighbours(blocks: list[Block], at: int) -> bool:
    """Whether the blocks on both sides of this place are of one kind and differ in their last number only."""
    if not 0 < at < len(blocks):
        return False
    one, other = blocks[at - 1], blocks[at]
    return one.signature == other.signature and one.number[:-1] == other.number[:-1]


def _common(ours: list[Block], theirs: list[Block]) -> tuple[list[Block], list[Block]]:
    both = {block.signature for block in ours} & {block.signature for block in theirs}
    return [b for b in ours if b.signature in both], [b for b in theirs if b.signature in both]


def _overlap(one: Block, other: Block) -> float:
    a, b = Counter(one.signature), Counter(other.signature)
    return (a & b).total() / max(len(one.leaves), len(other.leaves))


def _by_number(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    """Other counts: equal numbers are equal layers where one side's lie within the other's and most hold the same.

    Sure only when both count from the same first number; else what holds equally many of a kind is paired.
    """
    values = {block.number: block for block in theirs}
    inside = {block.number for block in ours} <= set(values) or set(values) <= {block.number for block in ours}
    fits = [(block, values[block.number]) for block in ours if block.number in values]
    same = sum(a.signature == b.signature for a, b in fits)
    if inside and 2 * same >= len(fits) > 0 and all(_overlap(a, b) >= _ALIKE for a, b in fits):
        same_base = min(block.number for block in ours) == min(values)
        return [BlockPair(a, b, "number" if same_base else "order", same_base) for a, b in fits]
    return _by_kind(ours, theirs)


def _by_kind(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    kinds: dict[tuple[Signature, ...], tuple[list[Block], list[Block]]] = defaultdict(lambda: ([], []))
    for side, blocks in enumerate((ours, theirs)):
        for block in blocks:
            kinds[block.signature][side].append(block)
    equal = [(one, other) for one, other in kinds.values() if len(one) == len(other)]
    # Where few find a partner, they may have it by chance; one damaged block leaves all of its kind without.
    held = [sum(len(block.leaves) for block in side) for side in (ours, theirs)]
    sure = _FEW * sum(len(block.leaves) for one, _ in equal for block in one) >= max(held)
    # Kinds that come in another order say that the numbers mean something else.
    known = {one[0].signature for one, _ in equal}
    ordered = [block.signature for block in ours if block.signature in known] == [
        block.signature for block in theirs if block.signature in known
    ]
    return [
        BlockPair(a, b, ("number" if len(one) > 1 else "structure") if told else "order", told)
        for one, other in equal
        for told in [sure and (ordered or len(one) == 1)]
        for a, b in zip(one, other)
    ]
