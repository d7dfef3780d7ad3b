"""Types of blocks: pairs of blocks with the same local names share one unknown, the map of these names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fxprof.checkpoint.names import Path, natural, template
from fxprof.checkpoint.pairing.blocks import BlockPair
from fxprof.checkpoint.pairing.leaves import Leaf

Local = str
Instance = tuple[Mapping[Local, Leaf], Mapping[Local, Leaf]]


@dataclass(frozen=True)
class Choice:
    """A decided pair of local names."""

    source: Local
    target: Local
    reason: str
    sure: bool = True


@dataclass
class OpenClass:
    """Local names of both sides that nothing has told apart yet; their shapes agree in every instance."""

    source: list[Local]
    target: list[Local]
    reason: str = "structure"  # what the last decision in it rested on: the rest follows by elimination
    sure: bool = True

    @property
    def decidable(self) -> bool:
        """Both sides still hold something."""
        return bool(self.source and self.target)


@dataclass
class BlockType:
    """All block pairs with these local names, what is decided and what is open."""

    source: tuple[Local, ...]
    target: tuple[Local, ...]
    instances: list[Instance]
    reason: str = ""  # of the pairing of its blocks
    sure: bool = True
    whole: bool = False  # not a repeated block: the stem, the head, and what fits no block
    named: frozenset[str] = frozenset()  # templates of what both sides call the same elsewhere
    choices: list[Choice] = field(default_factory=list)
    classes: list[OpenClass] = field(default_factory=list)
    feeds: Mapping[Local, frozenset[Local]] = field(default_factory=dict)  # target side, both directions

    def classify(self, loose: bool = False) -> None:
        """Sort what is undecided into classes of equal signatures over all instances.

        What has lost its namesake is no class with what never had one.
        """
        used = {choice.source for choice in self.choices}, {choice.target for choice in self.choices}
        groups: dict[object, OpenClass] = defaultdict(lambda: OpenClass([], []))
        for side, names in enumerate((self.source, self.target)):
            for name in names:
                if name not in used[side]:
                    held = (instance[side][name] for instance in self.instances)
                    key = template(name) in self.named, *(leaf.loose if loose else leaf.signature for leaf in held)
                    (groups[key].target if side else groups[key].source).append(name)
        self.classes = [group for group in groups.values() if group.decidable]

    def decide(self, group: OpenClass, choice: Choice) -> None:
        """Take a pair out of its class."""
        group.source.remove(choice.source)
        group.target.remove(choice.target)
        group.reason, group.sure = choice.reason, group.sure and choice.sure
        self.choices.append(choice)

    def rank(self, side: int, local: Local, ranks: Mapping[str, int]) -> int:
        """Where the first instance comes in the given order."""
        leaf = self.instances[0][side][local]
        return ranks.get(leaf.name, leaf.rank) if side else leaf.rank


def block_types(pairs: Sequence[BlockPair]) -> list[BlockType]:
    """Group block pairs by their local names."""
    found: dict[tuple[object, ...], BlockType] = {}
    for pair in pairs:
        ours = {_local(leaf, pair.source.name): leaf for leaf in pair.source.leaves}
        theirs = {_local(leaf, pair.target.name): leaf for leaf in pair.target.leaves}
        key = (frozenset(ours), frozenset(theirs), pair.sure)
        if key not in found:
            names = tuple(sorted(ours, key=natural)), tuple(sorted(theirs, key=natural))
            found[key] = BlockType(*names, [], pair.reason, pair.sure)
        found[key].instances.append((ours, theirs))
    return list(found.values())


def whole_type(source: Iterable[Leaf], target: Iterable[Leaf], named: frozenset[str] = frozenset()) -> BlockType:
    """One type for everything outside the paired blocks."""
    ours, theirs = {leaf.name: leaf for leaf in source}, {leaf.name: leaf for leaf in target}
    return BlockType(tuple(ours), tuple(theirs), [(ours, theirs)], whole=True, named=named)


def _local(leaf: Leaf, block: str) -> Local:
    return leaf.name[len(block) :].lstrip(".")


def with_feeds(kind: BlockType, feeds: Mapping[str, frozenset[str]]) -> None:
    """Keep the neighbours in the model's graph, in local names, as seen in the first instance."""
    theirs = kind.instances[0][1]
    local = {leaf.name: name for name, leaf in theirs.items()}
    found: dict[Local, set[Local]] = {name: set() for name in theirs}
    for name, leaf in theirs.items():
        for other in feeds.get(leaf.name, ()):
            if other in local:
                found[name].add(local[other])
                found[local[other]].add(name)
    kind.feeds = {name: frozenset(near) for name, near in found.items()}


def parent(local: Local) -> Path:
    """The dotted path above a local name."""
    return tuple(local.split(".")[:-1])
