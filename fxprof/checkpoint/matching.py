"""Match a checkpoint onto a model by names and shapes: what would load, why, and what is left over.

``match_names`` is a pure function; ``match`` reads the file and describes the model for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fxprof.checkpoint.names import TRACKED, Path, template
from fxprof.checkpoint.pairing.equal import equal_leaves, shifted, without_copies
from fxprof.checkpoint.pairing.leaves import Leaf, fuse, leaves, upright
from fxprof.checkpoint.pairing.leftovers import reshaped_pairs
from fxprof.checkpoint.pairing.outcome import ADAPTATIONS, Outcome, tensor_pairs
from fxprof.checkpoint.pairing.parametrized import kept_otherwise, wholes_of_both
from fxprof.checkpoint.pairing.prefixes import Normalized, normalize
from fxprof.checkpoint.pairing.renames import Rename, Renames, read_renames
from fxprof.checkpoint.pairing.report import coverage, explain, own_states, packed
from fxprof.checkpoint.pairing.solve import Clues, LeafPair, solve
from fxprof.checkpoint.plan import Container, Plan, Target
from fxprof.errors import InputError
from fxprof.records import Shape
from fxprof.views.text import listed

if TYPE_CHECKING:
    from torch import nn

DEFAULT_ADAPT = ("qkv", "reshape")


def match(
    model: nn.Module,
    source: Any,
    *,
    prefix: str = "auto",
    rename: Rename = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    adapt: str | Sequence[str] = (),
    inputs: Any = None,
    trust: bool = False,
    container: str | None = None,
) -> Plan:
    """Say what of a checkpoint would load into a model, without touching either.

    Args:
        model: the module that is to take the weights; on any device, wrapped or not.
        source: a path or URL of a checkpoint, or a mapping of names to tensors, or a dict around one.
        prefix: "auto" finds it; "" is none; a text comes off the checkpoint's names, or the model's.
        rename: "auto" takes what is sure, "best" also the likeliest of the rest, False nothing; a mapping
            of names or parts of names, (regex, replacement) pairs or a callable are the user's own.
        include: globs over the model's names; only these load.
        exclude: globs over the model's names that do not load.
        adapt: opt-in transforms: "first-conv", "head-rows", "pos-embed", "transpose", "rope".
        inputs: as for ``analyze``; the model is traced, and its dataflow counts as evidence.
        trust: allow a pickle to run code while it is read.
        container: which dict of tensors of the file to take, where it holds several.

    Returns:
        The plan; ``load(model, source, plan=plan)`` applies it.
    """
    from fxprof.checkpoint.graph import describe

    if isinstance(source, Mapping) and container is None and _is_flat(source):
        shapes = {key: tuple(int(size) for size in value.shape) for key, value in source.items()}
        found = Container()
    else:
        from fxprof.checkpoint.reading import read

        checkpoint = read(source, trust=trust, container=container).suited(describe(model).shapes)
        shapes = {key: tuple(spec.shape) for key, spec in checkpoint.specs.items()}
        found = checkpoint.container
    target = describe(model, inputs)
    plan = match_names(shapes, target, prefix=prefix, rename=rename, include=include, exclude=exclude, adapt=adapt)
    return replace(plan, container=found, notes=(*plan.notes, *own_states(found.extras, target)))


def _is_flat(source: Mapping[Any, Any]) -> bool:
    """Whether a mapping gives each name a shape, rather than being a container around such a one."""
    try:
        return all(
            isinstance(key, str) and not getattr(value, "is_nested", False) and hasattr(value, "shape")
            for key, value in source.items()
        )
    except RuntimeError:  # a lazy tensor has none, as a nested one, and ``read`` says so
        return False


def match_names(
    source: Mapping[str, Shape],
    target: Target,
    *,
    prefix: str = "auto",
    rename: Rename = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    adapt: str | Sequence[str] = (),
) -> Plan:
    """The pure part of ``match``: names and shapes in, a plan out."""
    options = _options(prefix, adapt)
    renames = read_renames(rename, list(source))
    sides = _normalized(source, target, renames, prefix)
    outcome = Outcome(options, renames.names)
    if prefix not in ("auto", "") and not sides.found.prefix:
        outcome.hints.append(f"prefix {prefix!r} is that of no name of the checkpoint or the model.")
    if renames.unused:
        outcome.hints.append(f"rename has {listed(map(repr, renames.unused))}, which is in no name of the checkpoint.")
    _pair(sides, target, renames, outcome)
    return _plan(source, target, sides, outcome, _chosen(target, include, exclude))


def _options(prefix: object, adapt: str | Sequence[str]) -> frozenset[str]:
    if not isinstance(prefix, str):
        raise InputError(f"prefix must be 'auto', '' or a prefix of the names, got {prefix!r}")
    names = _texts("adapt", adapt)
    if unknown := [name for name in names if name not in ADAPTATIONS]:
        raise InputError(f"adapt must be of {', '.join(ADAPTATIONS)}; got {unknown[0]!r}")
    return frozenset((*names, *DEFAULT_ADAPT))


def _texts(option: str, given: object) -> tuple[str, ...]:
    """An option that is one text or several."""
    found = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if wrong := [text for text in found if not isinstance(text, str)]:
        raise InputError(f"{option} must be a text or several, got {wrong[0]!r}")
    return found


# -- names -----------------------------------------------------------------------------------------


@dataclass
class Sides:
    """Both sides' tensors under normalized names, and what normalization set aside."""

    source: dict[str, tuple[Path, Shape]]
    target: dict[str, tuple[Path, Shape]]
    found: Normalized
    repeats: dict[str, str]
    clashes: dict[str, tuple[str, ...]]  # target -> the keys that normalize to its name


def _normalized(source: Mapping[str, Shape], target: Target, renames: Renames, prefix: str) -> Sides:
    new_names = {key: renames.names.get(key, key) for key in source}
    old_names = {name: key for key, name in new_names.items()}
    found = normalize({new_names[key]: shape for key, shape in source.items()}, target.shapes, prefix)
    ours = {old_names[name]: entry for name, entry in found.source.items()}
    sides = Sides(ours, dict(found.target), found, {}, {})
    _set_clashes_aside(sides, old_names)
    _fold_aliases(sides, target)
    return sides


def _set_clashes_aside(sides: Sides, old_names: Mapping[str, str]) -> None:
    """Several keys of one normalized name: none is taken, all are candidates."""
    by_path = {path: name for name, (path, _) in sides.target.items()}
    for path, names in sides.found.clashes.items():
        keys = tuple(old_names[name] for name in names)
        if path in by_path:
            sides.clashes[by_path[path]] = keys
            sides.target.pop(by_path[path])
        for key in keys:
            sides.source.pop(key, None)


def _fold_aliases(sides: Sides, target: Target) -> None:
    """A tied tensor has one name: keys under its other names go there, or repeat what is there."""
    held = {path: key for key, (path, _) in sides.source.items()}
    for alias, owner in target.aliases.items():
        alias_path, _ = sides.target.pop(alias, ((), ()))
        key = held.get(alias_path)
        if key is None or owner not in sides.target:
            continue
        owner_path = sides.target[owner][0]
        if owner_path in held:
            sides.repeats[key] = owner
            sides.source.pop(key)
        else:
            sides.source[key] = (owner_path, sides.source[key][1])
            held[owner_path] = key


# -- pairs -----------------------------------------------------------------------------------------


def _pair(sides: Sides, target: Target, renames: Renames, outcome: Outcome) -> None:
    made, kept = wholes_of_both(sides.source, sides.target)
    ours, theirs = upright(leaves(sides.source, made)), upright(leaves(sides.target, kept))
    moved = shifted(ours, theirs)
    equal = equal_leaves(ours, theirs)
    for one, other in equal:
        outcome.add(LeafPair(one, other, "name", True))
    ours, theirs = _without(ours, [one for one, _ in equal]), _without(theirs, [other for _, other in equal])
    if renames.mode != "off":
        ours = without_copies(ours, [one for one, _ in equal])
        ours, theirs = fuse(ours, theirs), fuse(theirs, ours)
        namesakes = frozenset(template(leaf.name) for leaf, _ in equal)
        solution = solve(ours, theirs, replace(_clues(target, sides, renames), named=namesakes))
        for pair in solution.pairs:
            outcome.add(pair)
        left = _without(theirs, [pair.target for pair in solution.pairs])
        free = _without(ours, [pair.source for pair in solution.pairs])
        if renames.mode == "best":
            for pair in solution.likely:
                outcome.add(pair)
            free = _without(free, [pair.source for pair in solution.likely])
            left = _without(left, [pair.target for pair in solution.likely])
        _list_candidates(solution.candidates, theirs, outcome)
        ours, theirs = free, left
    # A name in a container whose numbers have shifted means another layer.
    named = [leaf for leaf in theirs if not any(leaf.path[:cut] in moved for cut in range(len(leaf.path)))]
    for one, other in reshaped_pairs(ours, named):
        outcome.add(LeafPair(one, other, "name", True))


def _without(found: Sequence[Leaf], gone: Iterable[Leaf]) -> list[Leaf]:
    names = {leaf.name for leaf in gone}
    return [leaf for leaf in found if leaf.name not in names]


def _clues(target: Target, sides: Sides, renames: Renames) -> Clues:
    """What the model's graph says, in the names of leaf modules."""
    held = [(leaf.name, tensor) for leaf in leaves(sides.target) for tensor in leaf.tensors.values()]
    owners = {name: leaf for leaf, tensor in held for name in tensor.keys}
    ranks: dict[str, int] = {}
    for rank, name in enumerate(target.order):
        if name in owners:
            ranks.setdefault(owners[name], rank)
    feeds: dict[str, set[str]] = {}
    for name, before in target.feeds.items():
        for other in before:
            if name in owners and other in owners and owners[name] != owners[other]:
                feeds.setdefault(owners[name], set()).add(owners[other])
    return Clues(ranks, {name: frozenset(found) for name, found in feeds.items()}, renames.hints)


def _list_candidates(candidates: Mapping[str, Sequence[Leaf]], theirs: Sequence[Leaf], outcome: Outcome) -> None:
    by_name = {leaf.name: leaf for leaf in theirs}
    for name, found in candidates.items():
        for leaf_tensors in ((tensor_pairs(one, by_name[name]), one) for one in found):
            for one, other in leaf_tensors[0]:
                for key in other.keys:
                    if key not in outcome.matches or not outcome.matches[key].sure:
                        known = outcome.ambiguous.get(key, ())
                        outcome.ambiguous[key] = tuple(dict.fromkeys((*known, *one.keys)))


# -- the plan --------------------------------------------------------------------------------------


def _chosen(target: Target, include: str | Sequence[str], exclude: str | Sequence[str]) -> set[str]:
    wanted, unwanted = _texts("include", include), _texts("exclude", exclude)
    for globs in (wanted, unwanted):
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in target.shapes):
                raise InputError(f"include and exclude must fit names of the model, but {glob!r} fits none")
    return {
        name
        for name in target.shapes
        if (not wanted or any(fnmatchcase(name, glob) for glob in wanted))
        and not any(fnmatchcase(name, glob) for glob in unwanted)
    }


def _plan(source: Mapping[str, Shape], target: Target, sides: Sides, outcome: Outcome, chosen: set[str]) -> Plan:
    ambiguous = {**sides.clashes, **outcome.ambiguous}
    matches = tuple(outcome.matches[name] for name in target.shapes if name in outcome.matches and name in chosen)
    given = {found.target for found in matches}
    excluded = tuple(name for name in target.shapes if name not in chosen)
    known = {*outcome.matches, *ambiguous, *outcome.mismatched}
    covered = {alias for alias, owner in target.aliases.items() if owner in known or owner in excluded}
    missing = tuple(
        name
        for name in target.shapes
        if name not in known and name in chosen and name not in covered and not name.endswith(TRACKED)
    )
    placed = {key for keys in ambiguous.values() for key in keys} | set(outcome.mismatched_sources.values())
    placed |= outcome.used | sides.repeats.keys()
    unexpected = tuple(key for key in source if key not in placed and not key.endswith(TRACKED))
    plan = Plan(
        matches=matches,
        missing_keys=missing,
        unexpected_keys=unexpected,
        mismatched_keys={name: found for name, found in outcome.mismatched.items() if name in chosen},
        ambiguous={name: keys for name, keys in ambiguous.items() if name in chosen},
        prefix=sides.found.prefix,
        excluded=excluded,
        mismatched_sources={name: key for name, key in outcome.mismatched_sources.items() if name in chosen},
        tied={alias: owner for alias, owner in target.aliases.items() if owner in given},
        repeats=dict(sides.repeats),
        coverage=coverage(matches, source, target),
    )
    computed = {key for match in matches if match.is_computed for key in (match.target, *match.sources)}
    paths = [[path for key, (path, _) in side.items() if key not in computed] for side in (sides.source, sides.target)]
    kept = [*kept_otherwise(*paths), *packed(target)]
    return replace(plan, notes=explain(plan, source, kept, outcome.hints, sides.found))
