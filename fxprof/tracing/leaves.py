"""Modules of torch.nn whose forward is one call: that call is recorded without running their forward.

A module of torch.nn without children computes from its attributes, its tensors and its input; which function it
calls with what follows from its class, its attributes, and the dtype and number of dimensions of its input. The
first module of each kind is run and what it calls is kept (``Recipe``); for its like that call is recorded at
once, on their own tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fxprof.tracing import alike
from fxprof.tracing.bounds import Assumptions
from fxprof.tracing.formed import Spelling, unseen
from fxprof.tracing.graph import Node
from fxprof.tracing.layouts import Layout
from fxprof.tracing.location import code_kind, source_of, user_frame
from fxprof.tracing.nodes import Nodes
from fxprof.tracing.opaque import is_opaque
from fxprof.tracing.repeats import Seen
from fxprof.tracing.store import Store
from fxprof.tracing.values import Value, tensors_in

_LIMIT = 1 << 14  # calls remembered, over all traces
_TENSORS = frozenset([Tensor, Parameter])
_ABSENT: Any = object()
_modes, _unseen_by_modes = torch._C._len_torch_function_stack, torch._C.DisableTorchFunction
_INPUT = ""  # where a module's own tensors have their names

Heard = tuple[Any, str, tuple[Any, ...], dict[str, Any]]  # function, name, arguments


class Recipe:
    """The one call that modules come to; ``places`` says which tensors stand where among its arguments.

    ``source`` is the line in torch's own forward, known where no code of the user's was on the stack. ``seen`` has
    what is known of the call by the layouts of its tensors.
    """

    __slots__ = ("args", "func", "kwargs", "name", "places", "seen", "source", "spelling")

    def __init__(self, heard: Heard, names: dict[int, str], spelling: Spelling, source: tuple[str, int] | None) -> None:
        self.func, self.name, args, kwargs = heard
        self.args, self.kwargs = list(args), dict(kwargs)
        items: list[tuple[Any, Any]] = [*enumerate(args), *self.kwargs.items()]
        self.places = [(place, names[id(item)]) for place, item in items if isinstance(item, Tensor)]
        for place, _ in self.places:
            (self.args if type(place) is int else self.kwargs)[place] = None  # no tensor is kept
        self.spelling = spelling
        self.source = source
        self.seen: dict[tuple[Layout | None, ...], Seen] = {}

    def on(self, items: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with these items, tensors or their nodes, in the places of its tensors."""
        args, kwargs = self.args.copy(), self.kwargs.copy()
        for (place, _), item in zip(self.places, items):
            (args if type(place) is int else kwargs)[place] = item
        return tuple(args), kwargs

    def keep(self, layouts: tuple[Layout | None, ...], seen: Seen) -> None:
        """Keep what is known of the call on tensors laid out so."""
        if len(self.seen) >= _LIMIT:
            self.seen.clear()
        self.seen[layouts] = seen


_recipes: dict[Any, Recipe | None] = {}  # None: not a single call


class Leaves:
    """Runs the modules of one trace; ``record`` records a call, and ``heard`` is where calls are then listed."""

    def __init__(
        self, nodes: Nodes, values: Store, assumptions: Assumptions, device: torch.device, record: Any
    ) -> None:
        self.heard: list[Heard] | None = None
        self._nodes = nodes
        self._values = values
        self._assumptions = assumptions
        self._device = device.type
        self._record = record
        self._kinds: dict[type[nn.Module], alike.Readers | None] = {}
        self._modes = _modes()  # any that the model's code enters sees every call

    def call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``module`` returns: from what is known of its like, else by running it."""
        readers = self._kinds.get(type(module), _ABSENT)
        if readers is _ABSENT:
            readers = self._kinds[type(module)] = alike.readable(type(module))
        if (
            readers is None or kwargs or len(args) != 1 or type(args[0]) is not Tensor or self.heard is not None
            or _modes() != self._modes
        ):  # fmt: skip
            return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        value = self._values.known(args[0])
        if value is None or not value.is_plain:
            return module._call_impl(*args)  # type: ignore[no-untyped-call]
        key = alike.key(module, readers, value.layout, self._device)
        try:
            recipe = None if key is None else _recipes.get(key, _ABSENT)
        except TypeError:  # an attribute that cannot be told from another
            recipe = None
        if type(recipe) is Recipe:
            with _unseen_by_modes():
                result = self._made(recipe, module, value)
            if result is not None:
                return result
        if recipe is None:
            return module._call_impl(*args)  # type: ignore[no-untyped-call]
        return self._first(key, module, args[0])

    def _made(self, recipe: Recipe, module: nn.Module, given: Value) -> Tensor | None:
        """Record the call on this module's tensors; None where there is more to them than their layout."""
        frame = user_frame(4)  # before it are this, call and ModuleStack.call
        source = source_of(frame) if frame is not None and code_kind(frame.f_code) == "user" else recipe.source
        if source is None:
            return None
        values = []
        for _, name in recipe.places:
            value = self._own(module, name) if name else given
            if value is None:
                return None
            values.append(value)
        layouts = tuple([value.layout for value in values])
        seen, result = recipe.seen.get(layouts), None
        if seen is None:
            held, named = recipe.on([value.handle for value in values])
            made = unseen(recipe.func, recipe.name, held, named, values, self._values, recipe.spelling)
            if made is None:
                return self._recorded(recipe, layouts, held, named, source)
            seen, result = made
            recipe.keep(layouts, seen)
        args, kwargs = recipe.on([value.node or value.graph_node() for value in values])
        node = self._nodes.node(seen.node_kind, seen.target, args, kwargs, source)
        if seen.written is not None:
            node.written = values[seen.written].graph_node()
        adopted: Tensor = self._values.adopt_again(seen, values, node, (), result)
        return adopted

    def _recorded(
        self, recipe: Recipe, layouts: tuple[Layout | None, ...], args: tuple[Any, ...], kwargs: dict[str, Any],
        source: tuple[str, int],
    ) -> Tensor:  # fmt: skip
        """Record the call on layouts not seen before."""
        self._nodes.source = source
        try:
            result: Tensor = self._record(recipe.func, recipe.name, args, kwargs)
        finally:
            self._nodes.source = None
        seen = self._values[result].graph_node().seen
        if seen is not None and not seen.swapped and seen.kind is None:
            recipe.keep(layouts, seen)
        return result

    def _first(self, key: Any, module: nn.Module, held: Tensor) -> Any:
        """Run the module, and keep what it calls."""
        last, assumed = next(reversed(self._nodes.graph.nodes), None), self._assumptions.made
        heard: list[Heard] = []
        self.heard = heard
        try:
            result = module._call_impl(held)  # type: ignore[no-untyped-call]
        finally:
            self.heard = None
        if alike.is_plain(key[1]):  # else the key would keep an object of the model's
            with _unseen_by_modes():
                if len(_recipes) >= _LIMIT:
                    _recipes.clear()
                guessed = self._assumptions.made > assumed
                _recipes[key] = None if guessed else self._recipe(module, held, result, last, heard)
        return result

    def _recipe(
        self, module: nn.Module, held: Tensor, result: Any, last: Node | None, heard: list[Heard]
    ) -> Recipe | None:
        """The one call that was heard, if it is all that happened."""
        names = {id(tensor): name for name, tensor in (*module._parameters.items(), *module._buffers.items())}
        names[id(held)] = _INPUT
        call = self._only_call(last, result) if len(heard) == 1 and _told_by(heard[0], names) else None
        if call is None:
            return None
        func, name, args, kwargs = heard[0]
        kind, target, given = self._nodes.spelled(func, name, args, kwargs)
        own = call.source[0] == type(module).forward.__code__.co_filename
        recipe = Recipe(heard[0], names, (kind, target, given is not args), call.source if own else None)
        seen = call.seen
        if seen is not None and seen.kind is seen.written is None and not seen.swapped:
            values = [self._own(module, name) if name else self._values[held] for _, name in recipe.places]
            recipe.keep(tuple([None if value is None else value.layout for value in values]), seen)
        return recipe

    def _only_call(self, last: Node | None, result: Any) -> Node | None:
        """The node of a result, if all others since ``last`` are parameters and buffers."""
        made = self._values.known(result) if type(result) is Tensor else None
        call = None if made is None else made.node
        if call is None or call is last or call.op == "get_attr":
            return None
        for node in reversed(self._nodes.graph.nodes):
            if node is last:
                break
            if node is not call and node.op != "get_attr":
                return None
        return call

    def _own(self, module: nn.Module, name: str) -> Value | None:
        """The value of one of the module's own tensors, if it is a weight."""
        tensor: Tensor | None = module._parameters.get(name)
        if tensor is None:
            tensor = module._buffers.get(name)
        if tensor is None or type(tensor) not in _TENSORS:
            return None
        return self._values.plain(tensor)


def _told_by(heard: Heard, names: dict[int, str]) -> bool:
    """Whether a call takes no tensors but those of these names, each as an argument of its own."""
    _, name, args, kwargs = heard
    own = [item for item in (*args, *kwargs.values()) if isinstance(item, Tensor)]
    every = list(tensors_in((args, kwargs)))
    return not is_opaque(name) and len(own) == len(every) and all(id(item) in names for item in own)
