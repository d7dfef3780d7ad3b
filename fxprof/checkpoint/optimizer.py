"""Optimizer state that follows its parameters through a load: renamed, dropped, added, adapted.

torch stores state by position. Positions become names of the checkpoint (``param_names`` where they are stored, else
the order of its parameters), names become the model's through the plan, and the state that arrives is written in the
positions of the optimizer at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fxprof.checkpoint import pieces, positions, targets
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.positions import Saved, check_numbers
from fxprof.checkpoint.reading import Checkpoint, content
from fxprof.checkpoint.result import OptimizerReport
from fxprof.checkpoint.states import named_for, states
from fxprof.errors import CheckpointError
from fxprof.records import Shape
from fxprof.views.text import listed

# How torch runs a step, not what it computes: these may differ between versions and machines.
RUNTIME = {"params", "param_names", "foreach", "fused", "capturable", "differentiable", "maximize", "initial_lr"}
# The same keys in both, other arithmetic: Adam with this flag is AdamW.
IDENTITY = "decoupled_weight_decay"


@dataclass
class Follow:
    """Optimizer state ready to be put in place."""

    optimizer: torch.optim.Optimizer
    state_dict: dict[str, Any]
    report: OptimizerReport
    _before: tuple[Any, Any] | None = field(default=None, init=False)

    def apply(self) -> None:
        """Put the state in place. Raises CheckpointError for one that the optimizer cannot take, after ``undo``."""
        self._before = (self.optimizer.state, self.optimizer.param_groups)
        try:
            self.optimizer.load_state_dict(self.state_dict)
        except Exception as err:  # whatever a foreign value makes of the optimizer's own code
            self.undo()
            name = type(self.optimizer).__name__
            raise CheckpointError(
                f"the optimizer's state in the checkpoint cannot be that of {name}, which says: {reason(err)}"
            ) from err

    def undo(self) -> None:
        """Put the state back that was there."""
        if self._before is not None:
            self.optimizer.state, self.optimizer.param_groups = self._before


def prepare(optimizer: torch.optim.Optimizer, model: nn.Module, plan: Plan, checkpoint: Checkpoint) -> Follow:
    """Decide whose state goes where. Nothing is changed.

    Of several states in the checkpoint, the one that fits.

    Raises:
        CheckpointError: there is no optimizer state, it is another optimizer's, or it cannot be told whose it is.
    """
    extras = dict(checkpoint.extras)
    found = states(extras) or states(_beside(checkpoint))
    if not found:
        held = f"it holds {listed(map(str, extras))}" if extras else "it holds nothing but weights"
        raise CheckpointError(f"optimizer= needs an optimizer's state_dict in the checkpoint, and {held}")
    _check_members(optimizer, model)
    follows: dict[str, Follow] = {}
    refusals: dict[str, CheckpointError] = {}
    for name, state in found.items():
        try:
            follows[name] = _prepared(state, optimizer, model, plan, checkpoint)
        except CheckpointError as err:
            refusals[name] = err
    if not follows:
        raise _none_fits(refusals)
    return follows[_chosen(follows, optimizer, model, checkpoint)]


def _prepared(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module, plan: Plan, checkpoint: Checkpoint
) -> Follow:
    saved = Saved.from_state(state)
    _check_kind(saved, optimizer)
    owners = positions.owners(saved, optimizer, model, plan, checkpoint)
    return _follow(saved, optimizer, model, plan, owners, {key: spec.shape for key, spec in checkpoint.specs.items()})


def _beside(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The optimizers' files in the folder that a trainer wrote: transformers' optimizer.pt, accelerate's optimizer.bin.

    accelerate numbers further ones: optimizer_1.bin.
    """
    if checkpoint.path is None:
        return {}
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    files = [path for path in (folder / "optimizer.pt", folder / "optimizer.bin") if path.is_file()][:1]
    files += sorted(folder.glob("optimizer_[0-9]*.bin"))
    return {path.stem: content(path) for path in files}


def _chosen(
    follows: Mapping[str, Follow], optimizer: torch.optim.Optimizer, model: nn.Module, checkpoint: Checkpoint
) -> str:
    """The state that most parameters find theirs in; of equal ones, the one of the right name."""
    most = max(len(follow.report.restored) for follow in follows.values())
    best = [name for name, follow in follows.items() if len(follow.report.restored) == most]
    if len(best) > 1:
        names = targets.names_of(model)
        members = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        best = named_for(best, checkpoint.container.path, members) or best
    if len(best) > 1:
        raise CheckpointError(
            "one optimizer's state in the checkpoint must fit the optimizer at hand best, but "
            f"{listed(best)} fit equally well; pass a mapping with the weights and the one that is meant"
        )
    return best[0]


def _none_fits(refusals: Mapping[str, CheckpointError]) -> CheckpointError:
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    said = "; ".join(f"{name}: {err}" for name, err in [*refusals.items()][:2])
    return CheckpointError(
        f"none of the {len(refusals)} optimizers' states in the checkpoint ({listed(refusals)}) fits the optimizer "
        f"at hand. {said}"
    )


# -- refusals ----------------------------------------------------------------------------------


def _check_kind(saved: Saved, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer is recognized by the options of its groups: betas, momentum and so on."""
    name = type(optimizer).__name__
    ours = set(optimizer.param_groups[0]) - RUNTIME
    for group in saved.groups:
        theirs = set(group) - RUNTIME
        # Options that one version has and the other not are one-sided; another optimizer differs on both.
        if theirs - ours - {IDENTITY} and ours - theirs - {IDENTITY}:
            raise CheckpointError(
                f"the state in the checkpoint is of another optimizer than {name}: it has "
                f"{listed(sorted(theirs - ours))} where {name} has {listed(sorted(ours - theirs))}"
            )
        check_numbers(group, optimizer.param_groups[0])
        flag = optimizer.param_groups[0].get(IDENTITY)
        if flag is not None and group.get(IDENTITY) is (not flag):
            raise CheckpointError(
                f"the state in the checkpoint is of another optimizer than {name}: its {IDENTITY} is {not flag}"
            )


def _check_members(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strangers = sum(id(parameter) not in own for parameter in members)
    if strangers:
        raise CheckpointError(f"{strangers:,} parameters of the optimizer are not the model's: build it on this model")
    if any(parameter.is_meta for parameter in members):
        raise CheckpointError("the optimizer holds meta parameters, which loading replaces: build it after loading")
    if any(targets.is_sharded(parameter) for parameter in members):
        raise CheckpointError(
            "the state of sharded parameters cannot follow here: use torch.distributed.checkpoint.state_dict for it"
        )


# -- the state that arrives --------------------------------------------------------------------


def _follow(
    saved: Saved,
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    plan: Plan,
    owners: Mapping[str, Any],
    shapes: Mapping[str, Shape],
) -> Follow:
    """``owners`` says which position of the saved state belongs to which checkpoint key, of which shape."""
    state_dict = optimizer.state_dict()
    names = targets.names_of(model)
    chosen = {id(tensor): plan_match for plan_match, tensor in _matched(model, plan)}
    state: dict[int, Any] = {}
    restored, fresh, used = [], [], set()
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = _is_whole(saved, [chosen.get(id(parameter)) for parameter in members], owners)
    for index, parameter in enumerate(members):
        match = chosen.get(id(parameter)) if whole else None
        places = [owners[key] for key in match.sources if key in owners] if match else []
        states = [saved.state.get(place) for place in places]
        arrived = _arrived(match, parameter, states, model, shapes) if match else None
        if arrived is None:
            fresh.append(names[id(parameter)])
            continue
        state[index] = arrived
        restored.append(names[id(parameter)])
        used.update(places)
    known = {place: key for key, place in owners.items()}
    dropped = [known.get(place, f"position {place}") for place in saved.state if place not in used]
    groups = _groups(saved, state_dict["param_groups"], _homes(saved, optimizer, chosen, owners))
    report = OptimizerReport(tuple(restored), tuple(fresh), tuple(dropped), groups is not None)
    merged = {"state": state, "param_groups": groups or state_dict["param_groups"]}
    return Follow(optimizer, merged, report)


def _matched(model: nn.Module, plan: Plan) -> list[tuple[Match, Tensor]]:
    tensors = targets.tensors(model)
    return [(match, tensors[match.target]) for match in plan.matches]


def _is_whole(saved: Saved, matches: list[Match | None], owners: Mapping[str, Any]) -> bool:
    """Whether state that one parameter keeps for all of them (LBFGS) finds the same ones, in the same order."""
    places = saved.places
    if len(saved.state) != 1 or len(places) == 1:
        return True
    return places == [match and not _is_moved(match) and owners.get(match.sources[0]) for match in matches]


def _arrived(
    match: Match,
    parameter: Tensor,
    states: list[Mapping[str, Any] | None],
    model: nn.Module,
    shapes: Mapping[str, Shape],
) -> dict[str, Any] | None:
    """The state for ``parameter``, moved as its values are moved; None where it has to start fresh."""
    found = [state for state in states if state]
    if len(found) != len(match.sources) or not pieces.is_moved_only(match):
        return None
    if any(set(state) != set(found[0]) for state in found):
        return None
    arrived = {}
    for key, value in found[0].items():
        parts = [state[key] for state in found]
        if isinstance(value, Tensor) and value.ndim:
            # Moments of rows and columns (Adafactor) are not laid out as the values are.
            if _is_moved(match) and any(tuple(part.shape) != shapes[name] for part, name in zip(parts, match.sources)):
                return None
            arrived[key] = _moved(match, parameter, parts, model)
        elif all(bool(torch.as_tensor(part == value).all()) for part in parts):
            arrived[key] = value.clone() if isinstance(value, Tensor) else value
        else:  # query, key and value at different steps
            return None
    return arrived


def _is_moved(match: Match) -> bool:
    """Whether the values change place or shape on the way."""
    return match.how in ("qkv", "reshape", "transpose", "rope") or "[" in match.how


def _moved(match: Match, parameter: Tensor, parts: list[Tensor], model: nn.Module) -> Tensor:
    if not _is_moved(match):
        return parts[0].clone()
    with torch.no_grad():
        return pieces.adapted(match, parameter, parts, model).clone(memory_format=torch.contiguous_format)


def _homes(
    saved: Saved, optimizer: torch.optim.Optimizer, chosen: Mapping[int, Match], owners: Mapping[str, Any]
) -> list[int | None]:
    """For each group at hand, the saved group that its parameters were in; None where they were in several or none."""
    group_of = {place: index for index, group in enumerate(saved.groups) for place in group["params"]}
    homes: list[int | None] = []
    for index, group in enumerate(optimizer.param_groups):
        keys = [key for member in group["params"] if id(member) in chosen for key in chosen[id(member)].sources]
        found = {group_of[owners[key]] for key in keys if key in owners} or {index}
        homes.append(found.pop() if len(found) == 1 else None)
    return homes


def _groups(saved: Saved, current: list[dict[str, Any]], homes: list[int | None]) -> list[dict[str, Any]] | None:
    """The groups at hand with the saved learning rate and the like; None where they do not correspond."""
    if sorted(-1 if home is None else home for home in homes) != list(range(len(saved.groups))):
        return None
    pairs = [(group, saved.groups[home or 0]) for group, home in zip(current, homes)]
    if len(pairs) > 1 and any(len(group["params"]) != len(old["params"]) for group, old in pairs):
        return None
    kept = ("params", "param_names")
    return [{**group, **{key: value for key, value in old.items() if key not in kept}} for group, old in pairs]
