"""Tensors that a reparametrization keeps in place of one: what they are parts of, and which parts they are. No torch.

Weight norm keeps a weight as ``weight_g`` and ``weight_v``, or as ``parametrizations.weight.original0`` and
``original1`` since torch 2; spectral norm keeps ``weight_orig``, ``weight_u`` and ``weight_v``. A part is matched with
the same part of the same kind only, under either name: another kind's may have its name or its shape. What a model
has whole is computed from its parts where the formula needs no more than them; what it has under weight norm is
taken apart again. Other kinds are not: a plain weight says nothing of a mask, nor of what spectral norm divides by.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from fxprof.checkpoint.names import Path
from fxprof.records import Shape

_NEW = "parametrizations"
_OLD = re.compile(r"^(.+)_(g|v|u|orig|mask)$")
# The suffixes that torch.nn.utils writes, and those that make a kind what it is.
_KINDS = {
    "weight norm": ({"g", "v"}, {"g", "v"}),
    "spectral norm": ({"orig", "u"}, {"orig", "u", "v"}),
    "pruning": ({"orig", "mask"}, {"orig", "mask"}),
}
_SAME = {"original0": "g", "original1": "v", "original": "orig", "0._u": "u", "0._v": "v"}


# The parts that make the whole.
_MAKING = {"weight norm": ("g", "v"), "pruning": ("orig", "mask"), "spectral norm": ("orig", "u", "v")}


class Whole(NamedTuple):
    """A tensor that its parts make, or that makes them: under which path, how, which keys they have, its shape."""

    path: Path
    how: str
    keys: tuple[str, ...]
    shape: Shape


class Part(NamedTuple):
    """One part: of which tensor of which module, kept how, as what."""

    owner: Path
    tensor: str
    kind: str
    role: str

    @property
    def leaf(self) -> str:
        """A name of its own among the module's tensors."""
        return f"{self.tensor} {self.kind} {self.role}"


def parts_of(paths: Iterable[Path]) -> dict[Path, Part]:
    """The paths that are parts.

    >>> found = parts_of([("fc", "weight_g"), ("fc", "weight_v"), ("fc", "bias")])
    >>> [(".".join(path), part.kind, part.role) for path, part in found.items()]
    [('fc.weight_g', 'weight norm', 'g'), ('fc.weight_v', 'weight norm', 'v')]
    >>> new = ("fc", "parametrizations", "weight")
    >>> [part.leaf for part in parts_of([(*new, "original0"), (*new, "original1")]).values()]
    ['weight weight norm g', 'weight weight norm v']
    >>> parts_of([("attn", "rel_v")])
    {}
    """
    old: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    new: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for path in paths:
        if _NEW in path[:-2]:
            cut = len(path) - 1 - path[::-1].index(_NEW)
            rest = ".".join(path[cut + 2 :])
            if rest:
                new[path[:cut], path[cut + 1]][_SAME.get(rest, rest)] = path
        elif match := _OLD.match(path[-1]):
            old[path[:-1], match[1]][match[2]] = path
    found: dict[Path, Part] = {}
    for groups, is_new in ((old, False), (new, True)):
        for (owner, tensor), roles in groups.items():
            kind = _kind(set(roles), is_new)
            if kind:
                found.update({path: Part(owner, tensor, kind, role) for role, path in roles.items()})
    return found


def _kind(roles: set[str], is_new: bool) -> str:
    for kind, (needed, known) in _KINDS.items():
        if needed <= roles <= known:
            return kind
    return f"parametrization ({', '.join(sorted(roles))})" if is_new else ""


Named = Mapping[str, tuple[Path, Shape]]


def wholes_of_both(ours: Named, theirs: Named) -> tuple[list[Whole], list[Whole]]:
    """The tensors in parts, of the checkpoint and of the model, that are taken as whole, as the other side has them."""
    made = wholes(ours, (path for path, _ in theirs.values()))
    kept = taken_apart((path for path, _ in ours.values()), theirs)
    # What both keep in parts is of two kinds, neither of which is made of the other.
    both = {whole.path for whole in made} & {whole.path for whole in kept}
    return [whole for whole in made if whole.path not in both], [whole for whole in kept if whole.path not in both]


def taken_apart(ours: Iterable[Path], theirs: Named) -> list[Whole]:
    """What the model keeps in parts that can be computed, and the checkpoint does not; ``how`` has the axis of g.

    >>> theirs = {"fc.weight_g": (("fc", "weight_g"), (4, 1)), "fc.weight_v": (("fc", "weight_v"), (4, 3))}
    >>> [(whole.how, whole.keys) for whole in taken_apart([("fc", "weight")], theirs)]
    [('weight-norm:0', ('fc.weight_g', 'fc.weight_v'))]
    """
    found = [whole for whole in wholes(theirs, ours) if whole.how == "weight-norm"]
    return [whole._replace(how=f"{whole.how}{_axis(theirs[whole.keys[0]][1])}") for whole in found]


def _axis(part: Shape) -> str:
    """The axis along which norms were taken, behind a colon; nothing for one norm of all."""
    return f":{max(range(len(part)), key=part.__getitem__)}" if part else ""


def wholes(ours: Named, theirs: Iterable[Path]) -> list[Whole]:
    """What the checkpoint keeps in parts and the model does not.

    >>> ours = {"fc.weight_g": (("fc", "weight_g"), (4, 1)), "fc.weight_v": (("fc", "weight_v"), (4, 3))}
    >>> wholes(ours, [("fc", "weight")])
    [Whole(path=('fc', 'weight'), how='weight-norm', keys=('fc.weight_g', 'fc.weight_v'), shape=(4, 3))]
    """
    theirs = set(theirs)
    kinds = {part.kind for part in parts_of(theirs).values()}
    held = {path: key for key, (path, _) in ours.items()}
    roles: dict[tuple[Path, str], dict[str, str]] = defaultdict(dict)
    for path, part in parts_of(held).items():
        whole = (*part.owner, part.tensor)
        # Without its namesake on the other side, what is called like a part must at least be a weight's.
        elsewhere = part.kind not in kinds and "weight" in part.tensor
        if part.kind in _MAKING and whole not in held and (whole in theirs or elsewhere):
            roles[whole, part.kind][part.role] = held[path]
    found = []
    for (path, kind), named in roles.items():
        keys = tuple(named[role] for role in _MAKING[kind])
        shape = _whole_shape(kind, [ours[key][1] for key in keys])
        if shape is not None:
            found.append(Whole(path, kind.replace(" ", "-"), keys, shape))
    return found


def _whole_shape(kind: str, shapes: Sequence[Shape]) -> Shape | None:
    """The shape that the parts make; None where they do not fit together."""
    first, second = shapes[:2]
    if kind == "weight norm":
        return second if _is_axis(first, second) else None
    if kind == "pruning":
        return first if first == second else None
    rows, columns = (shape[0] if len(shape) == 1 else 0 for shape in shapes[1:])
    return first if rows and rows in first and rows * columns == prod(first) else None


def _is_axis(part: Shape, whole: Shape) -> bool:
    """Whether a part has one axis of the whole, the others of size 1; a number of its own has none."""
    along = len(part) == len(whole) and all(size in (1, full) for size, full in zip(part, whole))
    return not part or (along and sum(size > 1 for size in part) <= 1)


def kept_otherwise(ours: Iterable[Path], theirs: Iterable[Path]) -> list[str]:
    """One sentence for each way in which a tensor is kept otherwise in the checkpoint than in the model."""
    sides = (_kept(ours), _kept(theirs))
    seen: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for name, kinds in ((name, (sides[0][name], sides[1][name])) for name in sides[1] if name in sides[0]):
        if kinds[0] != kinds[1]:
            seen[kinds] += 1
            example.setdefault(kinds, name)
    return [_sentence(*kinds, count, example[kinds]) for kinds, count in seen.items()]


def _kept(paths: Iterable[Path]) -> Mapping[str, str]:
    """How every tensor is kept: "" where it is as it is."""
    paths = list(paths)
    found = parts_of(paths)
    kept = {".".join(path): "" for path in paths if path not in found}
    return {**kept, **{".".join((*part.owner, part.tensor)): part.kind for part in found.values()}}


def _sentence(ours: str, theirs: str, count: int, name: str) -> str:
    which = f"{count:,} tensors, such as {name}," if count > 1 else name
    verb = "are" if count > 1 else "is"
    if not theirs:
        return (
            f"{which} {verb} under {ours} in the checkpoint: apply it to the model before loading, or save without it."
        )
    if not ours:
        return f"{which} {verb} under {theirs} in the model and not in the checkpoint: load before it is applied."
    return f"{which} {verb} under {ours} in the checkpoint and under {theirs} in the model."
