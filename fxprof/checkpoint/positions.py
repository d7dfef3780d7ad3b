"""Which parameter of a checkpoint a position in its optimizer's state belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fxprof.checkpoint import targets
from fxprof.checkpoint.names import split, unwrapped
from fxprof.checkpoint.plan import Plan
from fxprof.checkpoint.reading import Checkpoint
from fxprof.errors import CheckpointError, shown
from fxprof.records import Shape

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
# State that torch's optimizers keep in the shape of the parameter.
SHAPED = (
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "grad_avg",
    "acc_delta", "sum", "ax", "prev", "step_size",
)  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """An optimizer's state_dict as it came out of a file, checked for its form."""

    state: Mapping[int, Mapping[str, Any]]
    groups: Sequence[Mapping[str, Any]]

    @classmethod
    def from_state(cls, data: Mapping[str, Any]) -> Saved:
        """Raises CheckpointError unless ``data`` is what ``Optimizer.state_dict()`` gives."""
        state, groups = data["state"], data["param_groups"]
        well = (
            isinstance(state, Mapping)
            and all(isinstance(entry, Mapping) for entry in state.values())
            and isinstance(groups, (list, tuple))
            and all(isinstance(group, Mapping) and isinstance(group.get("params"), (list, tuple)) for group in groups)
        )
        if not well or not groups:
            raise CheckpointError("the optimizer's state in the checkpoint must be what torch's state_dict() gives")
        # torch.distributed.checkpoint writes positions as text.
        texts = {str(place): place for group in groups for place in group["params"]}
        saved = cls({texts.get(place, place): entry for place, entry in state.items()}, groups)
        places = saved.places
        if not all(isinstance(place, int | str) for place in places):
            raise CheckpointError("the optimizer's state in the checkpoint must number its parameters")
        if strays := sorted(map(str, set(saved.state) - set(places))):
            raise CheckpointError(f"the optimizer's state in the checkpoint has {strays[0]!r}, which no group lists")
        for entry in saved.state.values():
            _check_values(entry)
        return saved

    @property
    def places(self) -> list[Any]:
        """The positions of all groups, in order."""
        return [place for group in self.groups for place in group["params"]]

    def fits(self, place: Any, shape: Shape) -> bool:
        """Whether the state at ``place`` can be of a parameter of this shape."""
        entry = self.state.get(place, {})
        return all(tuple(entry[key].shape) == shape for key in SHAPED if isinstance(entry.get(key), Tensor))


def _check_values(entry: Mapping[str, Any]) -> None:
    """Refuse moments that cannot be any: torch would take them, and fail in its next step."""
    for key, value in entry.items():
        no_tensor = key in SHAPED and not isinstance(value, Tensor | Real | None)
        if no_tensor or (isinstance(value, Tensor) and value.is_meta):
            raise CheckpointError(
                f"{key!r} of the optimizer's state in the checkpoint must be a tensor with values, got {_kind(value)}"
            )


def check_numbers(group: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """A learning rate and the like must be a number; torch takes anything, and fails in its next step.

    Raises CheckpointError.
    """
    for key, value in ours.items():
        if _is_number(value) and group.get(key) is not None and not _is_number(group[key]):
            raise CheckpointError(
                f"{key!r} of the optimizer's state in the checkpoint must be a number, got {_kind(group[key])}"
            )


def _is_number(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_meta
    return isinstance(value, Real) and not isinstance(value, bool)


def _kind(value: object) -> str:
    """What a value is, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} on {value.device}"
    return f"{type(value).__name__} {shown(value)}"


def unflattened(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """A state_dict that torch.distributed has flattened to ``state.NAME.key`` and ``param_groups.NAME.key``.

    Parameters whose options are all equal make one group. None for anything else.

    >>> flat = {"state.a.w.step": 3, "param_groups.a.w.lr": 0.1, "param_groups.b.lr": 0.1}
    >>> unflattened(flat)
    {'state': {'a.w': {'step': 3}}, 'param_groups': [{'lr': 0.1, 'params': ['a.w', 'b']}]}
    """
    parts: dict[str, dict[str, dict[str, Any]]] = {"state": {}, "param_groups": {}}
    for flat, value in data.items():
        part, _, rest = flat.partition(".") if isinstance(flat, str) else ("", "", "")
        name, _, key = rest.rpartition(".")
        if part not in parts or not name:
            return None
        parts[part].setdefault(name, {})[key] = value
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for name, options in parts["param_groups"].items():
        members = next((found for known, found in groups if _alike(known, options)), None)
        if members is None:
            groups.append((options, [name]))
        else:
            members.append(name)
    if not groups:
        return None
    return {"state": parts["state"], "param_groups": [{**options, "params": members} for options, members in groups]}


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two groups have equal options, tensors among them."""
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key])
        if isinstance(one[key], Tensor) and isinstance(other[key], Tensor)
        else type(one[key]) is type(other[key]) and one[key] == other[key]
        for key in one
    )


def owners(saved: Saved, optimizer: Optimizer, model: nn.Module, plan: Plan, checkpoint: Checkpoint) -> dict[str, Any]:
    """The position of each parameter, by its key in the checkpoint.

    Raises:
        CheckpointError: neither the names, nor the checkpoint's order, nor the optimizer's own fit the state.
    """
    shapes = {key: spec.shape for key, spec in checkpoint.specs.items()}
    if names := _names(saved):
        return _by_name(saved, names, shapes, plan)
    orders = [_file_order(model, plan, checkpoint), _own_order(saved, optimizer, model, plan)]
    for keys in orders if len(saved.groups) == 1 and _is_as_registered(optimizer, model) else reversed(orders):
        if len(keys) == len(saved.places) and _all_fit(saved, keys, shapes):
            return {key: place for key, place in zip(keys, saved.places) if key is not None}
    groups = "1 group" if len(saved.groups) == 1 else f"{len(saved.groups)} groups"
    members = sum(len(group["params"]) for group in optimizer.param_groups)
    raise CheckpointError(
        f"the optimizer's state in the checkpoint is for {len(saved.places):,} parameters in {groups}, and cannot be "
        f"told apart: the checkpoint has {len(orders[0]):,} parameters, the optimizer at hand {members:,}, or their "
        "shapes are others"
    )


def _all_fit(saved: Saved, keys: Sequence[str | None], shapes: Mapping[str, Shape]) -> bool:
    return all(key is None or saved.fits(place, shapes[key]) for key, place in zip(keys, saved.places))


def _is_as_registered(optimizer: Optimizer, model: nn.Module) -> bool:
    """Whether the optimizer at hand takes its parameters as the model lists them; else its own order is a choice."""
    ranks = {id(parameter): rank for rank, parameter in enumerate(model.parameters())}
    found = [ranks[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    return found == sorted(found)


def _names(saved: Saved) -> list[str]:
    """The names stored beside the state, or in place of positions (torch.distributed); [] where there are none."""
    if all("param_names" in group for group in saved.groups):
        return [name for group in saved.groups for name in group["param_names"]]
    places = saved.places
    return places if all(isinstance(place, str) for place in places) else []


def _by_name(saved: Saved, names: Sequence[str], shapes: Mapping[str, Shape], plan: Plan) -> dict[str, Any]:
    """By these names; the weights may have lost or got a prefix or a wrapper since."""
    found = dict(zip(names, saved.places))
    if len(names) != len(saved.places):
        raise CheckpointError("the optimizer's state in the checkpoint has another number of names than of parameters")
    ends: dict[str, str] = {}
    for key in shapes:
        for end in (key, key.removeprefix(plan.prefix), plan.prefix + key):
            ends.setdefault(_bare(end), key)
    placed: dict[str, Any] = {ends.get(_bare(name), name): place for name, place in found.items()}
    for name, place in placed.items():
        if name in shapes and not saved.fits(place, shapes[name]):
            raise CheckpointError(
                f"the optimizer's state for {name!r} in the checkpoint has another shape than {name!r}"
            )
    return placed


def _bare(name: str) -> str:
    return ".".join(unwrapped(split(name)))


def _file_order(model: nn.Module, plan: Plan, checkpoint: Checkpoint) -> list[str | None]:
    """The checkpoint's parameters in its own order: an optimizer made with ``model.parameters()``."""
    buffers = {id(buffer) for buffer in model.buffers()}
    tensors = targets.tensors(model)
    target = {key: tensors[match.target] for match in plan.matches for key in match.sources}
    order: list[str | None] = []
    for key in checkpoint.specs:
        is_buffer = id(target[key]) in buffers if key in target else key.rpartition(".")[2] in BUFFERS
        if not is_buffer and key not in plan.repeats:
            order.append(key)
    return order


def _own_order(saved: Saved, optimizer: Optimizer, model: nn.Module, plan: Plan) -> list[str | None]:
    """The order of the optimizer at hand, where its groups have the sizes of the saved ones."""
    groups = [group["params"] for group in optimizer.param_groups]
    if [len(group) for group in groups] != [len(group["params"]) for group in saved.groups]:
        return []
    tensors = targets.tensors(model)
    keys = {id(tensors[match.target]): match.sources[0] for match in plan.matches if len(match.sources) == 1}
    return [keys.get(id(parameter)) for group in groups for parameter in group]
