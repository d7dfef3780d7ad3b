"""Python's garbage collector, which visits every object alive again and again while many are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import fx


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Run the body, or a function that this decorates, without searches for cycles: there are none to find.

    The collector is the whole process's: other threads go without it meanwhile, and garbage waits.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def take_apart(graph: fx.Graph) -> None:
    """Undo the links in a graph that nobody needs any more: its nodes go at once, and no search has to find them.

    Every node holds those that it reads, those that read it, and its neighbours. From the last one on they are let
    go of here, so that what is left leads from later nodes to earlier ones.
    """
    with suppress(AttributeError):  # where torch keeps them in another way they wait for a search
        inside: Any = graph
        inside._graph_namespace._obj_to_name.clear()
        inside._find_nodes_lookup_table.table.clear()
        for node in reversed(list(graph.nodes)):
            node._remove_from_list()
            node.users.clear()
