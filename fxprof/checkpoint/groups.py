"""Parameter groups after a load: one learning rate for what was loaded, another for what is new."""

from __future__ import annotations

from typing import Any

from torch import nn

from fxprof.checkpoint import targets
from fxprof.checkpoint.result import Result
from fxprof.errors import CheckpointError


def param_groups(
    model: nn.Module, result: Result, *, lr: float, new_lr: float | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: loaded parameters at ``lr``, new ones at ``new_lr`` (ten times that by default).

    Frozen parameters are in neither; a group without parameters is left out. ``options`` go into both.

    Raises:
        CheckpointError: the result is of another model.
    """
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
