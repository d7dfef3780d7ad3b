"""What a trace records: nodes as torch.fx has them, with the fields that an analysis reads.

An ``fx.Node`` is made for graphs that are rewritten: it knows its users, its neighbours and its graph, which takes most
of the time of recording it and leaves its memory to the garbage collector. These know what they read, no more;
``Graph.as_fx`` makes an ``fx.Graph`` of them.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, dtype, fx, nn

if TYPE_CHECKING:
    from fxprof.tracing.repeats import Seen

# Names that must not be used as they are: Python's and those of the code that torch.fx writes.
_RESERVED = frozenset(
    [*dir(builtins), *keyword.kwlist, "inf", "nan", "NoneType", "torch", "device", "fx_pytree", "pytree"]
)
_NUMBERED = re.compile(r"(.*?)_\d+$")
_CAPITAL = re.compile("(?<=[a-z])([A-Z])")


@dataclass(slots=True, eq=False)
class ModuleCall:
    """One call of a module: its positional tensors and those it returned.

    ``count`` says the how many-th call of the module it is, ``kind`` is the module's class, ``parent`` the call it was
    made in.
    """

    path: str
    count: int
    kind: type[nn.Module] | None
    parent: ModuleCall | None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    @property
    def key(self) -> str:
        """Tells it from the other calls, as torch.export does; empty for what stands around them."""
        if self.kind is None:
            return ""
        return f"L__self__{self.path}" if self.count == 1 else f"L__self__{self.path}@{self.count - 1}"

    @property
    def stack(self) -> dict[str, tuple[str, str]]:
        """The ``nn_module_stack`` of what is called in it: path and class of each call by its key, outermost first."""
        found = []
        call: ModuleCall | None = self
        while call is not None and call.kind is not None:
            found.append((call.key, (call.path, f"{call.kind.__module__}.{call.kind.__qualname__}")))
            call = call.parent
        return dict(reversed(found))


def outside() -> ModuleCall:
    """What stands for the call around all others."""
    return ModuleCall("", 0, None, None)


class Node:
    """One step: ``name``, ``op``, ``target``, ``args`` and ``kwargs`` are those of an ``fx.Node``.

    ``call`` is the call of a module that it was made in, ``source`` the file and line. ``tensor_meta`` has the shapes
    of what it returns, where it is ``described``, and ``storage`` the identities of the memory that lives in;
    ``written`` is the node whose memory it writes to, ``input`` the name of the input that it stands for, ``seen`` what
    is known of calls like it.
    """

    __slots__ = (
        "args", "call", "described", "grad_enabled", "input", "kwargs", "name", "op", "seen", "source", "storage",
        "target", "tensor_meta", "written",
    )  # fmt: skip

    def __init__(
        self, name: str, op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: ModuleCall,
        source: tuple[str, int], grad_enabled: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.op = op
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.call = call
        self.source = source
        self.grad_enabled = grad_enabled
        self.described = False
        self.tensor_meta: Any = None
        self.storage: Any = None
        self.written: Node | None = None
        self.input: str | None = None
        self.seen: Seen | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among its arguments, each once."""
        found: dict[Node, None] = {}
        _gather(self.args, found)
        if self.kwargs:
            _gather(self.kwargs.values(), found)
        return list(found)

    def describe(self, tensor_meta: Any, storage: Any) -> None:
        """Say what it returns."""
        self.described = True
        self.tensor_meta = tensor_meta
        self.storage = storage


_ATOMS = frozenset([bool, int, float, str, type(None), dtype])


def nodes_in(argument: Any) -> list[Node]:
    """The nodes in nested tuples, lists, dicts and slices, each once."""
    found: dict[Node, None] = {}
    _gather((argument,), found)
    return list(found)


def _gather(arguments: Iterable[Any], found: dict[Node, None]) -> None:
    for item in arguments:
        kind = type(item)
        if kind is Node:
            found[item] = None
        elif kind in _ATOMS:
            pass
        elif isinstance(item, (tuple, list)):
            _gather(item, found)
        elif isinstance(item, dict):
            _gather(item.values(), found)
        elif kind is slice:
            _gather((item.start, item.stop, item.step), found)


class Graph:
    """Nodes in order of execution, each with a name of its own.

    ``through`` has, for what an autograd Function returned, what it was given.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.through: dict[Node, list[Node]] = {}
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def add(
        self, op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, call: ModuleCall,
        source: tuple[str, int], grad_enabled: bool,
    ) -> Node:  # fmt: skip
        """Add a node, named ``name`` or with a number after it."""
        if name in self._used:
            name = self._numbered(name) if name in self._counts else self._unused(name)
        elif not name.isidentifier() or name in _RESERVED or not name.isascii():
            name = self._unused(name)
        self._used.add(name)
        node = Node(name, op, target, args, kwargs, call, source, grad_enabled)
        self.nodes.append(node)
        return node

    def of(self, op: str) -> list[Node]:
        """The nodes of one kind."""
        return [node for node in self.nodes if node.op == op]

    def as_fx(self) -> fx.Graph:
        """The same as torch.fx has it, with what is known of a node in its ``meta``.

        That is ``tensor_meta`` as of ShapeProp, ``nn_module_stack`` as of torch.export, ``module_path``, ``source``
        (file, line), ``grad_enabled``, ``storage``, and, where there is one, ``input`` and ``written``.
        """
        graph = fx.Graph()
        made: dict[Node, fx.Node] = {}
        for node in self.nodes:
            args, kwargs = _mapped(node.args, made), _mapped(node.kwargs, made)
            new = made[node] = graph.create_node(node.op, node.target, args, kwargs, name=node.name)
            new.meta.update(
                {
                    "nn_module_stack": node.call.stack, "module_path": node.call.path, "source": node.source,
                    "grad_enabled": node.grad_enabled,
                }
            )  # fmt: skip
            if node.described:
                new.meta.update(tensor_meta=node.tensor_meta, storage=node.storage)
            if node.input is not None:
                new.meta["input"] = node.input
            if node.written is not None:
                new.meta["written"] = made[node.written]
        return graph

    def _unused(self, name: str) -> str:
        if not name.isidentifier() or not name.isascii():
            name = re.sub("[^0-9a-zA-Z_]+", "_", name) or "_unnamed"
            name = f"_{name}" if name[0].isdigit() else name
        if name not in self._used and name not in _RESERVED:
            return name
        numbered = _NUMBERED.match(name)
        return self._numbered(numbered[1] if numbered else name)

    def _numbered(self, base: str) -> str:
        number = self._counts.get(base, 0) + 1
        while (name := f"{base}_{number}") in self._used:
            number += 1
        self._counts[base] = number
        return name


def snake_case(target: Any) -> str:
    """What nodes that call ``target`` are named by: ``max_pool2d``, ``add`` for ``__add__``."""
    name = target if isinstance(target, str) else str(target.__name__)
    if isinstance(target, str) and name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
    return _CAPITAL.sub(r"_\1", name).lower()


def _mapped(argument: Any, made: dict[Node, fx.Node]) -> Any:
    if type(argument) is Node:
        return made[argument]
    if type(argument) is tuple or type(argument) is list:
        return type(argument)([_mapped(item, made) for item in argument])
    if type(argument) is dict:
        return {key: _mapped(item, made) for key, item in argument.items()}
    if type(argument) is slice:
        return slice(*[_mapped(item, made) for item in (argument.start, argument.stop, argument.step)])
    return argument
