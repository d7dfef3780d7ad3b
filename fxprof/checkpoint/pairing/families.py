"""Families of blocks, whose names differ in their numbers only: which belongs to which."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise, product

from fxprof.checkpoint.names import natural, template, words
from fxprof.checkpoint.pairing.aligning import align
from fxprof.checkpoint.pairing.blocks import Block, BlockPair, best_cuts
from fxprof.checkpoint.pairing.leaves import Leaf


def pair_blocks(source: Sequence[Leaf], target: Sequence[Leaf]) -> list[BlockPair]:
    """Cut both sides where their blocks agree best, and pair the blocks."""
    best = best_cuts(source, target)
    if best is None or not best[0]:
        # One norm more in every block of one side, and none is equal to any: then by the kinds that they hold.
        kinds = best_cuts(source, target, kinds_only=True)
        best = kinds if kinds is not None and kinds[0] else best
    return [] if best is None else _pair_families(*best[1])


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
        found = align(ours[one], theirs[other])
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
