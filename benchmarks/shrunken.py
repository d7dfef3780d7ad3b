"""A transformers architecture small enough to run for real: does its own forward take the default input?"""

from __future__ import annotations

import importlib
import re
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from benchmarks.zoos import tensors
from fxprof.report import TensorSpec
from fxprof.zoo.transformers_inputs import default_inputs
from fxprof.zoo.transformers_models import configuration, keys

# What is made small, by the name of its configuration key, and how small.
_LAYERS = re.compile(
    r"(num|n|encoder|decoder|text|vision|speech|audio)?_?(hidden_|encoder_|decoder_|dense_)*(layers?|depth|blocks)$"
)
_SMALLER = (
    (_LAYERS, 2),
    (re.compile(r"(num|n)_(local_|routed_)?experts$"), 16),
    (re.compile(r"(moe_|shared_expert_)?intermediate_size$|(encoder_|decoder_)?ffn_dim$|d_ff$"), 512),
)
TOO_LARGE = "no configuration small enough to run"
_MOST_PARAMETERS = 3_000_000_000  # zeros take memory only where they are read


def own_forward(kind: str) -> str:
    """Run the architecture's own forward on the CPU: "runs", or why not.

    As small as it can be made first; less where a smaller configuration does not hold together.
    """
    said = TOO_LARGE
    for rules in (_SMALLER, _SMALLER[:1], ()):
        try:
            if (model := _small(kind, rules)) is None:
                continue
            arguments = tensors(default_inputs(model)[0], _tensor, "cpu")
            with torch.no_grad():
                model(**arguments)
        except Exception as err:
            if "can't allocate memory" not in str(err):
                said = _sentence(err)
        else:
            return "runs"
    return said


def _small(kind: str, rules: Any) -> Any:
    """The model with zeros for weights; None where even so it is too large to run."""
    transformers = importlib.import_module("transformers")
    default = configuration(kind, {})
    overrides = {
        key: str(most)
        for key, value in keys(default).items()
        for pattern, most in rules
        if type(value) is int and value > most and pattern.fullmatch(key.rpartition(".")[2])
    }
    config = configuration(kind, overrides)
    with torch.device("meta"):
        size = sum(p.numel() for p in transformers.AutoModel.from_config(config).parameters())
    if size > _MOST_PARAMETERS:
        return None
    with importlib.import_module("transformers.initialization").no_init_weights(), _Zeros():
        return transformers.AutoModel.from_config(configuration(kind, overrides)).eval()


class _Zeros(TorchFunctionMode):
    """``torch.empty``, of which layers make their weights, as zeros: no time spent on random ones, no NaN."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (torch.zeros if func is torch.empty else func)(*args, **(kwargs or {}))


def _tensor(spec: TensorSpec) -> torch.Tensor:
    return torch.rand(spec.shape, dtype=getattr(torch, spec.dtype or "float32"))


def _sentence(err: Exception) -> str:
    return f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
