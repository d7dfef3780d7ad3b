"""Torchreid's ``compute_model_complexity`` (deep-person-reid f8cd150, torchreid/utils/model_complexity.py).

A hook on every module without children, looked up by class name; one per multiply-add. The published
figures of its thread #179, torchvision's VGG19 19,646,923,752 and ResNet-34 3,663,762,408, count
convolutions and linear layers only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from fxprof.conventions.hooks import Formula, Layer, items, leaves
from fxprof.conventions.parts import ACTIVATIONS, BIAS, NORMS, POOLING, PRODUCTS, Convention, Item, Params
from fxprof.report import Report


def _conv(layer: Layer) -> Mapping[str, int]:
    """(k * in channels [+ 1 for the bias]) * y / groups, rounded down: the groups divide the bias too."""
    channels = layer.x[-len((layer.weight() or (0, 0))[2:]) - 1]
    groups = layer.number("groups", 1)
    per_output = prod((layer.weight() or (0, 0))[2:]) * channels
    products = per_output * layer.size // groups
    whole = (per_output + (layer.weight("bias") is not None)) * layer.size // groups
    return {PRODUCTS: products, BIAS: whole - products}


def _linear(layer: Layer) -> Mapping[str, int]:
    """(in features [+ 1 for the bias]) * y."""
    bias = layer.size if layer.weight("bias") is not None else 0
    return {PRODUCTS: (layer.weight() or (0, 0))[1] * layer.size, BIAS: bias}


def _pool(dims: int, less: int) -> Formula:
    """(window - 1) * y for a maximum, window * y for a mean."""
    return lambda layer: {POOLING: (layer.window(dims) - less) * layer.size}


def _adaptive(less: int) -> Formula:
    """As a pool whose window is in / out, rounded up, in every dimension."""
    return lambda layer: {
        POOLING: (prod(-(-size // out) for size, out in zip(layer.x[2:], layer.y[2:])) - less) * layer.size
    }


def _norm(layer: Layer) -> Mapping[str, int]:
    """2 y, and 2 y more where it is affine."""
    affine = layer.number("affine") or layer.number("elementwise_affine")
    return {NORMS: (4 if affine else 2) * layer.size}


def _activation(per_output: int) -> Formula:
    return lambda layer: {ACTIVATIONS: per_output * layer.size}


CONV_LINEAR: Mapping[str, Formula] = {"Conv1d": _conv, "Conv2d": _conv, "Conv3d": _conv, "Linear": _linear}
ALL: Mapping[str, Formula] = {
    **CONV_LINEAR,
    **{f"MaxPool{n}d": _pool(n, 1) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": _pool(n, 0) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPool{n}d": _adaptive(1) for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": _adaptive(0) for n in (1, 2, 3)},
    **dict.fromkeys(["ReLU", "ReLU6"], _activation(1)),
    "LeakyReLU": _activation(3),
    **{f"{kind}{n}d": _norm for kind in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)},
    **dict.fromkeys(["GroupNorm", "LayerNorm"], _norm),
}


def counted(report: Report, table: Mapping[str, Formula]) -> Iterator[Item]:
    """The items by one of the two tables; a module with two parents is hooked, and counted, twice."""
    return items(report, leaves, lambda layer: table.get(layer.info.type), lambda layer: layer.info.places)


def _params(report: Report) -> Params:
    """Per call: a layer called twice counts twice, one that is never called does not."""
    return [(layer.info.type, layer.params * layer.info.places) for layer in leaves(report)]


_SOURCE = "torchreid/utils/model_complexity.py, lines 32-243 for the formulas, 298-311 for the hooks"
_MISSES = (
    "whatever runs outside a module without children: functional calls, attention, matrix products",
    "subclasses, and classes that are not in its table: transposed convolutions, embeddings, RNNs, GELU, Softmax",
    "parameters held by a module with children, and by layers that are never called",
)
TORCHREID = Convention(
    name="torchreid",
    tool="Torchreid f8cd150, only_conv_linear=False",
    unit="multiply-adds, and the arithmetic of norms, ReLUs and pools",
    source=_SOURCE,
    items=lambda report: counted(report, ALL),
    params=_params,
    misses=_MISSES,
)
TORCHREID_CONV_LINEAR = Convention(
    name="torchreid-conv-linear",
    tool="Torchreid f8cd150, its default only_conv_linear=True",
    unit="multiply-adds of convolutions and linear layers, bias included",
    source=_SOURCE,
    items=lambda report: counted(report, CONV_LINEAR),
    params=_params,
    misses=(*_MISSES, "layers other than Conv1d, Conv2d, Conv3d and Linear"),
)
