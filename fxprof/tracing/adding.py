"""Nodes put into a graph as ``Graph.create_node`` does, without searching their arguments and names.

It spends most of its time on a regular expression for the name and on a search of the arguments for symbolic
sizes, neither of which a trace has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx
from torch.fx import graph as fx_graph

Add = Callable[[str, Any, tuple[Any, ...], dict[str, Any], str], fx.Node]

# Names that must not be used as they are: Python's and those of the generated code.
_ILLEGAL: Any = getattr(fx_graph, "_illegal_names", None)


def adder(graph: fx.Graph) -> Add:
    """A function of (op, target, args, kwargs, name), for this graph; numbers are added to names in use."""
    names: Any = graph._graph_namespace
    listed: Any = getattr(getattr(graph, "_find_nodes_lookup_table", None), "table", None)
    if _ILLEGAL is None or listed is None or not isinstance(getattr(names, "_used_names", None), set):
        # a torch that keeps them in another way

        def create(op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> fx.Node:
            return graph.create_node(op, target, args, kwargs, name=name)

        return create
    used, counts, owners = names._used_names, names._base_count, names._obj_to_name
    insert = getattr(graph._root, "_prepend", graph._root.prepend)  # newer versions do it in C

    def add(op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> fx.Node:
        if not _is_plain(name):
            name = names.create_name(name, None)
        else:
            base, number = name, counts.get(name, 0)
            while name in used:
                number += 1
                name = f"{base}_{number}"
            used.add(name)
            counts[base] = number
        node = fx.Node(graph, name, op, target, args, kwargs)
        owners[node] = name
        insert(node)
        listed[op, target if op == "call_function" else None][node] = None
        graph._len += 1
        return node

    return add


def _is_plain(name: str) -> bool:
    """Whether a name can be used as it is, and has no number at its end that would be counted on."""
    return name.isidentifier() and name.isascii() and not name[-1].isdigit() and name not in _ILLEGAL
