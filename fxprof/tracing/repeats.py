"""Calls seen before: on tensors laid out as then, a call costs a look-up instead of a shape propagation.

What a call returns follows from the function, the layouts of its tensors and its plain arguments, as
long as no data is looked at and nothing is assumed about it. That is the ``Sight`` of a call; the first
call of each is run and remembered (``Seen``), all others are made again from it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import EllipsisType, FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from fxprof.tracing.choices import CHOOSING, DRAWING
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import Layout, layout_of
from fxprof.tracing.spans import Span
from fxprof.tracing.values import Value, storages

Find = Callable[[Tensor], Value]  # the value of a tensor

_LIMIT = 1 << 15  # calls remembered, over all traces
_TENSORS = frozenset([Tensor, Parameter])
_PLAIN = frozenset(
    [bool, int, float, str, NoneType, EllipsisType, torch.dtype, torch.device, torch.layout, torch.memory_format]
)
# Functions that may take control data beside abstract tensors and do not look at it.
_MIXED = frozenset(
    """__getitem__ add sub mul div __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ truediv masked_fill
    where index_select matmul linear scaled_dot_product_attention embedding lstm gru rnn_tanh rnn_relu""".split()
)
_CHANCE = DRAWING.union(CHOOSING)
_SEQUENCES = frozenset([tuple, list, torch.Size])


class _Irregular(Exception):
    """An argument that has no place in a key."""


class Sight:
    """A call as it is looked up: its key, its arguments with nodes for tensors, and their values."""

    __slots__ = ("args", "key", "kwargs", "layouts", "mixed", "values")

    def __init__(
        self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Value], mixed: bool
    ) -> None:
        self.layouts: list[Layout | None] = []  # as they are before the call, which may change them
        self.key = key
        self.args = args
        self.kwargs = kwargs
        self.values = values
        self.mixed = mixed  # whether some of it is control data


class Result:
    """How to make one result: new memory, a view of an argument's, that argument, or (no layout, no base) None."""

    __slots__ = ("base", "layout", "offset", "span")

    def __init__(
        self, layout: Layout | None = None, base: int | None = None, offset: int = 0, span: Span | None = None
    ) -> None:
        self.layout = layout  # None: the argument itself
        self.base = base  # position among the tensor arguments
        self.offset = offset  # from the base's own
        self.span = span


class Seen:
    """What there is to know about a call; one object for all calls alike, so that costs can be kept by it."""

    __slots__ = ("elements", "kind", "metadata", "node_kind", "results", "swapped", "target", "tensors", "written")

    def __init__(
        self, node_kind: str, target: Any, metadata: Any, kind: Any, results: list[Result], swapped: bool,
        written: int | None, tensors: int,
    ) -> None:  # fmt: skip
        self.node_kind = node_kind
        self.target = target
        self.metadata = metadata
        self.kind = kind  # None for a lone tensor, else what holds the results
        self.results = results
        self.swapped = swapped  # the node has the two arguments the other way round
        self.written = written  # position among the tensor arguments
        self.tensors = tensors  # that the call takes
        self.elements: dict[Any, Seen] = {}  # what is known of taking one of several results, by its key

    def element(self, key: Any, metadata: Any) -> Seen:
        """What there is to know about taking the result at ``key``."""
        known = self.elements.get(key)
        if known is None:
            known = self.elements[key] = Seen("call_function", operator.getitem, metadata, None, [], False, None, 1)
        return known


_seen: dict[Any, Seen] = {}


def sight(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], find: Find) -> Sight | None:
    """See a call as it is looked up; None where it cannot be told from its layouts."""
    if func.__name__ in _CHANCE or (type(func) is FunctionType and not func.__module__.startswith("torch.")):
        return None  # the user's own functions may read anything
    parts: list[Any] = [func, torch.get_default_dtype()]
    values: list[Value] = []
    try:
        held = tuple([_look(arg, parts, values, find) for arg in args])
        named = {}
        for name, arg in kwargs.items():
            parts.append(name)
            named[name] = _look(arg, parts, values, find)
        mixed = False
        for value in values:
            mixed = mixed or value.real is not None
        if mixed:
            _check_mixed(func.__name__, values)
    except _Irregular:
        return None
    return Sight(tuple(parts), held, named, values, mixed)


def _check_mixed(name: str, values: list[Value]) -> None:
    """Raise where a call looks at its control data, or where that decides the span of what it returns."""
    abstract = [value for value in values if value.real is None]
    if name not in _MIXED or not abstract or any(value.span is not None for value in abstract):
        raise _Irregular
    if name != "embedding" and values[0].real is not None:
        raise _Irregular
    for value in values[1:] if name == "__getitem__" else ():
        if value.handle.dtype in (torch.bool, torch.uint8) or not value.handle.dim():
            raise _Irregular  # a mask, or a single position


def recall(look: Sight) -> Seen | None:
    """What is remembered of such a call."""
    seen = _seen.get(look.key)
    if seen is None:
        look.layouts = [value.layout for value in look.values]
    return seen


def _look(item: Any, parts: list[Any], values: list[Value], find: Find) -> Any:
    kind = type(item)
    if kind in _TENSORS:
        value = find(item)
        if value.layout is None or value.support is not None:
            raise _Irregular
        if value.real is not None:
            parts.append((value.layout, "data"))
        else:
            parts.append(value.layout if value.span is None else (value.layout, value.span))
        values.append(value)
        return value.node or value.graph_node()
    if kind in _PLAIN:
        parts.append(kind)  # 1, 1.0 and True are equal, but not the same argument
        parts.append(item)
        return item
    if kind in _SEQUENCES:
        parts.append(kind)
        parts.append(len(item))
        items = [_look(x, parts, values, find) for x in item]
        return items if kind is list else tuple(items)
    if kind is slice:
        parts.append(slice)
        return slice(*[_look(x, parts, values, find) for x in (item.start, item.stop, item.step)])
    raise _Irregular


# -- remembering -------------------------------------------------------------------------------------


def remember(look: Sight, node: Node, result: Any, find: Find, written: Any) -> None:
    """Keep what came of a call, as far as it follows from the key. ``written`` is what it wrote to in place."""
    kind = type(result)
    if kind is not Tensor and kind is not tuple and kind is not list and kind.__module__ != "torch.return_types":
        return
    found = [result] if kind is Tensor else list(result)
    bases = [value.made_meta for value in look.values]
    results = [made for item in found if (made := _result(item, find, look, bases)) is not None]
    place = None if written is None else next((i for i, v in enumerate(look.values) if v is find(written)), -1)
    if not found or len(results) < len(found) or place == -1 or not _apart(found, results):
        return
    swapped = node.args != look.args and len(look.args) == 2
    metadata = node.tensor_meta
    held = None if kind is Tensor else kind
    seen = Seen(node.op, node.target, metadata, held, results, swapped, place, len(look.values))
    node.seen = keep(look, seen)


def keep(look: Sight, seen: Seen) -> Seen:
    """Keep what there is to know about calls like this one."""
    if len(_seen) >= _LIMIT:
        _seen.clear()
    _seen[look.key] = seen
    return seen


def _result(item: Any, find: Find, look: Sight, bases: list[Tensor | None]) -> Result | None:
    """How to make one result again; None where the arguments do not tell."""
    if item is None:
        return Result()
    if type(item) is not Tensor or not item.is_meta or item.requires_grad or item.is_neg():
        return None
    value, layout = find(item), layout_of(item)
    if layout is None or value.support is not None or value.real is not None:
        return None
    for position, base in enumerate(bases):
        if base is item:  # handed through, or written to, which may have changed its shape
            return Result(None, position, 0, value.span) if look.layouts[position] is layout else None
    memory = storages(item)
    for position, base in enumerate(bases):
        if base is not None and storages(base) == memory:
            offset = int(item.storage_offset()) - int(base.storage_offset())
            return Result(layout, position, offset, value.span) if item.dtype is base.dtype else None
    return Result(layout, None, 0, value.span)


def _apart(items: list[Any], results: list[Result]) -> bool:
    """Whether no two results share new memory."""
    new = [storages(item) for item, made in zip(items, results) if item is not None and made.base is None]
    return len(set(new)) == len(new)


def made(result: Result, values: list[Value]) -> Any:
    """The result once more: the tensor that the trace shall know."""
    if result.base is None:
        return None if result.layout is None else result.layout.empty()
    base = values[result.base].meta
    if result.layout is None:
        return base
    return base.as_strided(result.layout.shape, result.layout.stride, base.storage_offset() + result.offset)
