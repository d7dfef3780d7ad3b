"""Calls in closed form: all there is to know about one, from the shapes of its tensors and without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fxprof.tracing import names
from fxprof.tracing.devices import on
from fxprof.tracing.layouts import layout_of
from fxprof.tracing.nodes import Nodes
from fxprof.tracing.repeats import Result, Seen, Sight, keep
from fxprof.tracing.shapes import SHAPES
from fxprof.tracing.spans import span_of
from fxprof.tracing.store import Store
from fxprof.tracing.values import Value

Spelling = tuple[str, Any, bool]  # op and target of a call's node, and whether its two arguments change places


def formed(
    look: Sight, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    nodes: Nodes, values: Store,
) -> Seen | None:  # fmt: skip
    """What a call makes, and keep it; None for a call that is not of this kind."""
    if look.mixed or func not in SHAPES:
        return None
    kind, target, given = nodes.spelled(func, name, look.args, look.kwargs)
    seen = unseen(func, name, args, kwargs, look.values, values, (kind, target, given is not look.args))
    return None if seen is None else keep(look, seen)


def unseen(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    given: list[Value], values: Store, spelling: Spelling,
) -> Seen | None:  # fmt: skip
    """What a call on abstract tensors makes: one new tensor, or a change to its first; None for another call."""
    form = SHAPES.get(func)
    if form is None or name in names.INDEXED:
        return None
    result = form(*args, **on("meta", kwargs))
    layout = layout_of(result) if type(result) is Tensor and not result.requires_grad else None
    if layout is None:
        return None
    written = names.written_argument(name, args, kwargs)
    if written is None:
        if values.known(result) is not None:  # handed through
            return None
    elif result is not written or written is not given[0].handle or not written.is_meta:
        return None
    span = span_of(name, args, kwargs, [value.handle for value in given], result, 0, values.span)
    made = Result(layout, None, 0, span) if written is None else Result(None, 0, 0, span)
    kind, target, swapped = spelling
    return Seen(kind, target, layout.metadata, None, [made], swapped, None if written is None else 0, len(given))
