"""Calls that choose among alternatives, such as experts: how many rows pick among how many; and sizes of results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from operator import getitem
from typing import Any, NamedTuple

from torch.fx.passes.shape_prop import TensorMetadata

from fxprof.tracing.choices import CHOOSING
from fxprof.tracing.graph import Node


class Choice(NamedTuple):
    """So many rows pick among so many alternatives."""

    rows: int
    alternatives: int


def choices(names: Mapping[Node, str]) -> dict[Node, Choice]:
    """Calls that choose among alternatives, and the scores that they choose by."""
    found: dict[Node, Choice] = {}
    choosing = [node for node, name in names.items() if name in CHOOSING]
    taken = {node.args[0] for node in names if node.target is getitem and node.args[1:] == (1,)} if choosing else ()
    for node in choosing:
        if (choice := _choice(node, taken)) is not None:
            found[node] = found[node.all_input_nodes[0]] = choice
    found.update(_compared(names))
    return found


def _choice(node: Node, taken: Collection[Node]) -> Choice | None:
    """The choice that a call makes among floating scores, where its indices, its second result, are ``taken``."""
    if not node.all_input_nodes or not _is_floating(node.all_input_nodes[0]):
        return None
    if is_split(node) and node not in taken:
        return None  # the values alone are used
    scores, picked = shape(node.all_input_nodes[0]), shape(node)
    if len(picked) < len(scores):
        alternatives = prod(scores) // max(prod(picked), 1)
    else:
        alternatives = next((a for a, b in zip(scores, picked) if a != b), (scores or (1,))[-1])
    return Choice(prod(scores) // max(alternatives, 1), alternatives)


def _compared(names: Mapping[Node, str]) -> dict[Node, Choice]:
    """Masks ``x == 0``, ``x == 1``, ...: a choice for each element of integers such as ids, where there are several."""
    masks: dict[str, dict[Any, list[Node]]] = {}
    for node, name in names.items():
        if name == "eq" and len(node.args) == 2 and isinstance(node.args[1], int) and len(node.all_input_nodes) == 1:
            source = node.all_input_nodes[0]
            if not _is_floating(source):  # the same numbers, also where each turn of a loop works them out again
                same = f"{source.target} {source.args}" if source.op == "call_function" else source.name
                masks.setdefault(same, {}).setdefault(node.args[1], []).append(node)
    several = [found for found in masks.values() if len(found) > 1]
    return {mask: Choice(numel(mask), len(found)) for found in several for made in found.values() for mask in made}


def _is_floating(node: Node) -> bool:
    meta = node.tensor_meta
    return isinstance(meta, TensorMetadata) and meta.dtype.is_floating_point


def is_split(node: Node) -> bool:
    """Whether it returns several tensors."""
    meta = node.tensor_meta
    return isinstance(meta, (tuple, list)) and not isinstance(meta, TensorMetadata)


def shape(node: Node) -> tuple[int, ...]:
    """The shape of its result, or of the first of several."""
    meta: Any = node.tensor_meta
    while isinstance(meta, (tuple, list)) and not isinstance(meta, TensorMetadata):
        meta = meta[0] if meta else None
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else ()


def numel(node: Node) -> int:
    """Elements of its result."""
    return prod(shape(node))


def lines(node: Node) -> int:
    """Rows: elements over the last dimension."""
    return prod(shape(node)[:-1])
