"""What found no partner: the same tensor under another shape, told by its name."""

from __future__ import annotations

from collections.abc import Sequence

from fxprof.checkpoint.names import Path, words
from fxprof.checkpoint.pairing.leaves import Leaf
from fxprof.checkpoint.pairing.outcome import adaptation, tensor_pairs
from fxprof.records import Shape

_MOST = 20_000  # pairs compared by words


def reshaped_pairs(source: Sequence[Leaf], target: Sequence[Leaf]) -> list[tuple[Leaf, Leaf]]:
    """Leaf modules that are the same but for a shape: of equal path first, then alike in name and kind."""
    by_path: dict[Path, Leaf] = {leaf.path: leaf for leaf in source}
    # Equal in shape too, they were kept apart for a reason.
    found = [(one, leaf) for leaf in target if (one := by_path.get(leaf.path)) and one.signature != leaf.signature]
    ours = [leaf for leaf in source if all(leaf is not pair[0] for pair in found)]
    theirs = [leaf for leaf in target if all(leaf is not pair[1] for pair in found)]
    if len(ours) * len(theirs) > _MOST:
        return found
    fits = [
        (_shared(one, other), one, other)
        for one in ours
        for other in theirs
        if _comparable(one, other) and _adaptable(one, other) and _shared(one, other)
    ]
    for score, one, other in fits:
        rivals = [s for s, a, b in fits if (a is one) != (b is other)]
        if all(score > rival for rival in rivals):
            found.append((one, other))
    return found


def _shared(one: Leaf, other: Leaf) -> int:
    """Words in common; the last part of the path counts most."""
    last = words(one.path[-1] if one.path else "") & words(other.path[-1] if other.path else "")
    return 2 * len(last) + len(words(one.name) & words(other.name))


def _comparable(one: Leaf, other: Leaf) -> bool:
    """The same kind of module: tensors of the same names, and as many axes."""
    pairs = tensor_pairs(one, other)
    return bool(pairs) and all(len(_shape(a.shapes)) == len(_shape(b.shapes)) for a, b in pairs)


def _adaptable(one: Leaf, other: Leaf) -> bool:
    """Whether an adaptation explains every difference; where there is none, stronger evidence has found too little."""
    pairs = [(a, b) for a, b in tensor_pairs(one, other) if _shape(a.shapes) != _shape(b.shapes)]
    return bool(pairs) and all(adaptation(b.keys[0], _shape(b.shapes), _shape(a.shapes)) for a, b in pairs)


def _shape(shapes: tuple[Shape, ...]) -> Shape:
    return shapes[0]
