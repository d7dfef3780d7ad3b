"""Which op outputs are alive at once: from its op to its last reader, the model's inputs and results always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fxprof.records import InputProfile, OpProfile


@dataclass(frozen=True, slots=True)
class Peak:
    """The worst op of the forward by its position (-1: none is worse than the inputs alone), and what is alive then.

    ``live`` has the bytes by name: an input's, or an op's (with ``:i`` for the i-th of several outputs).
    """

    step: int
    live: dict[str, int]

    @property
    def bytes(self) -> int:
        """Bytes alive at once, weights and buffers not included."""
        return sum(self.live.values())


def peak(inputs: Sequence[InputProfile], ops: Sequence[OpProfile], outputs: Iterable[str]) -> Peak:
    """The op at which most bytes are alive; the first of them where several are equal."""
    entered = {entry.name: entry.spec.nbytes for entry in inputs}
    sizes = dict(entered)
    owners: dict[str, tuple[str, ...]] = {name: (name,) for name in entered}
    born: dict[str, int] = dict.fromkeys(entered, -1)
    last: dict[str, int] = {}
    for step, op in enumerate(ops):
        owners[op.name] = op.memory
        for spec, owner in zip(op.outputs, op.memory):
            if owner == op.name or owner.partition(":")[0] == op.name:
                sizes[owner] = sizes.get(owner, 0) + spec.nbytes
                born.setdefault(owner, step)
        for used in (op.memory, *[owners.get(arg, ()) for arg in op.args]):
            for owner in used:
                last[owner] = step
    returned = (owner for name in outputs for owner in owners.get(name, ()))
    last.update(dict.fromkeys((*entered, *returned), len(ops)))
    worst = _worst(len(ops), sizes, born, last)
    return Peak(worst, {owner: sizes[owner] for owner, step in born.items() if step <= worst <= last[owner]})


def _worst(steps: int, sizes: dict[str, int], born: dict[str, int], last: dict[str, int]) -> int:
    """The step of the highest level, where an owner counts from the step it is born to its last one."""
    change = [0] * (steps + 3)  # by step, from -1 on
    for owner, step in born.items():
        change[step + 1] += sizes[owner]
        change[last[owner] + 2] -= sizes[owner]
    levels = list(accumulate(change[: steps + 1]))
    return levels.index(max(levels)) - 1
