"""Blocks: the repeated parts of a model, found by cutting names at a number, and paired by what they hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise, product

from fxprof.checkpoint.names import Path, counting, natural, numbers, template, words
from fxprof.checkpoint.pairing.leaves import Leaf, Signature

_DEPTHS = (1, 2, 3, 4)
_CLOSE = 0.9  # a cut that explains nearly as much as the best, in more blocks, says more
_ALIKE = 0.5
_ROW = 4
_FEW = 4  # less than one in so many

Number = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """The leaf modules under one numbered path; ``signature`` is what it holds, whatever it is called."""

    name: str
    leaves: tuple[Leaf, ...]
    signature: tuple[Signature, ...]

    @cached_property
    def number(self) -> Number:
        """The numbers of its name."""
        return numbers(self.name)


@dataclass(frozen=True)
class BlockPair:
    """A block of the checkpoint and one of the model, and what the pairing rests on."""

    source: Block
    target: Block
    reason: str
    sure: bool = True


def cut(
    leaves: Sequence[Leaf],
    depth: int,
    counted: Container[Path],
    shared: Container[Signature],
    kinds_only: bool = False,
) -> list[Block]:
    """Group leaf modules by their path up to its ``depth``-th numbered token; the unnumbered are left out.

    Leaf modules of a kind that the other side has nowhere do not count in the signature, nor, where only the kinds
    are wanted, does how many there are of each.
    """
    groups: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        ends = [index for index in range(1, len(leaf.path) + 1) if leaf.path[:index] in counted]
        if ends:
            groups[leaf.path[: ends[min(depth, len(ends)) - 1]]].append(leaf)
    found = []
    for path, group in groups.items():
        held = sorted(leaf.loose for leaf in group if leaf.loose in shared)
        if 2 * len(held) >= len(group):  # else it is a block of its own kind
            found.append(Block(".".join(path), tuple(group), tuple(sorted(set(held)) if kinds_only else held)))
    return sorted(found, key=lambda block: natural(block.name))


def numbered(leaves: Iterable[Leaf]) -> set[Path]:
    """The paths that end in a number which counts: a bare one, or one of several under the same template.

    The 2 of ``mobilenet_v2`` counts nothing.
    """
    found: set[Path] = set()
    rows: dict[str, set[Path]] = defaultdict(set)
    for leaf in leaves:
        for end, token in enumerate(leaf.path, 1):
            if token.isdecimal():
                found.add(leaf.path[:end])
            elif numbers(token):
                rows[template(".".join(leaf.path[:end]))].add(leaf.path[:end])
    return found.union(*(paths for paths in rows.values() if len(paths) > 1))


def pair_blocks(source: Sequence[Leaf], target: Sequence[Leaf]) -> list[BlockPair]:
    """Cut both sides where their blocks agree best, and pair the blocks."""
    best = _best_cuts(source, target)
    if best is None or not best[0]:
        # One norm more in every block of one side, and none is equal to any: then by the kinds that they hold.
        kinds = _best_cuts(source, target, kinds_only=True)
        best = kinds if kinds is not None and kinds[0] else best
    return [] if best is None else _pair_families(*best[1])


def _best_cuts(
    source: Sequence[Leaf], target: Sequence[Leaf], kinds_only: bool = False
) -> tuple[int, tuple[list[Block], list[Block]]] | None:
    """The blocks of both sides at the depths where they agree best, and how many of them do that hold several."""
    shared = {leaf.loose for leaf in source} & {leaf.loose for leaf in target}
    cuts: dict[tuple[int, int], list[Block]] = {}
    for side, leaves in enumerate((source, target)):
        counted = numbered(leaves)
        cuts.update({(side, depth): cut(leaves, depth, counted, shared, kinds_only) for depth in _DEPTHS})
    counts = {key: Counter(block.signature for block in blocks) for key, blocks in cuts.items()}
    scored = [(_agreement(counts[0, a], counts[1, b]), (a, b)) for a, b in product(_DEPTHS, _DEPTHS)]
    best = max(score[0] for score, _ in scored)
    if not best:
        return None
    close = [
        (score[1], score[0], (-a - b, -abs(a - b)), (a, b)) for score, (a, b) in scored if score[0] >= _CLOSE * best
    ]
    several, *_, (a, b) = max(close)
    return several, (cuts[0, a], cuts[1, b])


def _agreement(one: Counter[tuple[Signature, ...]], other: Counter[tuple[Signature, ...]]) -> tuple[float, int]:
    """How many leaf modules lie in blocks that both sides have, and how many such blocks there are."""
    both = one & other
    weight = sum(count * (len(held) if len(held) > 1 else 0.25) for held, count in both.items())
    return weight, sum(count for held, count in both.items() if len(held) > 1)


# -- families: blocks whose names differ in their numbers only -------------------------------------


def _pair_families(source: Sequence[Block], target: Sequence[Block]) -> list[BlockPair]:
    ours, theirs = _families(source), _families(target)
    pairs: list[BlockPair] = []
    doubted: set[tuple[int, str]] = set()  # what might as well have been taken, and so what is left of it
    while ours and theirs:
        chosen = _next_family(ours, theirs)
        if chosen is None:
            break
        (one, other), reason, rivals = chosen
        doubted.update(side for rival in rivals for side in enumerate(rival))
        sure = not {(0, one), (1, other)} & doubted
        reason = reason if sure else "order"
        found = _align(ours[one], theirs[other])
        # A single leaf module that is not sure is no block: it is better judged with the rest.
        found = [pair for pair in found if len(pair.source.leaves) > 1 or (sure and pair.sure)]
        pairs += [BlockPair(p.source, p.target, reason or p.reason, p.sure and sure) for p in found]
        taken = {pair.source.name for pair in found}, {pair.target.name for pair in found}
        ours[one] = [block for block in ours[one] if block.name not in taken[0]]
        theirs[other] = [block for block in theirs[other] if block.name not in taken[1]]
        if not found:
            theirs[other] = []
        ours = {name: blocks for name, blocks in ours.items() if blocks}
        theirs = {name: blocks for name, blocks in theirs.items() if blocks}
    return _doubted(pairs)


def _doubted(pairs: list[BlockPair]) -> list[BlockPair]:
    """Families of one container must count it alike: where one says up and another down, no number is sure."""
    torn = {
        where
        for where, found in _levels(pairs).items()
        if not _rises(found) and not _rises({(one, -other) for one, other in found})
    }
    return [
        BlockPair(pair.source, pair.target, "order", False)
        if pair.sure and pair.reason == "number" and _containers(pair) in torn
        else pair
        for pair in pairs
    ]


def turned_levels(pairs: Sequence[BlockPair]) -> dict[tuple[str, str], set[tuple[int, int]]]:
    """The containers that both sides do not count alike, and which of their levels are one for sure."""
    sure = _levels([pair for pair in pairs if pair.sure])
    return {where: sure.get(where, set()) for where, found in _levels(pairs).items() if not _rises(found)}


def _levels(pairs: Iterable[BlockPair]) -> dict[tuple[str, str], set[tuple[int, int]]]:
    levels: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for pair in pairs:
        if pair.source.number and pair.target.number:
            levels[_containers(pair)].add((pair.source.number[0], pair.target.number[0]))
    return levels


def _rises(levels: Iterable[tuple[int, int]]) -> bool:
    return all(one <= other for one, other in pairwise(level for _, level in sorted(levels)))


def _containers(pair: BlockPair) -> tuple[str, str]:
    return container(pair.source.name), container(pair.target.name)


def container(name: str) -> str:
    """What comes before the first number of a name.

    >>> container("decoder.up.2.block.0")
    'decoder.up.'
    """
    return template(name).partition("{}")[0]


def _families(blocks: Iterable[Block]) -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        found[template(block.name)].append(block)
    return dict(found)


def _next_family(
    ours: dict[str, list[Block]], theirs: dict[str, list[Block]]
) -> tuple[tuple[str, str], str, list[tuple[str, str]]] | None:
    """The two families that share most, what told them apart from their equals, and the equals that nothing did."""
    held = [
        {name: Counter(block.signature for block in blocks) for name, blocks in side.items()} for side in (ours, theirs)
    ]
    scores: dict[tuple[str, str], tuple[int, int]] = {}
    for one, other in product(ours, theirs):
        shared = held[0][one] & held[1][other]
        if shared:
            scores[one, other] = sum(count * len(what) for what, count in shared.items()), _likeness(one, other)
    if not scores:
        return None
    top = max(scores.values())
    best = min(
        (pair for pair, score in scores.items() if score == top), key=lambda pair: (natural(pair[0]), natural(pair[1]))
    )
    rivals = [
        pair for pair, score in scores.items()
        if pair != best and (pair[0] == best[0] or pair[1] == best[1]) and score[0] == top[0]
    ]  # fmt: skip
    return best, "name" if rivals else "", [rival for rival in rivals if not _told_apart(best, rival)]


def _likeness(one: str, other: str) -> int:
    if one == other:
        return 1000
    return 4 * len(words(one) & words(other)) - len(words(one) ^ words(other))


def _told_apart(best: tuple[str, str], rival: tuple[str, str]) -> bool:
    """Whether a word of the name, not just the lack of one, speaks for the best pair."""
    if best[0] == best[1]:
        return True
    side = 0 if best[0] != rival[0] else 1
    own = words(best[side]) - words(rival[side])
    return bool(own & words(best[1 - side]))


# -- aligning two families -------------------------------------------------------------------------


def _align(ours: list[Block], theirs: list[Block]) -> list[BlockPair]:
    """Pair in natural-number order, as far as what the blocks hold confirms it."""
    if not all(counting([block.number for block in blocks]) for blocks in (ours, theirs)):
        return []
    if len(ours) == len(theirs) and all(_overlap(a, b) >= _ALIKE for a, b in zip(ours, theirs)):
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
