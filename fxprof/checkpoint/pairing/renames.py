"""The user's own renames: a mapping, (regex, replacement) pairs, or a callable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fxprof.errors import InputError

Rename = bool | str | Mapping[str, str] | Iterable[tuple[str, str]] | Callable[[str], str]


@dataclass(frozen=True)
class Renames:
    """New names by checkpoint key, what a mapping says about parts of names, and what of it all is in no key."""

    mode: str = "auto"  # "auto", "best" or "off"
    names: Mapping[str, str] = field(default_factory=dict)
    hints: Sequence[tuple[str, str]] = ()
    unused: Sequence[str] = ()


def read_renames(rename: Rename, keys: Sequence[str]) -> Renames:
    """Apply what the user gave to every key. Raises InputError on anything else, and on two keys of one name."""
    if isinstance(rename, str):
        if rename not in ("auto", "best"):
            raise InputError(f"rename must be 'auto', 'best', False, a mapping, pairs or a callable, got {rename!r}")
        return Renames(rename)
    if rename is False or rename is True or rename is None:
        return Renames("off" if not rename else "auto")
    hints: Sequence[tuple[str, str]] = ()
    unused: Sequence[str] = ()
    if isinstance(rename, Mapping):
        names, hints = _by_mapping(rename, keys)
        unused = [old for old in rename if not any(old in name for name in (*keys, *names.values()))]
    elif callable(rename):
        names = _by_call(rename, keys)
    else:
        names, unused = _by_patterns(rename, keys)
    _refuse_two(names, keys)
    return Renames("auto", names, hints, unused)


def _by_mapping(rename: Mapping[str, str], keys: Sequence[str]) -> tuple[dict[str, str], Sequence[tuple[str, str]]]:
    """A whole key is renamed; a part of a name is replaced where it stands, and kept as a hint."""
    if not all(isinstance(text, str) for pair in rename.items() for text in pair):
        raise InputError("rename must map names to names")
    whole = {key: rename[key] for key in keys if key in rename}
    parts = [(old, new) for old, new in rename.items() if old and old not in whole]
    names = dict(whole)
    for key in keys:
        if key not in whole:
            name = key
            for old, new in parts:
                name = _replaced(name, old, new)
            if name != key:
                names[key] = name
    return names, parts


def _replaced(name: str, old: str, new: str) -> str:
    """Replace whole dotted parts; what ends in a dot also replaces a beginning."""
    if old.endswith("."):
        return new + name[len(old) :] if name.startswith(old) else name
    return re.sub(rf"(?:(?<=\.)|^){re.escape(old)}(?=\.|$)", lambda _: new, name)


def _by_patterns(rename: Iterable[tuple[str, str]], keys: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """New names, one pattern after another, and the patterns that found nothing."""
    try:
        patterns = [(re.compile(pattern), replacement) for pattern, replacement in rename]
    except (TypeError, ValueError, re.error) as err:
        raise InputError(f"rename must hold (regex, replacement) pairs: {err}") from err
    names: dict[str, str] = {}
    found: set[str] = set()
    for key in keys:
        name = key
        for pattern, replacement in patterns:
            try:
                name, times = pattern.subn(replacement, name)
            except (re.error, IndexError) as err:
                raise InputError(f"rename has a replacement that does not fit {pattern.pattern!r}: {err}") from err
            if times:
                found.add(pattern.pattern)
        if name != key:
            names[key] = name
    return names, [pattern.pattern for pattern, _ in patterns if pattern.pattern not in found]


def _by_call(rename: Callable[[str], str], keys: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for key in keys:
        try:
            name = rename(key)
        except Exception as err:
            raise InputError(f"rename must return a name for {key!r}, but raised {type(err).__name__}: {err}") from err
        if not isinstance(name, str):
            raise InputError(f"rename must return a name, but for {key!r} it returned {type(name).__name__}")
        if name != key:
            names[key] = name
    return names


def _refuse_two(names: Mapping[str, str], keys: Sequence[str]) -> None:
    taken: dict[str, str] = {}
    for key in keys:
        name = names.get(key, key)
        if name in taken and (key in names or taken[name] in names):
            raise InputError(
                f"rename must keep names apart, but gives {taken[name]!r} and {key!r} both the name {name!r}"
            )
        taken[name] = key
