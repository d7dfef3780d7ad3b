"""Einstein summation: the equation read as a list of pairwise steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import contraction, is_shape, rule

Labels = dict[str, int]  # index -> size


@dataclass(frozen=True)
class Step:
    """One pairwise step: a contraction (``macs``) or a plain product (``flops``), after sums (``flops``)."""

    left: int  # operands are numbered; the result of step s of n operands is number n + s
    right: int
    macs: int
    flops: int


def parse(equation: str, operands: Sequence[Shape]) -> tuple[list[Labels], list[str]]:
    """Sizes by index of each operand, and the indices of the output.

    The dimensions under ``...`` are named from the right; an index that repeats within an operand
    is a diagonal. Without ``->`` the output is the ``...`` and then every index that occurs once,
    in alphabetical order.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    widths = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, operands)]
    ellipsis = [f"...{i}" for i in reversed(range(max((w for w, t in zip(widths, terms) if "..." in t), default=0)))]

    def indices(term: str, width: int) -> list[str]:
        head, dots, tail = term.partition("...")
        return [*head, *(ellipsis[len(ellipsis) - width :] if dots else ()), *tail]

    named = [indices(term, width) for term, width in zip(terms, widths)]
    if not arrow:
        flat = "".join(term.replace("...", "") for term in terms)
        output = [*ellipsis, *sorted(index for index in set(flat) if flat.count(index) == 1)]
    else:
        output = indices(right, len(ellipsis))
    return [dict(zip(names, shape)) for names, shape in zip(named, operands)], output


def steps(equation: str, operands: Sequence[Shape], path: Sequence[int] | None = None) -> list[Step]:
    """The pairwise steps, left to right or in the order of ``path`` (pairs of positions, flat).

    An index that is needed by neither the output nor a later operand is summed: over the products
    if both sides have it (a contraction), before them if one side has it.
    """
    parsed, output = parse(equation, operands)
    waiting = list(enumerate(parsed))
    if len(waiting) == 1:
        labels = parsed[0]
        kept = prod(size for index, size in labels.items() if index in output)
        return [Step(0, 0, 0, max(prod(labels.values()) - kept, 0))]
    result: list[Step] = []
    pairs = zip(path[::2], path[1::2]) if path else iter([(0, 1)] * (len(waiting) - 1))
    for i, j in pairs:
        (a, left), (b, right) = waiting[i], waiting[j]
        waiting = [entry for position, entry in enumerate(waiting) if position not in (i, j)]
        needed = {*output, *(index for _, labels in waiting for index in labels)}
        step, labels = _step(a, b, left, right, needed)
        waiting.insert(len(waiting) if path else 0, (len(operands) + len(result), labels))
        result.append(step)
    return result


def _step(a: int, b: int, left: Labels, right: Labels, needed: set[str]) -> tuple[Step, Labels]:
    contracted = (left.keys() & right.keys()) - needed
    flops = 0
    sides = []
    for labels in (left, right):
        kept = {index: size for index, size in labels.items() if index in needed or index in contracted}
        flops += max(prod(labels.values()) - prod(kept.values()), 0)
        sides.append(kept)
    union = {index: max(side.get(index, 1) for side in sides) for index in {**sides[0], **sides[1]}}
    union = {index: 0 if any(side.get(index) == 0 for side in sides) else size for index, size in union.items()}
    products = prod(union.values())
    step = Step(a, b, products if contracted else 0, flops if contracted else flops + products)
    return step, {index: size for index, size in union.items() if index not in contracted}


def operands_of(operands: Sequence[Any]) -> Sequence[Shape]:
    """The operands, however they were passed: one by one or as one list."""
    return operands if not operands or is_shape(operands[0]) else operands[0]


@rule("einsum")
def einsum(equation: str, *operands: Any, path: Sequence[int] | None = None, out: Shape | None = None) -> Cost:
    """Any shapes that fit ``equation`` -> the shape it says.

    Operands are contracted in pairs from left to right, as torch does without opt_einsum. A pair
    with a contracted index is a (batched) matrix product: one MAC per combination of all its
    indices. A pair without one is a plain product at 1 FLOP, so an outer product has no MACs. An
    index that only one operand has and nobody needs is summed before, at one addition each.
    """
    parts = steps(equation, operands_of(operands), path)
    return contraction(sum(step.macs for step in parts), sum(step.flops for step in parts))
