"""torchinfo's ``summary`` (1.8.0): total mult-adds, from each leaf's parameters and its output size.

Every element of a parameter called weight or bias counts once per output position: a convolution has
batch x spatial positions, any other layer as many as its output's first size. So a linear layer on
(batch, tokens, features) loses its tokens, and what has no parameters counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from fxprof.conventions import hooks
from fxprof.conventions.hooks import Layer
from fxprof.conventions.parts import BIAS, EMBEDDING, NORMS, PRODUCTS, Convention, Params, family
from fxprof.report import Report, Weight


def _count(layer: Layer) -> Mapping[str, int]:
    """The parameters of a leaf, each times the positions of its kind."""
    found: dict[str, int] = {}
    for weight in layer.info.weights:
        cause = BIAS if "bias" in weight.name else PRODUCTS
        found[cause] = found.get(cause, 0) + weight.numel * _positions(layer, weight)
    if any(op.macs for op in layer.ops):
        return found
    return {_cause(layer): sum(found.values())}


def _positions(layer: Layer, weight: Weight) -> int:
    if weight.name in ("weight", "bias"):
        if "Conv" in layer.info.type:
            return prod(layer.y[:1] + layer.y[2:])
        return layer.y[0] if layer.y else 0
    return prod(layer.y[:2]) if "weight" in weight.name or "bias" in weight.name else 0


def _cause(layer: Layer) -> str:
    """What the parameters of a layer without products are for."""
    return next((family(op.op) for op in layer.ops if family(op.op) in (NORMS, EMBEDDING)), BIAS)


def _params(report: Report) -> Params:
    """Every parameter once; a tensor that several leaves hold once in each, a leaf of several parents for each."""
    return [
        ("", report.params + sum(map(_again, {layer.info.first: layer for layer in hooks.leaves(report)}.values())))
    ]


def _again(layer: Layer) -> int:
    if layer.info.places > 1:
        return layer.params * layer.info.places
    return layer.params - sum(entry.spec.numel for entry in layer.info.state if entry.kind == "parameter")


TORCHINFO = Convention(
    name="torchinfo",
    tool="torchinfo 1.8.0",
    unit="parameter elements times output positions",
    source="torchinfo/layer_info.py, calculate_macs, lines 225-245; model_statistics.py, the sum over leaves",
    items=lambda report: hooks.items(report, hooks.leaves, lambda layer: _count),
    params=_params,
    misses=(
        "whatever runs outside a module without children, and whatever has no parameters: attention, matrix products",
        "positions of a layer's output beyond its first dimension, unless it is a convolution",
    ),
    limits=("modules with children that several parents share: the tool counts their parameters once more",),
)
