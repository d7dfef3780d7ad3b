"""Blocks: the repeated parts of a model, found by cutting names at a number, and paired by what they hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from fxprof.checkpoint.names import Path, natural, numbers, template
from fxprof.checkpoint.pairing.leaves import Leaf, Signature

_DEPTHS = (1, 2, 3, 4)
_CLOSE = 0.9  # a cut that explains nearly as much as the best, in more blocks, says more

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


def best_cuts(
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
