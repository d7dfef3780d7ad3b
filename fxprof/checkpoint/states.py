"""The optimizers' states that a checkpoint holds, and which of several an optimizer's is. No tensor is looked at.

A GAN, an actor-critic or a Lightning module with several optimizers saves one state each: in a list, in a dict of
them, each beside its own weights, or under names such as ``optimizer_D``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fxprof.checkpoint.positions import unflattened
from fxprof.checkpoint.unwrap import DEPTH, items_of, text_of

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
# What says that it is a state or weights, and not whose.
_COMMON = {
    "optimizer", "optimizers", "optim", "optims", "opt", "opts", "state", "states", "dict", "dicts", "model", "models",
    "net", "nets", "network", "networks", "weights", "params", "module", "checkpoint", "ckpt",
}  # fmt: skip


def states(extras: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every optimizer's state_dict among what a checkpoint holds beside its weights, under its dotted path.

    >>> adam = {"state": {}, "param_groups": [{"params": [0]}]}
    >>> list(states({"epoch": 3, "optimizer_states": [adam], "critic": {"optim": adam}}))
    ['optimizer_states', 'critic.optim']
    """
    found: dict[str, Mapping[str, Any]] = {}
    seen: set[int] = set()
    pending: deque[tuple[tuple[str, ...], object]] = deque(((name,), value) for name, value in extras.items())
    while pending:
        path, node = pending.popleft()
        if not isinstance(node, dict | list | tuple) or len(path) > DEPTH or id(node) in seen:
            continue
        if isinstance(node, dict) and (state := _state_dict(node)) is not None:
            found[".".join(path)] = state
            continue
        seen.add(id(node))
        only = isinstance(node, list | tuple) and len(node) == 1
        pending.extend((path if only else (*path, text_of(key)), value) for key, value in items_of(node))
    return found


def _state_dict(value: dict[Any, Any]) -> Mapping[str, Any] | None:
    """An optimizer's state_dict, as torch gives it or flattened; None for anything else."""
    return value if "state" in value and "param_groups" in value else unflattened(value)


def named_for(names: Iterable[str], weights: Sequence[str], members: Iterable[str]) -> list[str]:
    """Those of ``names`` that are named after the path to the weights, or the parameters' own module; else after none.

    >>> named_for(["optimizer_G", "optimizer_D"], ["state_dict"], ["netD.0.weight", "netD.0.bias"])
    ['optimizer_D']
    >>> named_for(["optimizer", "optimizer_D"], ["model"], ["fc.weight", "head.weight"])
    ['optimizer']
    """
    owner = _words([*weights, *_common(members)])
    words = {name: _words([name]) for name in names}
    return [name for name in words if words[name] and words[name] <= owner] or [n for n in words if not words[n]]


def _words(names: Iterable[str]) -> set[str]:
    return {word.lower() for name in names for word in _WORD.findall(name)} - _COMMON


def _common(members: Iterable[str]) -> list[str]:
    """The module that all of these are in, as the steps of its path."""
    paths = [name.split(".")[:-1] for name in members]
    common = paths[0] if paths else []
    for path in paths:
        equal = [ours == theirs for ours, theirs in zip(common, path)]
        common = common[: equal.index(False) if False in equal else len(equal)]
    return common
