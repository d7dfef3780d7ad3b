"""What one call in a traced graph is and costs: shapes out of its node, a rule, bytes.

Calls that the tracer found alike are described once, over all analyses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import binding, observed, ops
from fxprof.decompose import decompose
from fxprof.frozen import quick
from fxprof.records import Attributes, Cost, TensorSpec
from fxprof.rules import free
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import spec_of
from fxprof.tracing.repeats import Seen
from fxprof.training import is_grad_call

Rule = Callable[..., Cost]

# These read only as many elements of their table as they return.
_LOOKUPS = frozenset(["embedding", "index_select", "gather", "take", "take_along_dim", "index"])


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """What is the same for all calls of one function on tensors laid out alike."""

    op: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cost: Cost | None
    bytes: int  # read and written
    called: str
    attributes: Attributes
    rule: Rule | None


_NUMBERS = frozenset([int, float, bool, str, type(None)])
_CALLS: dict[Seen, Call] = {}  # of all analyses
_LIMIT = 1 << 15


def described(node: Node, producers: list[Node], rules: Mapping[str, Rule]) -> Call:
    """Describe a call; those that the tracer found alike only once."""
    seen = node.seen
    if seen is None or seen.tensors != len(producers):  # x + x has one input, x + y has two
        return _describe(node, producers, rules)
    call = _CALLS.get(seen)
    if call is None or rules.get(call.op) is not call.rule:
        call = _describe(node, producers, rules)
        if call.rule is not None:  # else its cost depends on the rules of what it decomposes into
            if len(_CALLS) >= _LIMIT:
                _CALLS.clear()
            _CALLS[seen] = call
    return call


def _describe(node: Node, producers: list[Node], rules: Mapping[str, Rule]) -> Call:
    op = ops.op_of(node.target)
    rule = rules.get(op)
    asked = rule is not free or op in observed.ARGUMENTS
    args, kwargs = (shapes(node.args), shapes(node.kwargs)) if asked else ((), {})
    inputs = tuple([spec for arg in producers for spec in specs(arg.tensor_meta)])
    outputs = specs(node.tensor_meta)
    return Call(
        op, inputs, outputs, None if is_grad_call(node) else _cost(node, rule, args, kwargs, rules),
        _bytes(op, inputs, outputs), observed.spelling(node.target), observed.arguments(node, op, args, kwargs), rule,
    )  # fmt: skip


def _bytes(op: str, inputs: Sequence[TensorSpec], outputs: tuple[TensorSpec, ...]) -> int:
    written = sum([spec.nbytes for spec in outputs])
    read = sum([spec.nbytes for spec in inputs])
    if (op in _LOOKUPS or op == "getitem") and len(inputs) > 1:
        largest = max(spec.nbytes for spec in inputs)
        read += min(written, largest) - largest
    elif op == "getitem":
        read = min(read, written)
    return read + written


# -- costs -------------------------------------------------------------------------------------------


def cost_of(node: Node, op: str, rules: Mapping[str, Rule]) -> Cost | None:
    """The cost of one node: its rule's; else the sum over the aten ops it decomposes into; else None."""
    return _cost(node, rules.get(op), shapes(node.args), shapes(node.kwargs), rules)


def _cost(node: Node, rule: Rule | None, args: Any, kwargs: Any, rules: Mapping[str, Rule]) -> Cost | None:
    if rule is not None:
        return binding.apply(rule, node.target, args, kwargs, shape_of(node.tensor_meta))
    total = Cost()
    for call in decompose(node, lambda target: ops.op_of(target) in rules):
        inner = rules.get(ops.op_of(call.target))
        if inner is None:
            return None
        total += binding.apply(inner, call.target, call.args, call.kwargs, call.out)
    return total


def shapes(argument: Any) -> Any:
    """An argument with every node replaced by the shape it carries."""
    kind = type(argument)
    if kind in _NUMBERS or (kind is tuple and _NUMBERS.issuperset(map(type, argument))):
        return argument
    if kind is Node:
        return shape_of(argument.tensor_meta)
    if isinstance(argument, dict):
        return {key: shapes(value) for key, value in argument.items()}
    if isinstance(argument, (tuple, list)):
        return tuple([shapes(value) for value in argument])
    return argument


def shape_of(meta: Any) -> Any:
    """The shape in a ``tensor_meta`` entry, or a tuple of them."""
    if type(meta) is TensorMetadata:
        return tuple(meta.shape)
    if isinstance(meta, dict):
        return tuple(shape_of(item) for item in meta.values())
    if isinstance(meta, (tuple, list)):
        return tuple([shape_of(item) for item in meta])
    return None


def specs(meta: Any) -> tuple[TensorSpec, ...]:
    """Every tensor in a ``tensor_meta`` entry."""
    if type(meta) is TensorMetadata:
        return (spec_of(meta.shape, meta.dtype),)
    if isinstance(meta, dict):
        meta = tuple(meta.values())
    if isinstance(meta, (tuple, list)):
        return tuple([spec for item in meta for spec in specs(item)])
    return ()
