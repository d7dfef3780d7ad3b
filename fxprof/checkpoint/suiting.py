"""Which dict of tensors in a file suits a model: the likeliest by its name, another, or several as one. No torch.

A file often holds one dict for each part of a model ({"encoder": ..., "decoder": ...}). Where the model has modules of
their names, these are joined under them. Where it is made for one of the parts, that part is taken.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fxprof.checkpoint.names import TRACKED, Path, is_trailing, split, unwrapped
from fxprof.checkpoint.pairing.prefixes import agreement
from fxprof.checkpoint.unwrap import Found, beside, items_of, join, rank
from fxprof.errors import CheckpointError
from fxprof.records import Shape
from fxprof.views.text import listed

if TYPE_CHECKING:
    from fxprof.checkpoint.formats.store import Store

Shapes = dict[Path, Shape]
# What is written behind a part's name, or around its tensors, and says no more.
_ENDING = re.compile(r"_(model_)?(state_dict|state|weights|params)$")
_AROUND = {"state_dict", "model_state_dict", "model_state", "weights", "params", "module"}


def suited(found: Sequence[Found], default: Found, model: Mapping[str, Shape], store: Store, where: str) -> Found:
    """What of a file to take for a model; ``default`` unless something else clearly fits more of it.

    Raises CheckpointError where two fit equally well.
    """
    target = _bare(model)
    weights = {one.path: _bare(shapes) for one in found if not beside(one) and (shapes := _shapes(one, store))}
    if len(weights) < 2 or default.path not in weights:
        return default
    # Averages are taken for trained weights only where there are none.
    rivals = [one for one in found if one.path in weights and (is_trailing(default.path) or not is_trailing(one.path))]
    fits = {one.path: agreement(weights[one.path], target) for one in rivals}
    most, own = max(fits.values()), _alike(weights[default.path], target)
    joins = [one for one in _joins(weights, target) if is_trailing(default.path) or not is_trailing(one.path)]
    placed = max((one.placed for one in joins), default=0)
    if placed > max(most, own, agreement(_names(weights[default.path]), _names(target))):
        by_path = {one.path: one for one in found}
        made = [one.made(by_path, store) for one in joins if one.placed == placed]
        if fitting := [one for one in made if one is not None]:
            return _only(fitting, found, where)
    if 2 * most < len(target) or fits[default.path] < most <= own:
        return default
    return _only([one for one in rivals if fits[one.path] == most], found, where)


def _only(best: Sequence[Found], found: Sequence[Found], where: str) -> Found:
    """Of those that fit equally well, the one that is likelier by its name."""
    root = found[0].tensors if not found[0].path else 0
    first = min(best, key=lambda one: rank(one, root))
    equal = [repr(one.name) for one in best if rank(one, root) == rank(first, root)]
    if len(equal) > 1:
        raise CheckpointError(
            f"one dict of tensors in {where} must fit the model best, but {listed(equal)} fit equally well; "
            "choose one with container="
        )
    return first


def _shapes(one: Found, store: Store) -> dict[str, Shape]:
    """Names and shapes of a dict; none where one of its tensors has none, which matters only to whom it is for."""
    leaves = {key: leaf for key, leaf in items_of(one.entries) if isinstance(key, str) and store.is_tensor(leaf)}
    try:
        return {key: store.spec(leaf).shape for key, leaf in leaves.items()}
    except CheckpointError:
        return {}


def _bare(named: Mapping[str, Shape]) -> Shapes:
    return {unwrapped(split(name)): shape for name, shape in named.items() if not name.endswith(TRACKED)}


def _names(shapes: Shapes) -> Shapes:
    return dict.fromkeys(shapes, ())


def _alike(one: Shapes, other: Shapes) -> int:
    """How many tensors could be each other's by their shapes."""
    return (Counter(one.values()) & Counter(other.values())).total()


# -- several as one --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Join:
    """Dicts below ``path``, each with the module that it is named after; ``placed`` of their tensors have a place."""

    path: Path
    parts: Mapping[Path, Path]
    placed: int

    def made(self, found: Mapping[Path, Found], store: Store) -> Found | None:
        return join(self.path, [(found[path], module) for path, module in self.parts.items()], store.is_tensor)


def _joins(weights: Mapping[Path, Shapes], target: Shapes) -> list[_Join]:
    """All ways to take several dicts together, each as the module that it is named after."""
    below: dict[Path, dict[Path, Path]] = defaultdict(dict)
    for path in weights:
        for cut in range(len(path) + 1):
            below[path[:cut]][path] = _module(path[cut:])
    places = _places(target, {module for parts in below.values() for module in parts.values()})
    found: dict[frozenset[Path], _Join] = {}
    for above, parts in sorted(below.items(), key=lambda item: len(item[0])):
        bases = {base for module in parts.values() if module for base in places.get(module, ())}
        for base in sorted(bases, key=lambda base: (len(base), base)):
            inside = {path: places.get(module, {}).get(base, {}) for path, module in parts.items()}
            one = _join(above, parts, inside, weights)
            if one is not None:
                found.setdefault(frozenset(one.parts), one)
    return list(found.values())


def _join(
    above: Path, parts: Mapping[Path, Path], inside: Mapping[Path, Shapes], weights: Mapping[Path, Shapes]
) -> _Join | None:
    """Those dicts of which at least half have a place in their module; None for fewer than two."""
    taken: dict[Path, Path] = {}
    placed = 0
    for path, module in parts.items():
        named = len(weights[path].keys() & inside[path].keys())
        # Nothing but its names ties a dict to the model as a whole.
        fit = max(named, _alike(weights[path], inside[path])) if module else named
        if fit and 2 * fit >= len(weights[path]):
            taken[path] = module
            placed += fit
    return _Join(above, taken, placed) if 1 < len(taken) == len(set(taken.values())) else None


def _places(target: Shapes, modules: set[Path]) -> Mapping[Path, Mapping[Path, Shapes]]:
    """For each of these modules that the model has, the paths that lead to one of its name, and what is in it there."""
    tokens = {token for path in target for token in path}
    wanted = {module for module in modules if tokens.issuperset(module)}
    found: dict[Path, dict[Path, Shapes]] = defaultdict(dict)
    for path, shape in target.items() if any(wanted) else ():
        for end in range(len(path)):
            for start in range(end + 1):
                if path[start:end] in wanted:
                    found[path[start:end]].setdefault(path[:start], {})[path[end:]] = shape
    return found


def _module(path: Path) -> Path:
    """What module a dict is named after.

    >>> _module(("model", "encoder_state_dict")), _module(("decoder", "state_dict"))
    (('model', 'encoder'), ('decoder',))
    """
    return tuple(_ENDING.sub("", step) for step in path if step not in _AROUND)
