"""A plan as a table: what loads from where, grouped over repeated layers, and what is left on either side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fxprof.checkpoint.names import TRACKED, natural
from fxprof.checkpoint.plan import Match, Plan
from fxprof.records import Shape
from fxprof.units import grouped
from fxprof.views.grid import prose, table
from fxprof.views.listing import Column
from fxprof.views.text import fit, listed, safe

# 01 is another name than 1, and Python refuses to read thousands of digits.
_NUMBER = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,17})(?![0-9])")
_LEAF = re.compile(r"(.*)[._](weight|bias|running_mean|running_var)$", re.DOTALL)
_WIDEST = 60

Row = tuple[str, ...]


def render(plan: Plan, *, done: bool = False, width: int | None = None, colour: bool = False) -> str:
    """Render coverage, the groups of matches, what is left, and the notes; ``done`` says that it was applied."""
    parts = ["\n".join(prose(_header(plan, done), width)), _matches(plan, width, colour)]
    parts += [_mismatched(plan, width, colour), _ambiguous(plan)]
    parts += [_names("Missing in the checkpoint", plan.missing_keys), _names("Not in the model", plan.unexpected_keys)]
    parts += [_names("Left out by include and exclude", plan.excluded)]
    parts += ["\n".join(prose(list(map(safe, plan.notes)), width))]
    return "\n\n".join(part for part in parts if part)


def _header(plan: Plan, done: bool) -> list[str]:
    cover = plan.coverage
    what = "were loaded" if done else "would load"
    lines = [
        f"{grouped(cover.tensors)} of the model's {grouped(cover.model_tensors)} tensors {what} "
        f"({_percent(cover.model)} of its parameters), from {_percent(cover.checkpoint)} of the checkpoint's "
        f"{grouped(cover.checkpoint_tensors)} tensors' elements."
    ]
    if plan.container.joined:
        lines.append(f"Taken together: {listed(map(_dict_name, plan.container.joined))}.")
    elif plan.container.path:
        lines.append(f"Taken from {safe('.'.join(plan.container.path))}.")
    if plan.container.alternatives:
        others = (f"{_dict_name(name)} ({count:,})" for name, count in plan.container.alternatives.items())
        lines.append(f"Other sets of tensors: {listed(others)}.")
    if plan.container.extras:
        lines.append(f"Also in the file: {listed(map(safe, plan.container.extras), 8)}.")
    if plan.prefix:
        lines.append(f"Prefix: {safe(plan.prefix)} {'only in the model' if plan.prefix[0] == '+' else 'dropped'}.")
    if plan.tied:
        lines.append(f"Tied: {listed(f'{safe(alias)} = {safe(owner)}' for alias, owner in plan.tied.items())}.")
    return lines


def _dict_name(name: str) -> str:
    return safe(name) or "the outermost dict"


def _percent(part: float) -> str:
    """Never 0 % or 100 % unless it is true."""
    if part in (0.0, 1.0):
        return f"{part:.0%}"
    return f"{min(max(100 * part, 0.1), 99.9):.1f}%"


# -- matches ---------------------------------------------------------------------------------------


_MATCHES = [
    Column("Model", name=True, last=True), Column("Checkpoint", name=True, last=True), Column("How", spare=1),
    Column("By", spare=2), Column("Tensors", right=True),
]  # fmt: skip


def _matches(plan: Plan, width: int | None, colour: bool) -> str:
    rows: dict[Row, list[tuple[str, str]]] = {}
    for found in plan.matches:
        if not found.target.endswith(TRACKED):
            target, _ = _owner(found.target)
            sources = " + ".join(_owner(key)[0] for key in found.sources)
            if found.how == "exact" and target == sources:
                target = sources = _top(target)
            key = (_pattern(target), _pattern(sources), found.how, found.reason + ("" if found.sure else " (not sure)"))
            rows.setdefault(key, []).append((target, sources))
    cells = []
    for (_, _, how, reason), pairs in rows.items():
        count = len(pairs)
        target, sources = collapse([pair[0] for pair in pairs]), collapse([pair[1] for pair in pairs])
        source = "=" if target == sources else fit(safe(sources), _WIDEST)
        cells.append((fit(safe(target), _WIDEST), source, safe(how), safe(reason), f"{count:,}"))
    return table(_MATCHES, cells, width=width, colour=colour) if cells else ""


def _top(name: str) -> str:
    """Equal names need no line each: they are told by their top-level part."""
    top, dot, _ = name.partition(".")
    return f"{top}.*" if dot else name


def _owner(name: str) -> tuple[str, str]:
    found = _LEAF.match(name)
    return (found[1], found[2]) if found else (name, "")


def _pattern(name: str) -> str:
    return _NUMBER.sub("{}", name)


def collapse(names: Iterable[str]) -> str:
    """Names that differ in their numbers only, as one with ranges.

    >>> collapse(["l.0.norm1", "l.1.norm1", "l.2.norm1"]), collapse(["s.0.1", "s.1.4"])
    ('l.{0..2}.norm1', 's.{0,1}.{1,4}')
    """
    names = list(names)
    columns = list(zip(*(map(int, _NUMBER.findall(name)) for name in names)))
    texts = iter([_range(sorted(set(column))) for column in columns])
    return _NUMBER.sub(lambda _: next(texts), names[0])


def _range(values: Sequence[int]) -> str:
    if len(values) == 1:
        return str(values[0])
    if len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{{{values[0]}..{values[-1]}}}"
    return "{" + ",".join(map(str, values)) + "}"


# -- what is left ----------------------------------------------------------------------------------


def _names(title: str, names: Sequence[str]) -> str:
    shown = [name for name in names if not name.endswith(TRACKED)]
    if not shown:
        return ""
    groups: dict[str, list[str]] = {}
    for name in sorted(shown, key=natural):
        groups.setdefault(_pattern(_owner(name)[0]), []).append(name)
    lines = [f"  {_group(found)}" for found in groups.values()]
    return "\n".join([f"{title} ({len(shown):,}):", *lines])


def _group(names: Sequence[str]) -> str:
    owners = list(dict.fromkeys(_owner(name)[0] for name in names))
    kinds = list(dict.fromkeys(_owner(name)[1] for name in names))
    text = safe(collapse(owners))
    if kinds == [""]:
        return text
    return f"{text}.{kinds[0]}" if len(kinds) == 1 else f"{text}.{{{','.join(filter(None, kinds))}}}"


_MISMATCHED = [Column("Other shape", name=True), Column("Model"), Column("Checkpoint"), Column("", name=True)]


def _mismatched(plan: Plan, width: int | None, colour: bool) -> str:
    if not plan.mismatched_keys:
        return ""
    rows = [
        (safe(name), _shape(mine), _shape(theirs), _other_name(name, plan.mismatched_sources))
        for name, (mine, theirs) in plan.mismatched_keys.items()
    ]
    return table(_MISMATCHED, rows, width=width, colour=colour)


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _other_name(name: str, sources: Mapping[str, str]) -> str:
    source = sources.get(name, name)
    return "" if source == name else safe(source)


def _ambiguous(plan: Plan) -> str:
    applied = {found.target: found for found in plan.matches}
    groups: dict[Row, list[tuple[str, tuple[str, ...]]]] = {}
    for name, candidates in plan.ambiguous.items():
        groups.setdefault((_pattern(name), *map(_pattern, candidates)), []).append((name, candidates))
    lines = []
    for found in groups.values():
        names = safe(collapse(name for name, _ in found))
        columns = zip(*(candidates for _, candidates in found))
        choices = listed((safe(collapse(column)) for column in columns), 4)
        lines.append(f"  {names} <- {choices}{_taken(found[0][0], applied)}")
    return "\n".join([f"Ambiguous ({len(plan.ambiguous):,}):", *lines]) if lines else ""


def _taken(name: str, applied: Mapping[str, Match]) -> str:
    return " (the likeliest is taken)" if name in applied else ""
