"""Print a checkpoint: tensors of numbered blocks in one line each, totals, and what else it holds. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from fxprof.records import TensorSpec
from fxprof.units import grouped, short_bytes
from fxprof.views.text import listed, safe

if TYPE_CHECKING:
    from fxprof.checkpoint.reading import Checkpoint

# 01 is another name than 1, and Python refuses to read thousands of digits.
_NUMBER = re.compile(r"(?<![^.])(?:0|[1-9][0-9]{0,17})(?![^.])")


def listing(checkpoint: Checkpoint) -> str:
    """The checkpoint as text."""
    specs, held = checkpoint.specs, checkpoint.container
    where = f", {safe('.'.join(held.path))} in it" if held.path else ""
    head = f"{safe(str(checkpoint.path or 'in memory'))} ({checkpoint.format}{where})"
    rows = [(safe(name), str(spec), grouped(spec.numel * times)) for name, spec, times in group(specs)]
    table = tabulate(rows, ("tensor", "shape", "elements"), disable_numparse=True, colalign=("left", "left", "right"))
    lines = [head, "", table, "", totals(specs.values())]
    if held.alternatives:
        others = [f"{name or 'the outermost dict'} ({count})" for name, count in held.alternatives.items()]
        lines.append(f"other tensors, with container=: {listed(others, 12)}")
    if held.extras:
        lines.append(f"also in it: {listed(held.extras, 12)}")
    return "\n".join(lines)


def to_dict(checkpoint: Checkpoint) -> dict[str, Any]:
    """The listing as plain data."""
    specs, held = checkpoint.specs, checkpoint.container
    return {
        "format": 1,  # first format
        "path": None if checkpoint.path is None else str(checkpoint.path),
        "file_format": checkpoint.format,
        "container": {
            "path": list(held.path),
            "alternatives": dict(held.alternatives),
            "extras": list(held.extras),
            "joined": dict(held.joined),
        },
        "tensors": {name: {"shape": list(spec.shape), "dtype": spec.dtype} for name, spec in specs.items()},
        "elements": sum(spec.numel for spec in specs.values()),
        "bytes": sum(spec.nbytes for spec in specs.values()),
    }


def totals(specs: Iterable[TensorSpec]) -> str:
    """Counts, size and dtypes in one line.

    >>> totals([TensorSpec((2, 3), "float32"), TensorSpec((), "int64")])
    '2 tensors, 7 elements, 32 B: 1 float32, 1 int64'
    """
    specs = list(specs)
    dtypes: dict[str, int] = {}
    for spec in specs:
        dtypes[spec.dtype or "float32"] = dtypes.get(spec.dtype or "float32", 0) + 1
    kinds = ", ".join(f"{count} {name}" for name, count in dtypes.items())
    elements, size = sum(spec.numel for spec in specs), sum(spec.nbytes for spec in specs)
    return f"{grouped(len(specs))} tensors, {grouped(elements)} elements, {short_bytes(size)}: {kinds}"


def group(specs: Mapping[str, TensorSpec]) -> list[tuple[str, TensorSpec, int]]:
    """Names that differ in numbers only, and have one shape, as one: (name, spec, how many).

    >>> one = TensorSpec((4,), "float32")
    >>> rows = group({"layers.0.w": one, "layers.1.w": one, "layers.2.w": one, "head.w": one})
    >>> [(name, count) for name, _, count in rows]
    [('layers.{0..2}.w', 3), ('head.w', 1)]
    """
    groups: dict[tuple[str, TensorSpec], list[tuple[int, ...]]] = {}
    for name, spec in specs.items():
        numbers = tuple(int(number) for number in _NUMBER.findall(name))
        groups.setdefault((_NUMBER.sub("#", name), spec), []).append(numbers)
    rows = []
    for (template, spec), members in groups.items():
        rows += [(_written(template, columns), spec, times) for columns, times in _boxes(members)]
    return rows


def _boxes(numbers: list[tuple[int, ...]]) -> list[tuple[list[list[int]], int]]:
    """One group where the numbers are all combinations of their columns; else one group per first number."""
    columns = [sorted(set(column)) for column in zip(*numbers)]
    size = 1
    for column in columns:
        size *= len(column)
    if size == len(numbers):
        return [(columns, size)]
    split: dict[int, list[tuple[int, ...]]] = {}
    varying = next(i for i, column in enumerate(columns) if len(column) > 1)
    for one in numbers:
        split.setdefault(one[varying], []).append(one)
    return [box for part in split.values() for box in _boxes(part)]


def _written(template: str, columns: list[list[int]]) -> str:
    parts = template.split("#")
    texts = [_span(column) for column in columns]
    return parts[0] + "".join(text + part for text, part in zip(texts, parts[1:]))


def _span(numbers: list[int]) -> str:
    """``7``, ``{0..11}``, or ``{0,2,5}``.

    >>> _span([7]), _span([0, 1, 2]), _span([0, 2, 5])
    ('7', '{0..2}', '{0,2,5}')
    """
    if len(numbers) == 1:
        return str(numbers[0])
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{{{numbers[0]}..{numbers[-1]}}}"
    return "{" + ",".join(map(str, numbers)) + "}"
