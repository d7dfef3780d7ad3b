"""Drop-in functions for training scripts, on top of ``load``."""

from __future__ import annotations

import os
from collections.abc import Iterable

from torch import nn

from fxprof.checkpoint.loading import load
from fxprof.checkpoint.result import Result
from fxprof.complexity import compute_model_complexity
from fxprof.views.text import safe

__all__ = ["compute_model_complexity", "load_pretrained_weights"]

RULE = "*" * 80


def load_pretrained_weights(model: nn.Module, path: str | os.PathLike[str], verbose: bool = True) -> Result:
    """Load what fits of the weights in ``path`` into ``model``; print what was left and what was loaded.

    Layers whose name or size differs are left as they are. Unlike a plain ``load_state_dict``, nothing is
    written if the file turns out to be unreadable or of another model.

    Raises:
        CheckpointError: the file cannot be read, or hardly anything in it fits.
    """
    result = load(model, path)
    if verbose:
        sources = result.plan.mismatched_sources
        discarded = [*(sources.get(name, name) for name in result.mismatched_keys), *result.unexpected_keys]
        print(RULE)
        print(_listed("The following layers are discarded due to unmatched keys or layer size:", discarded))
        print(RULE)
        print(_listed("The following layers are successfully loaded:", result.loaded))
        print(RULE)
    return result


def _listed(title: str, names: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {safe(name)}" for name in names)])
