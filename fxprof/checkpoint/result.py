"""What a load did: the plan that was applied, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fxprof.checkpoint.plan import Container, Coverage, Match, Plan
from fxprof.records import Shape
from fxprof.shown import Shown
from fxprof.views.text import listed, safe

if TYPE_CHECKING:
    from torch import nn

CHANGES = ("dtype", "non-finite", "overflow", "tied")


@dataclass(frozen=True, slots=True)
class Change:
    """Something about one tensor's values. ``kind`` is one of ``CHANGES``; ``text`` says it."""

    target: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{safe(self.target)}: {safe(self.text)}"


@dataclass(frozen=True, slots=True)
class OptimizerReport:
    """Whose optimizer state followed: names of the model's parameters, and of the checkpoint's for ``dropped``."""

    restored: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    groups: bool = True  # learning rate and the like were restored too

    def __str__(self) -> str:
        parts = [f"{len(self.restored):,} restored"]
        parts += [f"{len(self.fresh):,} fresh ({listed(self.fresh, 3)})"] if self.fresh else []
        parts += [f"{len(self.dropped):,} dropped ({listed(self.dropped, 3)})"] if self.dropped else []
        parts += [] if self.groups else ["learning rates as they were"]
        return f"optimizer state: {', '.join(parts)}"


@dataclass(frozen=True)
class Result(Shown):
    """A plan applied. ``str(result)`` is a table.

    ``extras`` is what else the checkpoint held (epoch, scheduler, scaler …), as it was.
    ``trainable_parameters`` are the model's own, after ``freeze``.
    """

    plan: Plan
    trainable_parameters: tuple[nn.Parameter, ...] = field(repr=False, compare=False)
    optimizer: OptimizerReport | None = None
    changes: tuple[Change, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def matches(self) -> tuple[Match, ...]:
        """What was loaded."""
        return self.plan.matches

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the model's tensors that were loaded."""
        return tuple(match.target for match in self.plan.matches)

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """The model's tensors that the checkpoint has nothing for."""
        return self.plan.missing_keys

    @property
    def unexpected_keys(self) -> tuple[str, ...]:
        """The checkpoint's tensors that the model has no place for."""
        return self.plan.unexpected_keys

    @property
    def mismatched_keys(self) -> Mapping[str, tuple[Shape, Shape]]:
        """Same name, other shape: the model's and the checkpoint's."""
        return self.plan.mismatched_keys

    @property
    def ambiguous(self) -> Mapping[str, tuple[str, ...]]:
        """The model's tensors with several candidates, none of them chosen."""
        return self.plan.ambiguous

    @property
    def container(self) -> Container:
        """What was unwrapped."""
        return self.plan.container

    @property
    def prefix(self) -> str:
        """What was taken off or put before the names."""
        return self.plan.prefix

    @property
    def coverage(self) -> Coverage:
        """How much of the model and of the checkpoint was loaded."""
        return self.plan.coverage

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence each: why something was left."""
        return self.plan.notes

    @property
    def complete(self) -> bool:
        """Whether nothing was left on either side."""
        plan = self.plan
        return not (plan.missing_keys or plan.unexpected_keys or plan.mismatched_keys or plan.ambiguous)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the plan, the changes, and what became of the optimizer's state."""
        follow = self.optimizer
        return {
            **self.plan.to_dict(),
            "changes": [{"target": c.target, "kind": c.kind, "text": c.text} for c in self.changes],
            "optimizer": follow and {key: getattr(follow, key) for key in follow.__slots__},
        }

    def __str__(self) -> str:
        from fxprof.views.plan import render  # as a plan's own text; views import plans

        lines = [render(self.plan, done=True), *grouped(self.changes)]
        if self.optimizer is not None:
            lines.append(str(self.optimizer))
        return "\n".join(lines)


def grouped(changes: tuple[Change, ...]) -> list[str]:
    """One line per text, with the tensors it holds for."""
    tensors: dict[str, list[str]] = {}
    for change in changes:
        tensors.setdefault(change.text, []).append(change.target)
    return [f"{safe(text)}: {listed(names, 3)}" for text, names in tensors.items()]
