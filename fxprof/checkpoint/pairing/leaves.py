"""Leaf modules: the tensors that share one owner, and the signature by which owners are compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from fxprof.checkpoint.names import TRACKED, Path, leaf_of, natural, words
from fxprof.checkpoint.pairing.parametrized import Whole, parts_of
from fxprof.records import Shape

Signature = tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a leaf module: its key, or the keys of q, k and v taken as one, or of what it is computed from."""

    keys: tuple[str, ...]
    shapes: tuple[Shape, ...]
    flipped: bool = False  # stored (in, out), compared as (out, in)
    how: str = ""  # how it is computed

    @property
    def shape(self) -> Shape:
        """The shape by which it is compared, sizes of 1 left out."""
        rows = sum(shape[0] for shape in self.shapes) if len(self.shapes) > 1 else None
        first = self.shapes[0]
        whole = first if rows is None else (rows, *first[1:])
        return squeezed(whole[::-1] if self.flipped else whole)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf module: where it is, and its tensors by canonical name ("" for a raw parameter)."""

    path: Path
    tensors: Mapping[str, Tensor]
    rank: int = 0  # place in the given order; used only where nothing else decides
    signature: Signature = field(init=False)
    loose: Signature = field(init=False)  # whatever a single tensor is called, however a weight is folded
    name: str = field(init=False)

    def __post_init__(self) -> None:
        found = sorted((leaf, tensor.shape) for leaf, tensor in self.tensors.items() if leaf != TRACKED)
        object.__setattr__(self, "signature", tuple(found))
        named = [("", found[0][1])] if len(found) == 1 else found
        object.__setattr__(self, "loose", tuple((leaf, folded(shape)) for leaf, shape in named))
        object.__setattr__(self, "name", ".".join(self.path))


def squeezed(shape: Shape) -> Shape:
    """The shape without its ones; a kernel keeps them, or 1x7 would be 7x1.

    >>> squeezed((768, 1, 1)), squeezed((1, 1)), squeezed((8, 4, 1, 1)), squeezed((8, 4, 1, 7))
    ((768,), (), (8, 4), (8, 4, 1, 7))
    """
    if len(shape) > 3 and shape[0] != 1 and any(size != 1 for size in shape[2:]):
        return shape
    return tuple(size for size in shape if size != 1)


def folded(shape: Shape) -> Shape:
    """Rows and columns: what a convolution has in common with the linear layer of the same elements.

    >>> folded((4096, 512, 7, 7))
    (4096, 25088)
    """
    return shape if len(shape) < 3 else (shape[0], prod(shape[1:]))


def leaves(named: Mapping[str, tuple[Path, Shape]], made: Sequence[Whole] = ()) -> list[Leaf]:
    """Group keys into leaf modules; each key comes with its normalized path. ``made`` stand for their keys."""
    parts = {key for whole in made for key in whole.keys}
    named = {key: entry for key, entry in named.items() if key not in parts}
    siblings: dict[Path, set[str]] = defaultdict(set)
    for path, _ in named.values():
        siblings[path[:-1]].add(path[-1])
    owners: dict[Path, dict[str, Tensor]] = {}
    ranks: dict[Path, int] = {}
    split = parts_of(path for path, _ in named.values())
    for rank, (key, (path, shape)) in enumerate(named.items()):
        part = split.get(path)
        owner, leaf = (part.owner, part.leaf) if part else leaf_of(path, siblings[path[:-1]])
        tensors = owners.setdefault(owner, {})
        ranks.setdefault(owner, rank)
        while leaf in tensors:  # gamma beside weight: both are there
            leaf += "'"
        tensors[leaf] = Tensor((key,), (shape,))
    for whole in made:
        owner, leaf = leaf_of(whole.path)
        ranks.setdefault(owner, len(named))
        owners.setdefault(owner, {})[leaf] = Tensor(whole.keys, (whole.shape,), how=whole.how)
    found = [Leaf(path, tensors, ranks[path]) for path, tensors in owners.items() if set(tensors) != {TRACKED}]
    return sorted(found, key=lambda leaf: natural(leaf.name))


# -- q, k and v, separate on one side and fused on the other --------------------------------------

_FUSED = ("qkv", "kv")  # the letters that libraries keep in one tensor


def fuse(here: list[Leaf], there: list[Leaf]) -> list[Leaf]:
    """Join q, k and v siblings (or k and v) into one leaf wherever the other side holds that leaf fused.

    Where it holds siblings of its own, what has the fused shape is something else: an MLP three times as wide.
    """
    wanted = Counter(leaf.signature for leaf in there)
    have = Counter(leaf.signature for leaf in here)
    gone: set[str] = set()
    made: list[Leaf] = []
    for letters in _FUSED:
        apart = {joined.signature for parts in _siblings(there, letters) if (joined := _joined(parts, letters)[0])}
        for parts in _siblings(here, letters):
            joined, rest = _joined(parts, letters)
            if (
                joined
                and joined.signature not in apart
                and wanted[joined.signature] > have[joined.signature]
                and not gone & {p.name for p in parts}
            ):
                gone.update(part.name for part in parts)
                made += [joined, *rest]
    return sorted([*(leaf for leaf in here if leaf.name not in gone), *made], key=lambda leaf: natural(leaf.name))


def _siblings(found: list[Leaf], letters: str) -> list[list[Leaf]]:
    """Leaf modules beside each other whose names differ in these letters only."""
    groups: dict[tuple[Path, frozenset[str]], dict[str, list[Leaf]]] = defaultdict(lambda: defaultdict(list))
    for leaf in found:
        said = words(leaf.path[-1]) if leaf.path else frozenset()
        letter = said & set(letters)
        if len(letter) == 1:
            groups[leaf.path[:-1], frozenset(said - letter)][next(iter(letter))].append(leaf)
    return [
        [group[letter][0] for letter in letters]
        for group in groups.values()
        if set(group) == set(letters) and all(len(leaves) == 1 for leaves in group.values())
    ]


def _joined(parts: list[Leaf], letters: str) -> tuple[Leaf | None, list[Leaf]]:
    """One leaf of the tensors that all parts have, and leaves of what only some have: k often has no bias."""
    names = set.intersection(*(set(part.tensors) for part in parts))
    tensors: dict[str, Tensor] = {}
    for leaf in names:
        these = [part.tensors[leaf] for part in parts]
        shapes = tuple(tensor.shapes[0] for tensor in these)
        whole = all(not tensor.flipped and not tensor.how for tensor in these)
        if not whole or any(not shape or shape[1:] != shapes[0][1:] for shape in shapes):
            return None, []
        tensors[leaf] = Tensor(tuple(tensor.keys[0] for tensor in these), shapes)
    if not tensors:
        return None, []
    own = [(part, {name: part.tensors[name] for name in part.tensors if name not in names}) for part in parts]
    rest = [Leaf(part.path, tensors, part.rank) for part, tensors in own if tensors]
    return Leaf((*parts[0].path[:-1], letters), tensors, min(part.rank for part in parts)), rest


# -- weights stored (in, out) ----------------------------------------------------------------------


def upright(found: list[Leaf]) -> list[Leaf]:
    """Turn weights that are stored (in, out), as GPT-2's are; biases tell which way a weight lies.

    A square weight lies as its neighbours do: where every telling weight with a bias lies the other way.
    """
    telling = [lies for leaf in found if (lies := _lies(leaf)) is not None]
    if telling.count(True) <= telling.count(False):
        return found
    return [_turned(leaf) if _lies(leaf) is not False and _is_linear(leaf) else leaf for leaf in found]


def _is_linear(leaf: Leaf) -> bool:
    weight, bias = leaf.tensors.get("weight"), leaf.tensors.get("bias")
    return weight is not None and bias is not None and len(weight.shapes) == 1 and len(weight.shapes[0]) == 2


def _lies(leaf: Leaf) -> bool | None:
    """True where the bias fits the columns only, False where it fits the rows only."""
    if not _is_linear(leaf):
        return None
    rows, columns = leaf.tensors["weight"].shapes[0]
    size = prod(leaf.tensors["bias"].shapes[0])
    return None if rows == columns or size not in (rows, columns) else size == columns


def _turned(leaf: Leaf) -> Leaf:
    weight = leaf.tensors["weight"]
    return Leaf(leaf.path, {**leaf.tensors, "weight": replace(weight, flipped=True)}, leaf.rank)
