"""fvcore's ``FlopCountAnalysis`` (0.1.5.post20221221): a table of the ops in a TorchScript trace, 1 per multiply-add.

Composite functions of torch appear in the trace as the ops they call: attention with weights as two
batched products, without as one fused op that has no formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from fxprof.conventions.operators import Extra, exact, items
from fxprof.conventions.parts import (
    ATTENTION_MISSED,
    BROADCAST,
    CONV_OPS,
    NORMS,
    OPS_MISSED,
    POOLING,
    RESIZING,
    ROUNDING,
    Convention,
    Item,
    attribute,
    numel,
)
from fxprof.report import OpProfile, Report

# Cells come apart into linear layers; the number of their gates.
CELLS = {"lstm_cell": 4, "gru_cell": 3, "rnn_tanh_cell": 1, "rnn_relu_cell": 1}
# Two equations are computed exactly.
_EXACT_EINSUMS = ("abc,abd->acd", "abc,adc->adb")


def by_name(op: OpProfile) -> bool:
    """Whether a convolution's padding was given by name: in the trace that is another op, without a formula."""
    return attribute(op, "padding") is not None


def _conv(op: OpProfile) -> Mapping[str, int]:
    return {OPS_MISSED: -op.macs} if by_name(op) else {}


def _matmul(op: OpProfile) -> Mapping[str, int]:
    """Elements of a times the last size of b: short where b has batch dimensions that a lacks."""
    a, b = op.inputs[0].shape, op.inputs[-1].shape
    if len(a) < 2 or len(b) < 2:
        return {OPS_MISSED: -op.macs}  # the tool raises
    return {BROADCAST: prod(a) * b[-1] - op.macs}


def einsum_flops(op: OpProfile) -> int:
    """NumPy's estimate of 2 per multiply-add and 1 more, which is read from a text with four digits."""
    return int(float(f"{2 * op.macs + 1:.3e}"))


def _einsum(op: OpProfile) -> Mapping[str, int]:
    if _renamed(str(attribute(op, "equation") or "")) in _EXACT_EINSUMS:
        return {}
    return {ROUNDING: einsum_flops(op) // 2 - op.macs}


def _renamed(equation: str) -> str:
    """The equation with its letters replaced by a, b, c in order of appearance."""
    letters = dict.fromkeys(letter for letter in equation if letter.isalpha())
    return equation.replace(" ", "").translate({ord(old): ord("a") + i for i, old in enumerate(letters)})


def attention_macs(op: OpProfile) -> int:
    """Multiply-adds of a multi-head attention without its projections: queries times keys, weights times values.

    The four projections: e * e per query twice, kdim * e per key, vdim * e per value.
    """
    query, key, value = (shape_of(op, name) for name in ("query", "key", "value"))
    e, rows = query[-1], prod(query[:-1])
    projections = 2 * rows * e * e + (prod(key) + prod(value)) * e
    return op.macs - projections


def shape_of(op: OpProfile, name: str) -> tuple[int, ...]:
    """Shape of a tensor argument of an attention; the first input's where it is not given."""
    shape = attribute(op, name)
    return shape if isinstance(shape, tuple) else op.inputs[0].shape


def returns_weights(op: OpProfile) -> bool:
    """Whether attention also returns its weights; then its products are ordinary ones."""
    return len(op.outputs) > 1


def _attention(op: OpProfile) -> Mapping[str, int]:
    """Without weights one fused op; with a mask the first product is a baddbmm, which has no formula."""
    attention = attention_macs(op)
    if not returns_weights(op):
        return {ATTENTION_MISSED: -attention}
    return {ATTENTION_MISSED: -(attention // 2)} if attribute(op, "attn_mask") is not None else {}


def _batch_norm(op: OpProfile) -> Mapping[str, int]:
    """In evaluation 1 per element, 2 with weights; in training as the other norms."""
    affine = attribute(op, "weight") is not None
    per_element = (5 if affine else 4) if attribute(op, "training") else (2 if affine else 1)
    return {NORMS: per_element * op.inputs[0].numel}


def _norm(op: OpProfile) -> Mapping[str, int]:
    """4 per element, 5 with weights."""
    return {NORMS: (5 if attribute(op, "weight") is not None else 4) * op.inputs[0].numel}


def _resize(op: OpProfile) -> Mapping[str, int]:
    """1 per output element to the nearest, 4 bilinear, of images only; the other modes have no formula."""
    mode = attribute(op, "mode") or "nearest"
    image = len(op.inputs[0].shape) == 4 and not attribute(op, "antialias")
    return {RESIZING: {"nearest": 1, "bilinear": 4}.get(str(mode), 0) * numel(op) if image else 0}


TABLE: Mapping[str, Extra] = {
    **dict.fromkeys(["linear", "mm", "bmm", "addmm"], exact),
    **dict.fromkeys(CELLS, exact),
    **dict.fromkeys(CONV_OPS, _conv),
    "matmul": _matmul,
    "einsum": _einsum,
    "multi_head_attention_forward": _attention,
    "batch_norm": _batch_norm,
    **dict.fromkeys(["layer_norm", "group_norm", "instance_norm"], _norm),
    "interpolate": _resize,
    "adaptive_avg_pool2d": lambda op: {POOLING: op.inputs[0].numel},
    "grid_sample": lambda op: {RESIZING: 4 * numel(op)},
}


def counted(report: Report) -> Iterator[Item]:
    """The items of a report."""
    return items(report, TABLE)


MISSES = (
    "scaled_dot_product_attention, baddbmm, RNNs, deformable convolutions, convolutions with padding='same'",
    "biases, activations, softmax and elementwise ops, on purpose",
)
FVCORE = Convention(
    name="fvcore",
    tool="fvcore 0.1.5.post20221221 FlopCountAnalysis",
    unit="multiply-adds, and the arithmetic of norms, of adaptive average pooling and of resizing",
    source="fvcore/nn/flop_count.py, the table; jit_handles.py, lines 82-283, the formulas",
    items=counted,
    misses=MISSES,
    limits=(
        "an op whose result nothing uses is counted here: the tool's trace leaves it out",
        "what an autograd Function computes is counted here: the tool's trace has one op without a formula for it",
    ),
)
