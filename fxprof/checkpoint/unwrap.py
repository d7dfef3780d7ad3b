"""Find the dict of tensors inside a checkpoint's containers. Pure over nested dicts; no torch.

Loaded objects may carry attributes named like their methods, contain themselves, or be nested a
thousand deep: only ``dict.items(d)`` and the like are called, and every dict is visited once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fxprof.checkpoint.names import is_trailing
from fxprof.checkpoint.plan import Container
from fxprof.errors import CheckpointError, InputError

DEPTH = 32
# In order of preference where a file holds several; their usual EMA copies come after all others.
KNOWN = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights",
    "generator", "netG", "G", "student", "backbone", "encoder", "ckpt", "checkpoint", "teacher", "discriminator",
)  # fmt: skip
_OPTIMIZER = re.compile(r"optim|sched|scaler|momentum|callback|rng", re.IGNORECASE)


Step = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One dict that holds tensors: the keys that lead to it, the dict, how many it holds.

    Or several below ``path`` taken as one: ``joined`` has the path of each, and what its names begin with.
    """

    path: Step
    entries: Mapping[Any, Any]
    tensors: int
    joined: Mapping[Step, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path as ``container=`` takes it."""
        return ".".join(self.path)

    @property
    def paths(self) -> Sequence[Step]:
        """Where the tensors lie."""
        return tuple(self.joined) or (self.path,)


def items_of(node: object) -> Iterator[tuple[Any, Any]]:
    """Keys and values of a dict, list or tuple; nothing for anything else."""
    if isinstance(node, dict):
        yield from dict.items(node)
    elif isinstance(node, list | tuple):
        kind: Any = list if isinstance(node, list) else tuple
        yield from enumerate(kind.__iter__(node))


def text_of(key: object) -> str:
    """A key as text; a key of a type of the file's is not asked."""
    return str(key) if type(key) in (str, int, float, bool) else f"<{type(key).__name__}>"


def find(tree: object, is_tensor: Callable[[object], bool]) -> list[Found]:
    """Every dict with a tensor directly in it, outermost first, optimizers' own left out.

    >>> tree = {"epoch": 3, "net": {"w": 1.0}, "ema": {"w": 1.0}}
    >>> [(one.name, one.tensors) for one in find(tree, lambda leaf: type(leaf) is float)]
    [('net', 1), ('ema', 1)]
    """
    found: list[Found] = []
    seen: set[int] = set()
    pending: deque[tuple[tuple[str, ...], object]] = deque([((), tree)])
    while pending:
        path, node = pending.popleft()
        if id(node) in seen or len(path) > DEPTH:
            continue
        seen.add(id(node))
        inside = list(items_of(node))
        tensors = sum(is_tensor(value) for _, value in inside)
        if tensors and isinstance(node, dict):
            found.append(Found(path, node, tensors))
        if not _is_optimizer(node):
            pending.extend(
                ((*path, text_of(key)), value) for key, value in inside if isinstance(value, dict | list | tuple)
            )
    return found


def choose(
    found: list[Found],
    container: str | Container | None,
    where: str,
    is_tensor: Callable[[object], bool],
    tree: object = None,
) -> Found:
    """The dict of ``tree`` to load: the one named, or the likeliest. Raises InputError for a name that is not there.

    What a plan says that it was made with is taken where it is there.
    """
    if isinstance(container, Container):
        return _again(found, container, is_tensor) or choose(found, None, where, is_tensor, tree)
    if container is not None:
        if (named := _named(found, container, is_tensor)) is not None:
            return named
        names = ", ".join(repr(one.name) for one in found[:8]) or "none"
        raise InputError(f"container= must name a dict of tensors in {where}, got {container!r}; it holds {names}")
    if not found:
        what = "it is an optimizer's state" if _is_optimizer(tree) else "no dict in it has a tensor"
        raise CheckpointError(f"{where} must hold a dict of tensors by name, but {what}")
    root = found[0].tensors if not found[0].path else 0
    return min(found, key=lambda one: (*rank(one, root), -one.tensors))


def _named(found: list[Found], name: str, is_tensor: Callable[[object], bool]) -> Found | None:
    """The dict of this name; or, where it has no tensors but in dicts below it, those under their own names."""
    by_name = {one.name: one for one in reversed(found)}
    if name in by_name:
        return by_name[name]
    above = {".".join(one.path[:cut]): one.path[:cut] for one in found for cut in range(len(one.path))}
    path = above.get(name, ())
    below = [(one, one.path[len(path) :]) for one in found if one.path[: len(path)] == path and not beside(one)]
    return join(path, below, is_tensor) if below and name in above else None


def _again(found: list[Found], container: Container, is_tensor: Callable[[object], bool]) -> Found | None:
    """What a plan was made with, if it is there."""
    by_name = {one.name: one for one in reversed(found)}
    if not container.joined:
        return by_name.get(".".join(container.path))
    if any(name not in by_name for name in container.joined):
        return None
    parts = [(by_name[name], (under,) if under else ()) for name, under in container.joined.items()]
    return join(container.path, parts, is_tensor)


def join(path: Step, parts: Sequence[tuple[Found, Step]], is_tensor: Callable[[object], bool]) -> Found | None:
    """Several dicts as one, their names under the paths given; None where two of them would have one name."""
    entries: dict[str, Any] = {}
    for one, under in parts:
        for key, value in items_of(one.entries):
            if isinstance(key, str) and is_tensor(value):
                name = ".".join((*under, key))
                if name in entries:
                    return None
                entries[name] = value
    return Found(path, entries, len(entries), {one.path: ".".join(under) for one, under in parts})


def describe(chosen: Found, found: list[Found], tree: object, is_tensor: Callable[[object], bool]) -> Container:
    """What was unwrapped and what else there is."""
    others = {one.name: one.tensors for one in found if one.path not in chosen.paths and not beside(one)}
    extras = [name for name, _ in extras_of(chosen, tree, is_tensor) if name not in others]
    joined = {".".join(path): under for path, under in chosen.joined.items()}
    return Container(chosen.path, others, tuple(extras), joined)


def extras_of(chosen: Found, tree: object, is_tensor: Callable[[object], bool]) -> Iterator[tuple[str, Any]]:
    """What lies beside the chosen dicts on the way to them, and what in them is no named tensor."""
    ways = {path[:cut] for path in chosen.paths for cut in range(len(path) + 1)}
    pending: deque[tuple[Step, object]] = deque([((), tree)])
    while pending:
        path, node = pending.popleft()
        for key, value in items_of(node):
            inside = (*path, text_of(key))
            if path in chosen.paths and isinstance(key, str) and is_tensor(value):
                continue
            if inside in ways:
                ways.remove(inside)  # a key 1 is written as the text is
                pending.append((inside, value))
            else:
                yield ".".join(inside), value


def rank(one: Found, root: int) -> tuple[int, int, int]:
    """Smaller is likelier: named containers, then the root, then any dict; averaged ones last but optimizers."""
    if beside(one):
        return 4, 0, len(one.path)
    if is_trailing(one.path):
        return 3, 0, len(one.path)
    if not one.path:
        return 1, 0, 0
    known = [KNOWN.index(step) for step in one.path if step in KNOWN]
    # A file's one mean or a module's extra state is no reason to leave the larger dict.
    if known and 2 * one.tensors >= root:
        return 0, known[-1], len(one.path)
    return 2, 0, len(one.path)


def beside(one: Found) -> bool:
    """Whether it is an optimizer's or the like: no alternative to the weights."""
    return any(_OPTIMIZER.search(step) for step in one.path)


def _is_optimizer(node: object) -> bool:
    """An optimizer's state_dict: thousands of small dicts of tensors, none of them a model."""
    return isinstance(node, dict) and dict.__contains__(node, "param_groups") and dict.__contains__(node, "state")
