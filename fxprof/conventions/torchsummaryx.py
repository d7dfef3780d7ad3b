"""torchsummaryX's ``summary`` (1.3.0): mult-adds of one sample, from each leaf's weights.

A parameter called weight counts its elements, in a convolution times the spatial size of the output;
the batch, the tokens of a sequence and the bias are left out. The listing is fxprof.views.layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from fxprof.conventions import hooks
from fxprof.conventions.hooks import Layer
from fxprof.conventions.parts import BIAS, EMBEDDING, NORMS, PRODUCTS, Convention, Params, family
from fxprof.report import Report


def mult_adds(layer: Layer) -> int:
    """What the tool prints for one leaf: nothing where all its parameters are frozen."""
    if not any(weight.trainable for weight in layer.info.weights):
        return 0
    return sum(
        weight.numel * (prod(layer.y[2:]) if weight.name == "weight" and "Conv" in layer.info.type else 1)
        for weight in layer.info.weights
        if "weight" in weight.name
    )


def _count(layer: Layer) -> Mapping[str, int]:
    if any(op.macs for op in layer.ops):
        return {PRODUCTS: mult_adds(layer)}
    return {_cause(layer): mult_adds(layer)}


def _cause(layer: Layer) -> str:
    return next((family(op.op) for op in layer.ops if family(op.op) in (NORMS, EMBEDDING)), BIAS)


def _params(report: Report) -> Params:
    """Of every leaf that was called, once."""
    found = {layer.info.first: layer for layer in hooks.leaves(report)}
    return [(layer.info.type, layer.params) for layer in found.values()]


TORCHSUMMARYX = Convention(
    name="torchsummaryX",
    tool="torchsummaryX 1.3.0",
    unit="weight elements, in convolutions times the output's spatial size, of one sample",
    source="torchsummaryX/torchsummaryX.py, lines 45-75",
    items=lambda report: hooks.items(report, hooks.leaves, lambda layer: _count, lambda layer: layer.info.places),
    params=_params,
    misses=(
        "the batch, the tokens of a sequence, the bias, and frozen layers",
        "whatever runs outside a module without children: attention, functional calls, matrix products",
    ),
)
