"""Prefixes: which leading tokens to drop from the checkpoint's names or from the model's, found by overlap."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fxprof.checkpoint.names import TRACKED, Path, is_trailing, natural, split, unwrapped
from fxprof.records import Shape

Named = Mapping[str, tuple[Path, Shape]]  # key -> normalized path and shape
_DEEPEST = 8
_ROUNDS = 4
_NEARLY = 4  # all but one of so many


@dataclass
class Normalized:
    """Both sides after normalization; ``clashes`` are paths that several keys of the checkpoint share."""

    source: dict[str, tuple[Path, Shape]]
    target: dict[str, tuple[Path, Shape]]
    prefix: str = ""
    clashes: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()  # prefixes that fit equally well
    preferred: tuple[str, str] = ("", "")  # taken, and the trailing copy that was left


def normalize(source: Mapping[str, Shape], target: Mapping[str, Shape], prefix: str) -> Normalized:
    """Bring both sides' names to one form; ``prefix`` is "auto", "" for none, or the user's own."""
    if prefix == "":
        return Normalized(_split(source, plain=True), _split(target, plain=True))
    if prefix != "auto":
        return _users(source, target, prefix)
    found = Normalized(_split(source), _split(target))
    dropped = _wrapper_prefix(source)
    _solve(found)
    found.prefix = dropped + found.prefix if found.prefix[:1] != "+" else found.prefix
    if not dropped and not found.prefix and (added := _wrapper_prefix(target)):
        found.prefix = f"+{added}"
    paths: dict[Path, list[str]] = defaultdict(list)
    for key, (path, _) in found.source.items():
        paths[path].append(key)
    found.clashes = {path: tuple(sorted(keys, key=natural)) for path, keys in paths.items() if len(keys) > 1}
    return found


def _split(named: Mapping[str, Shape], plain: bool = False) -> dict[str, tuple[Path, Shape]]:
    return {key: (split(key) if plain else unwrapped(split(key)), shape) for key, shape in named.items()}


def _users(source: Mapping[str, Shape], target: Mapping[str, Shape], prefix: str) -> Normalized:
    """The user's prefix comes off the checkpoint's names, or, where none has it, off the model's."""
    adds = prefix.startswith("+")
    text = prefix.removeprefix("+")
    found = Normalized(_split(source, plain=True), _split(target, plain=True))
    drop = split(text.rstrip("."))
    if not adds and (stripped := _stripped(found.source, drop)) != found.source:
        return Normalized(stripped, found.target, text)
    if (stripped := _stripped(found.target, drop)) != found.target:
        return Normalized(found.source, stripped, f"+{text}")
    return found


def _stripped(named: Named, drop: Path) -> dict[str, tuple[Path, Shape]]:
    size = len(drop)
    return {
        key: (path[size:] if path[:size] == drop and len(path) > size else path, shape)
        for key, (path, shape) in named.items()
    }


def _wrapper_prefix(named: Mapping[str, Shape]) -> str:
    """The wrapper tokens that most names begin with, as they are written."""
    starts: Counter[str] = Counter()
    for key in named:
        path = split(key)
        bare = unwrapped(path)
        if len(bare) < len(path):
            count = 0
            while path[count] != bare[0] and count < len(path) - len(bare):
                count += 1
            starts[".".join(path[:count])] += 1
    if not starts:
        return ""
    (text, _), *_ = sorted(starts.items(), key=lambda item: (-item[1], item[0]))
    return f"{text}." if text else ""


def agreement(source: Mapping[Path, Shape], target: Mapping[Path, Shape]) -> int:
    """How many tensors agree in name and shape under the best prefix of either side.

    >>> agreement({("fc", "weight"): (2, 3)}, {("model", "fc", "weight"): (2, 3), ("model", "fc", "bias"): (2,)})
    1
    """
    exact = len(source.items() & target.items())
    if exact == min(len(source), len(target)):
        return exact
    sides = ({".".join(path): (path, shape) for path, shape in side.items()} for side in (source, target))
    return max([exact, *_votes(*sides).values()])


# -- solving by overlap ----------------------------------------------------------------------------


def _solve(found: Normalized) -> None:
    """Drop the prefix under which most names and shapes agree; repeat for keys that carry another."""
    dropped: list[str] = []
    for _ in range(_ROUNDS):
        free_source, free_target = _free(found)
        if not free_source or not free_target:
            break
        votes = _votes(free_source, free_target)
        total = min(len(free_source), len(free_target))
        best = _best(votes, found, bool(dropped), total)
        if best is None:
            break
        drop, add = best
        if _has_clash(found, free_source, drop):
            found.rivals = (".".join(drop), "")
            break
        found.source = {**found.source, **_stripped(free_source, drop)} if drop else found.source
        found.target = {**found.target, **_stripped(free_target, add)} if add else found.target
        text = f"{'.'.join(drop)}." if drop else ""
        dropped.append(text + (f"+{'.'.join(add)}." if add else ""))
    found.prefix = _said(dropped)


def _said(dropped: list[str]) -> str:
    return max(dropped, key=len) if dropped else ""


def _has_clash(found: Normalized, free: Named, drop: Path) -> bool:
    """Whether dropping would give a key the name that another key of the checkpoint has."""
    if not drop:
        return False
    taken = {path for key, (path, _) in found.source.items() if key not in free}
    return any(path[: len(drop)] == drop and path[len(drop) :] in taken for path, _ in free.values())


def _free(found: Normalized) -> tuple[dict[str, tuple[Path, Shape]], dict[str, tuple[Path, Shape]]]:
    """The keys of both sides that do not agree in name and shape yet."""
    source = set(found.source.values())
    target = set(found.target.values())
    return (
        {key: entry for key, entry in found.source.items() if entry not in target},
        {key: entry for key, entry in found.target.items() if entry not in source},
    )


def _votes(source: Named, target: Named) -> Counter[tuple[Path, Path]]:
    """How many tensors agree in name and shape when these prefixes come off the two sides."""
    ends: dict[tuple[Path, Shape], list[Path]] = defaultdict(list)
    for path, shape in target.values():
        if path[-1] != TRACKED:
            for cut in range(min(len(path), _DEEPEST)):
                ends[path[cut:], shape].append(path[:cut])
    votes: Counter[tuple[Path, Path]] = Counter()
    for path, shape in source.values():
        for cut in range(min(len(path), _DEEPEST)):
            fitting = ends.get((path[cut:], shape), ())
            if len(fitting) <= _DEEPEST:  # an end that fits everywhere says nothing
                for add in fitting:
                    # A shared head of the two prefixes would be no prefix at all.
                    if (cut or add) and not (cut and add and path[cut - 1] == add[-1]):
                        votes[path[:cut], add] += 1
    return votes


def _best(votes: Counter[tuple[Path, Path]], found: Normalized, again: bool, total: int) -> tuple[Path, Path] | None:
    """The pair of prefixes with the most votes, if it explains enough and no other does as well."""
    # A second tower fills no gaps of the first.
    repeated = _repeated(found)
    votes = Counter(
        {
            (drop, add): count
            for (drop, add), count in votes.items()
            if all(repeated[drop[:cut]] <= count for cut in range(1, len(drop) + 1))
        }
    )
    if not votes:
        return None
    most = max(votes.values())
    # One agreeing tensor among many is an accident: conv1.weight also ends layer4.0.conv1.weight.
    agreed = len(found.source) - len(_free(found)[0])
    again = again or agreed > 0
    if most * 4 < total or (again and (most < 3 or most * 2 < total)) or most * 8 < agreed:
        return None
    equal = _first(pair for pair, count in votes.items() if count == most)
    # Trained weights that lack a few tensors are still those meant, not their average.
    close = _first(pair for pair, count in votes.items() if _NEARLY * count >= (_NEARLY - 1) * most)
    trailing = [pair for pair in close if is_trailing(pair[0])]
    raw = [pair for pair in close if pair not in trailing]
    if trailing and raw:
        best = max(votes[pair] for pair in raw)
        equal = [pair for pair in raw if votes[pair] == best]
        if len(equal) == 1:
            found.preferred = (".".join(equal[0][0]), ".".join(trailing[0][0]))
    if len(equal) > 1:
        found.rivals = tuple(".".join(pair[0]) or ".".join(pair[1]) for pair in equal)
        return None
    return equal[0]


def _first(pairs: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    return sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), pair))


def _repeated(found: Normalized) -> Counter[Path]:
    """For each prefix of the checkpoint, how many tensors under it repeat one that has its place already."""
    target = set(found.target.values())
    taken = {entry for entry in found.source.values() if entry in target}
    repeated: Counter[Path] = Counter()
    for path, shape in found.source.values() if taken else ():
        for cut in range(1, min(len(path), _DEEPEST)):
            repeated[path[:cut]] += (path[cut:], shape) in taken
    return repeated
