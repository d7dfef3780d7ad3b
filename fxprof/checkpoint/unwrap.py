"""Find the dict of tensors inside a checkpoint's containers. Pure over nested dicts; no torch.

Loaded objects may carry attributes named like their methods, contain themselves, or be nested a
thousand deep: only ``dict.items(d)`` and the like are called, and every dict is visited once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fxprof.checkpoint.plan import Container
from fxprof.errors import CheckpointError, InputError

DEPTH = 32
# In order of preference where a file holds several; their usual EMA copies come after all others.
KNOWN = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights",
    "generator", "netG", "G", "student", "backbone", "encoder", "ckpt", "checkpoint", "teacher", "discriminator",
)  # fmt: skip
_AVERAGED = {"ema", "swa", "shadow", "averaged", "average", "teacher"}
_OPTIMIZER = re.compile(r"optim|sched|scaler|momentum|callback|rng", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """One dict that holds tensors: the keys that lead to it, the dict, how many it holds."""

    path: tuple[str, ...]
    entries: Mapping[Any, Any]
    tensors: int

    @property
    def name(self) -> str:
        """The path as ``container=`` takes it."""
        return ".".join(self.path)


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


def choose(found: list[Found], container: str | None, where: str, tree: object = None) -> Found:
    """The dict of ``tree`` to load: the one named, or the likeliest. Raises InputError for a name that is not there."""
    if container is not None:
        for one in found:
            if one.name == container:
                return one
        names = ", ".join(repr(one.name) for one in found[:8]) or "none"
        raise InputError(f"container= must name a dict of tensors in {where}, got {container!r}; it holds {names}")
    if not found:
        what = "it is an optimizer's state" if _is_optimizer(tree) else "no dict in it has a tensor"
        raise CheckpointError(f"{where} must hold a dict of tensors by name, but {what}")
    root = found[0].tensors if not found[0].path else 0
    return min(found, key=lambda one: (*_rank(one, root), -one.tensors))


def describe(chosen: Found, found: list[Found], tree: object, is_tensor: Callable[[object], bool]) -> Container:
    """What was unwrapped and what else there is."""
    others = {one.name: one.tensors for one in found if one is not chosen and not _beside(one)}
    extras = [name for name, _ in extras_of(chosen, tree, is_tensor) if name not in others]
    return Container(chosen.path, others, tuple(extras))


def extras_of(chosen: Found, tree: object, is_tensor: Callable[[object], bool]) -> Iterator[tuple[str, Any]]:
    """What lies beside the chosen dict on the way to it, and what in it is no named tensor."""
    node = tree
    for depth, step in enumerate((*chosen.path, None)):
        for key, value in items_of(node):
            named_tensor = step is None and isinstance(key, str) and is_tensor(value)
            if text_of(key) != step and not named_tensor:
                yield ".".join((*chosen.path[:depth], text_of(key))), value
        node = next((value for key, value in items_of(node) if text_of(key) == step), None)


def _rank(one: Found, root: int) -> tuple[int, int, int]:
    """Smaller is likelier: named containers, then the root, then any dict; averaged ones last but optimizers."""
    if any(_OPTIMIZER.search(step) for step in one.path):
        return 4, 0, len(one.path)
    if _is_averaged(one):
        return 3, 0, len(one.path)
    if not one.path:
        return 1, 0, 0
    known = [KNOWN.index(step) for step in one.path if step in KNOWN]
    # A file's one mean or a module's extra state is no reason to leave the larger dict.
    if known and 2 * one.tensors >= root:
        return 0, known[-1], len(one.path)
    return 2, 0, len(one.path)


def _is_averaged(one: Found) -> bool:
    return any(_AVERAGED & set(re.split(r"[^a-z]+", step.lower())) for step in one.path)


def _beside(one: Found) -> bool:
    """An optimizer's tensors are no alternative to the weights."""
    return any(_OPTIMIZER.search(step) for step in one.path)


def _is_optimizer(node: object) -> bool:
    """An optimizer's state_dict: thousands of small dicts of tensors, none of them a model."""
    return isinstance(node, dict) and dict.__contains__(node, "param_groups") and dict.__contains__(node, "state")
