"""``compute_model_complexity``: Torchreid's printout and order of counts, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from fxprof.analysis import analyze
from fxprof.conventions import Count
from fxprof.errors import InputError, shown
from fxprof.modes import evaluating
from fxprof.tracing.inputs import is_shape

RULE = "-" * 55


def compute_model_complexity(
    model: nn.Module | torch.export.ExportedProgram,
    input_size: Sequence[int],
    verbose: bool = False,
    only_conv_linear: bool = False,
) -> tuple[int, int]:
    """Count FLOPs and parameters as Torchreid does, in eval mode; the model is not run, and left as it was.

    Torchreid itself returns ``(params, flops)``, and counts only convolutions and linear layers unless told.

    Args:
        model: the network, on any device.
        input_size: shape of its one input, batch included: ``(1, 3, 224, 224)``.
        verbose: print the counts per type of layer, in order of first call.
        only_conv_linear: count convolutions and linear layers only.

    Returns:
        FLOPs (one per multiply-add, the bias included) and parameters.
    """
    if not is_shape(input_size):
        raise InputError(
            f"input_size must be the shape of the model's one input, such as (1, 3, 224, 224), got {shown(input_size)}"
        )
    name = "torchreid-conv-linear" if only_conv_linear else "torchreid"
    with evaluating(model) if isinstance(model, nn.Module) else nullcontext():
        counted = analyze(model, tuple(input_size)).count(name)
    if verbose:
        print(printout(counted, input_size))
    return counted.flops, counted.params


def printout(counted: Count, input_size: Sequence[int]) -> str:
    """The frame, a line per type of layer, and the total."""
    lines = [
        RULE,
        f"Model complexity with input size {tuple(input_size)}",
        RULE,
        *(_line(name, part) for name, part in counted.by_type.items()),
        RULE,
        _line("Total", counted),
        RULE,
    ]
    return "\n".join(f"  {line}" for line in lines)


def _line(name: str, counted: Count) -> str:
    return f"{name} (params={counted.params:,}, flops={counted.flops:,})"
