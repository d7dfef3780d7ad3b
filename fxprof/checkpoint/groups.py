"""Parameter groups after a load: one learning rate for what was loaded, another for what is new."""

from __future__ import annotations

from numbers import Real
from typing import Any

from torch import Tensor, nn

from fxprof.checkpoint import targets
from fxprof.checkpoint.result import Result
from fxprof.errors import CheckpointError, InputError, shown


def param_groups(
    model: nn.Module, result: Result, *, lr: float, new_lr: float | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: loaded parameters at ``lr``, new ones at ``new_lr`` (ten times that by default).

    Frozen parameters are in neither; a group without parameters is left out. ``options`` go into both.

    Raises:
        CheckpointError: the result is of another model.
        InputError: an argument is of another kind.
    """
    targets.check_model(model)
    if not isinstance(result, Result):
        raise InputError(f"result must be what fxprof.load gave, got {shown(result)}")
    _check_rate("lr", lr)
    _check_rate("new_lr", lr if new_lr is None else new_lr)
    tensors = targets.tensors(model)
    if strangers := [name for name in result.loaded if name not in tensors]:
        raise CheckpointError(f"the result must be of this model, which has no {strangers[0]!r}")
    loaded = {id(tensors[name]) for name in result.loaded}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rates = ((True, lr), (False, 10 * lr if new_lr is None else new_lr))
    groups = [
        {"params": [parameter for parameter in trainable if (id(parameter) in loaded) is old], "lr": rate, **options}
        for old, rate in rates
    ]
    return [group for group in groups if group["params"]]


def _check_rate(name: str, value: object) -> None:
    """Refuse what an optimizer cannot take. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, Real | Tensor):
        raise InputError(f"{name} must be a number, got {shown(value)}")
