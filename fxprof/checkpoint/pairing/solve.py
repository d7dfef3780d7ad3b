"""Decide the map of local names of every type of block: rules in order of strength, until nothing moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fxprof.checkpoint.names import natural, template
from fxprof.checkpoint.pairing.blocks import Block
from fxprof.checkpoint.pairing.evidence import RULES, Known
from fxprof.checkpoint.pairing.families import pair_blocks, turned_levels
from fxprof.checkpoint.pairing.leaves import Leaf
from fxprof.checkpoint.pairing.types import BlockType, Choice, OpenClass, block_types, whole_type, with_feeds

_SHOWN = 20  # candidates listed for one tensor


@dataclass(frozen=True)
class LeafPair:
    """A leaf module of the checkpoint, one of the model, and why."""

    source: Leaf
    target: Leaf
    reason: str
    sure: bool


@dataclass
class Solution:
    """What was decided, what only order speaks for, and the candidates of what is open."""

    pairs: list[LeafPair] = field(default_factory=list)
    likely: list[LeafPair] = field(default_factory=list)
    candidates: dict[str, tuple[Leaf, ...]] = field(default_factory=dict)  # target leaf's name -> source leaves


@dataclass(frozen=True)
class Clues:
    """What is known beside names and shapes."""

    ranks: Mapping[str, int] = field(default_factory=dict)  # target leaf's name -> place in the order of use
    feeds: Mapping[str, frozenset[str]] = field(default_factory=dict)  # target leaf's name -> its neighbours
    hints: Sequence[tuple[str, str]] = ()
    named: frozenset[str] = frozenset()  # templates of the leaf modules that both sides call the same


def solve(source: Sequence[Leaf], target: Sequence[Leaf], clues: Clues) -> Solution:
    """Pair leaf modules by what their blocks hold."""
    if not source or not target:
        return Solution()
    blocks = [pair for pair in pair_blocks(source, target) if _known(pair.source, clues) == _known(pair.target, clues)]
    paired = (
        {leaf.name for pair in blocks for leaf in pair.source.leaves},
        {leaf.name for pair in blocks for leaf in pair.target.leaves},
    )
    rest = (
        [leaf for leaf in source if leaf.name not in paired[0]],
        [leaf for leaf in target if leaf.name not in paired[1]],
    )
    kinds = [*block_types(blocks), whole_type(*rest, clues.named)]
    templates = frozenset(template(name) for side in paired for name in side)
    known = Known(kinds, clues.hints, _complete(*rest), templates, turned_levels(blocks))
    for loose in (False, True):
        for kind in kinds:
            with_feeds(kind, clues.feeds)
            kind.classify(loose)
        _propagate(kinds, known)
    return _solution(kinds, clues)


def _known(block: Block, clues: Clues) -> bool:
    """Whether a block holds what both sides call the same elsewhere: then nothing of another name takes its place."""
    return any(template(leaf.name) in clues.named for leaf in block.leaves)


def _complete(source: Sequence[Leaf], target: Sequence[Leaf]) -> bool:
    """Whether both sides hold the same outside the blocks, but for one leaf module that one side has beside.

    Only then does the last one left of a shape fit for sure.
    """
    ours, theirs = Counter(leaf.loose for leaf in source), Counter(leaf.loose for leaf in target)
    extra = (ours - theirs).total(), (theirs - ours).total()
    return min(extra) == 0 and max(extra) <= 1


def _propagate(kinds: Sequence[BlockType], known: Known) -> None:
    """Apply the strongest rule that decides anything; what it decided may settle others."""
    moved = True
    while moved:
        moved = False
        for reason, rule in RULES:
            for kind in kinds:
                for group in kind.classes:
                    for one, other in rule(kind, group, known) if group.decidable else ():
                        if reason != "user" and not known.allows(kind, one, other):
                            continue
                        kind.decide(group, Choice(one, other, _reason(reason, group), group.sure))
                        moved = True
            if moved:
                break


def _reason(rule: str, group: OpenClass) -> str:
    """What is left over after a decision rests on what that decision rested on."""
    return group.reason if rule == "structure" else rule


# -- what comes out --------------------------------------------------------------------------------


def _solution(kinds: Sequence[BlockType], clues: Clues) -> Solution:
    found = Solution()
    for kind in kinds:
        for choice in kind.choices:
            found_in = found.pairs if choice.sure and kind.sure else found.likely
            found_in += _instances(kind, choice)
        for group in kind.classes:
            _leave_open(kind, group, clues, found)
    for pair in found.likely:
        found.candidates.setdefault(pair.target.name, (pair.source,))
    return found


def _instances(kind: BlockType, choice: Choice) -> list[LeafPair]:
    reason = choice.reason if kind.sure else kind.reason
    sure = choice.sure and kind.sure
    return [LeafPair(ours[choice.source], theirs[choice.target], reason, sure) for ours, theirs in kind.instances]


def _leave_open(kind: BlockType, group: OpenClass, clues: Clues, found: Solution) -> None:
    """List the candidates; where both sides hold equally many, order says which is likeliest."""
    if not group.decidable:
        return
    shown = sorted(group.source, key=natural)[:_SHOWN]
    for ours, theirs in kind.instances:
        for other in group.target:
            found.candidates[theirs[other].name] = tuple(ours[one] for one in shown)
    if len(group.source) == len(group.target):
        first = _in_order(kind, 0, group.source, clues)
        for one, other in zip(first, _in_order(kind, 1, group.target, clues)):
            found.likely += _instances(kind, Choice(one, other, "order", False))


def _in_order(kind: BlockType, side: int, names: Sequence[str], clues: Clues) -> list[str]:
    """By place; names that came sorted carry no order but that of their numbers."""
    ranked = sorted(names, key=lambda name: kind.rank(side, name, clues.ranks))
    return sorted(names, key=natural) if side == 0 and ranked == sorted(names) else ranked
