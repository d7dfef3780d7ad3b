"""thop's ``profile`` (0.1.1.post2209072238): hooks on torch's own layer classes, 1 per multiply-add."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from fxprof.conventions import hooks
from fxprof.conventions.hooks import Formula, Layer
from fxprof.conventions.parts import (
    ACTIVATIONS,
    GATES,
    NORMS,
    POOLING,
    PRODUCTS,
    RESIZING,
    SOFTMAX,
    Convention,
    Params,
)
from fxprof.report import Report

# Per output element; "trilinear" has no number.
RESIZE = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}
# Per hidden unit and step, beside the products: of the whole cell, and twice per gate for the biases.
GATE_COUNTS = {"RNN": (1, 1), "GRU": (3, 3 + 1 + 3), "LSTM": (4, 4 + 3 + 1)}


def _conv(layer: Layer) -> Mapping[str, int]:
    """y * (in channels // groups) * k; transposed convolutions too, where y is too large."""
    weight, channels = layer.weight() or (0, 0), (*layer.x, 0, 0)[1]
    return {PRODUCTS: layer.size * (channels // layer.number("groups", 1)) * prod(weight[2:])}


def _linear(layer: Layer) -> Mapping[str, int]:
    """In features * y."""
    return {PRODUCTS: (layer.weight() or (0, 0))[1] * layer.size}


def _norm(layer: Layer) -> Mapping[str, int]:
    """2 per input element, 4 where it is affine."""
    affine = layer.number("affine") or layer.number("elementwise_affine")
    return {NORMS: (4 if affine else 2) * prod(layer.x)}


def _softmax(layer: Layer) -> Mapping[str, int]:
    """Per line of n: n exps, n - 1 additions, n divisions."""
    n = layer.x[layer.number("dim", -1)]
    return {SOFTMAX: prod(layer.x) // n * (3 * n - 1) if n else 0}


def _adaptive(layer: Layer) -> Mapping[str, int]:
    """(in / out in every dimension + 1) * y, in floating point as the tool computes it."""
    window = 1.0
    for size, out in zip(layer.x[2:], layer.y[2:]):
        window *= size / out
    return {POOLING: int((window + 1) * layer.size)}


def _upsample(layer: Layer) -> Mapping[str, int]:
    mode = dict(layer.info.attributes).get("mode", "nearest")
    return {RESIZING: RESIZE.get(str(mode), 0) * layer.size}


def _recurrent(kind: str) -> Formula:
    """Per step and layer: (input + hidden) * hidden per gate, then a few operations per hidden unit."""
    gates, rest = GATE_COUNTS[kind]

    def count(layer: Layer) -> Mapping[str, int]:
        hidden, directions = layer.number("hidden_size"), 1 + layer.number("bidirectional")
        inner = layer.number("num_layers", 1) - 1
        sizes = [layer.number("input_size")] + [hidden * directions] * inner
        steps = layer.x[0] if "Cell" in layer.info.type else prod(layer.x[:2])
        biases = 2 * gates if layer.number("bias") else 0
        products = sum(gates * (size + hidden) * hidden for size in sizes)
        others = len(sizes) * (rest + biases) * hidden
        return {PRODUCTS: steps * directions * products, GATES: steps * directions * others}

    return count


def _nothing(_: Layer) -> Mapping[str, int]:
    return {}


_DIMS = (1, 2, 3)
FREE = (
    "ZeroPad2d", "ReLU", "ReLU6", "LeakyReLU", "Dropout", "Sequential", "PixelShuffle",
    *(f"{kind}{n}d" for kind in ("MaxPool", "AdaptiveMaxPool") for n in _DIMS),
)  # fmt: skip
TABLE: Mapping[str, Formula] = {
    **dict.fromkeys(FREE, _nothing),
    **{f"{kind}{n}d": _conv for kind in ("Conv", "ConvTranspose") for n in _DIMS},
    **{f"{kind}{n}d": _norm for kind in ("BatchNorm", "InstanceNorm") for n in _DIMS},
    **dict.fromkeys(["LayerNorm", "SyncBatchNorm"], _norm),
    "PReLU": lambda layer: {ACTIVATIONS: prod(layer.x)},
    "Softmax": _softmax,
    **{f"AvgPool{n}d": lambda layer: {POOLING: layer.size} for n in _DIMS},
    **{f"AdaptiveAvgPool{n}d": _adaptive for n in _DIMS},
    "Linear": _linear,
    **dict.fromkeys(["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"], _upsample),
    **{f"{kind}{cell}": _recurrent(kind) for kind in GATE_COUNTS for cell in ("", "Cell")},
}


def _known(layer: Layer) -> Formula | None:
    """By the class itself: a subclass has no entry. A Sequential is entered, never counted itself."""
    return None if layer.native == "Sequential" else TABLE.get(layer.native)


def _params(report: Report) -> Params:
    """Once for every parent of a known layer that was called; the root's own are left out."""
    found = {layer.info.first: layer for layer in hooks.layers(report) if layer.call.path and _known(layer)}
    return [(layer.info.type, layer.params * layer.info.places) for layer in found.values()]


THOP = Convention(
    name="thop",
    tool="thop 0.1.1.post2209072238",
    unit="multiply-adds, and the arithmetic of norms, Softmax, average pools and Upsample",
    source="thop/profile.py, the table and the sum; thop/vision/calc_func.py and rnn_hooks.py, the formulas",
    # A module with n parents is hooked n times, and added up n times.
    items=lambda report: hooks.items(report, hooks.layers, _known, lambda layer: layer.info.places**2),
    params=_params,
    misses=(
        "whatever runs outside a layer of its table: functional calls, nn.MultiheadAttention, matrix products",
        "subclasses of the layers in its table, and their parameters",
        "parameters held by modules that are not in its table",
    ),
)
