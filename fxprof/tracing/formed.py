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
from fxprof.tracing.shapes import SHAPES, VIEWS
from fxprof.tracing.spans import span_of
from fxprof.tracing.store import Store
from fxprof.tracing.values import Value, storages

Spelling = tuple[str, Any, bool]  # op and target of a call's node, and whether its two arguments change places


def formed(
    look: Sight, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    nodes: Nodes, values: Store,
) -> tuple[Seen, Tensor] | None:  # fmt: skip
    """What a call makes, and keep it, with its result; None for a call that is not of this kind."""
    if look.mixed or (func not in SHAPES and func not in VIEWS):
        return None
    kind, target, given = nodes.spelled(func, name, look.args, look.kwargs)
    made = unseen(func, name, args, kwargs, look.values, values, (kind, target, given is not look.args))
    return None if made is None else (keep(look, made[0]), made[1])


def unseen(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
    given: list[Value], values: Store, spelling: Spelling,
) -> tuple[Seen, Tensor] | None:  # fmt: skip
    """What a call on abstract tensors makes, if it makes one: new, a view of its first, or that first itself.

    With it comes what this one call makes.
    """
    first = given[0] if given else None
    form, base = SHAPES.get(func), None
    if form is None and args and first is not None and first.made_meta is first.handle is args[0]:
        form, base = VIEWS.get(func), first.handle
    if form is None or name in names.INDEXED:
        return None
    result = form(*args, **on("meta", kwargs))
    layout = layout_of(result) if type(result) is Tensor and not result.requires_grad else None
    if layout is None or (base is not None and layout.dtype is not base.dtype):
        return None
    span = span_of(name, args, kwargs, [value.handle for value in given], result, 0, values.span)
    written = names.written_argument(name, args, kwargs)
    if first is not None and result is first.handle and result.is_meta and (written is None or written is result):
        made = Result(None, 0, 0, span)
    elif written is not None or values.known(result) is not None:
        return None
    else:
        made = Result(layout, None, 0, span)
        if base is not None and storages(result) == storages(base):
            made.base, made.offset = 0, int(result.storage_offset()) - int(base.storage_offset())
    kind, target, swapped = spelling
    place = None if written is None else 0
    return Seen(kind, target, layout.metadata, None, [made], swapped, place, len(given)), result
