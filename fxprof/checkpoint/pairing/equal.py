"""Equal names: taken, unless the numbering of their container has visibly shifted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

from fxprof.checkpoint.names import Path, natural
from fxprof.checkpoint.pairing.leaves import Leaf

Children = dict[str, tuple[tuple[Path, object], ...]]
_LONGEST = 400  # children compared in order; longer containers are taken at their word


def equal_leaves(source: Sequence[Leaf], target: Sequence[Leaf]) -> list[tuple[Leaf, Leaf]]:
    """Pair leaf modules of equal path and signature, outside containers whose numbers have shifted."""
    by_path = {leaf.path: leaf for leaf in source}
    pairs = [(by_path[leaf.path], leaf) for leaf in target if leaf.path in by_path]
    agreeing = [(one, other) for one, other in pairs if one.signature == other.signature]
    if len(agreeing) == len(source) == len(target):
        return agreeing
    moved = shifted(source, target)
    kept = [pair for pair in agreeing if not any(pair[0].path[:cut] in moved for cut in range(len(pair[0].path)))]
    return _without_partly_named(kept, source, target)


def _without_partly_named(
    pairs: list[tuple[Leaf, Leaf]], source: Sequence[Leaf], target: Sequence[Leaf]
) -> list[tuple[Leaf, Leaf]]:
    """Leave out rows that the other side names in part: layers.0 to layers.2 are its first, layers.0 and last."""
    taken = {leaf.path for leaf, _ in pairs}
    rows: list[set[tuple[Path, object]]] = []
    named: list[set[tuple[Path, object]]] = []
    for side in (source, target):
        free = [leaf for leaf in side if leaf.path not in taken and leaf.path]
        rows.append({(leaf.path[:-1], leaf.signature) for leaf in free if leaf.path[-1].isdecimal()})
        named.append({(leaf.path[:-1], leaf.signature) for leaf in free if not leaf.path[-1].isdecimal()})
    doubtful = {
        row for side in (0, 1) for row, signature in rows[side] if row and (row[:-1], signature) in named[1 - side]
    }
    return [(one, other) for one, other in pairs if one.path[:-1] not in doubtful or not one.path[-1].isdecimal()]


def without_copies(source: Sequence[Leaf], taken: Sequence[Leaf]) -> list[Leaf]:
    """Leave out a second tower: what lies under a prefix and repeats what has already been taken.

    What the model misses is not to be filled from a copy that happens to hold it.
    """
    paths = {(leaf.path, leaf.signature) for leaf in taken}
    under: Counter[Path] = Counter()
    again: Counter[Path] = Counter()
    for leaf in source:
        for cut in range(1, len(leaf.path)):
            under[leaf.path[:cut]] += 1
            again[leaf.path[:cut]] += (leaf.path[cut:], leaf.signature) in paths
    copies = {path for path, count in under.items() if again[path] > 1 and again[path] * 2 >= count}
    return [leaf for leaf in source if not any(leaf.path[:cut] in copies for cut in range(1, len(leaf.path)))]


def shifted(source: Iterable[Leaf], target: Iterable[Leaf]) -> set[Path]:
    """Containers in which equal numbers mean other layers: order explains more children than numbers do.

    A VGG with norms has its second convolution where a VGG without has its third.
    """
    ours, theirs = _containers(source), _containers(target)
    found: set[Path] = set()
    for path in ours.keys() & theirs.keys():
        one, other = ours[path], theirs[path]
        if one == other or max(len(one), len(other)) > _LONGEST:
            continue
        names_one, names_other = sorted(one, key=natural), sorted(other, key=natural)
        same = sum(one[name] == other[name] for name in one.keys() & other.keys())
        conflict = any(one[name] != other[name] for name in one.keys() & other.keys())
        blocks = SequenceMatcher(
            None, [one[name] for name in names_one], [other[name] for name in names_other], autojunk=False
        )
        aligned = sum(block.size for block in blocks.get_matching_blocks())
        if aligned > same + (0 if conflict else 1):
            found.add(path)
    return found


def _containers(leaves: Iterable[Leaf]) -> Mapping[Path, Children]:
    """For each path with numbered children: what each child holds."""
    held: dict[Path, dict[str, list[tuple[Path, object]]]] = defaultdict(lambda: defaultdict(list))
    for leaf in leaves:
        for cut, token in enumerate(leaf.path):
            if token.isdecimal():
                held[leaf.path[:cut]][token].append((leaf.path[cut + 1 :], leaf.signature))
    return {
        path: {name: tuple(sorted(entries, key=str)) for name, entries in children.items()}
        for path, children in held.items()
    }
