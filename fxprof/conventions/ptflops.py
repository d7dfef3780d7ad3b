"""ptflops' ``get_model_complexity_info`` with its ``aten`` backend (0.7.5), on a CPU.

It sees kernels, 1 per multiply-add plus the bias where a kernel adds it: in a convolution or an addmm.
The ``pytorch`` backend, another tool under the same name, is not this convention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from fxprof.conventions.fused import is_fused, learned_from
from fxprof.conventions.fvcore import attention_macs, returns_weights, shape_of
from fxprof.conventions.operators import Extra, exact, items
from fxprof.conventions.parts import (
    ATTENTION_MISSED,
    BIAS,
    CONV_OPS,
    OPS_MISSED,
    Convention,
    Item,
    attribute,
    has_bias,
    numel,
)
from fxprof.report import OpProfile, Report


def _conv(op: OpProfile) -> Mapping[str, int]:
    return {BIAS: numel(op)} if has_bias(op) else {}


def _linear(op: OpProfile) -> Mapping[str, int]:
    """An addmm with the bias in it; from a strided input a product and an addition, which is not counted."""
    if len(op.inputs[0].shape) < 2:
        return {OPS_MISSED: -op.macs}  # a matrix-vector product
    return {BIAS: numel(op)} if has_bias(op) and attribute(op, "contiguous") is not False else {}


def _matmul(op: OpProfile) -> Mapping[str, int]:
    by_vector = any(len(spec.shape) == 1 for spec in op.inputs)
    return {OPS_MISSED: -op.macs} if by_vector else {}


def _attention(op: OpProfile) -> Mapping[str, int]:
    """The fused product has no formula, and with a mask the first product has none (a baddbmm).

    The output projection always adds its bias; the input projections where a batch of 1, or none,
    leaves the transposed input contiguous.
    """
    attention = attention_macs(op)
    missed = attention if not returns_weights(op) else attention // 2 if attribute(op, "attn_mask") is not None else 0
    query, key, value = (shape_of(op, name) for name in ("query", "key", "value"))
    e, rows = query[-1], prod(query[:-1])
    biases = sum(spec.numel for spec in op.inputs if len(spec.shape) == 1)
    whole = len(query) < 3 or 1 in query[:2] or attribute(op, "contiguous") is not False
    projected = e * (rows + prod(key[:-1]) + prod(value[:-1])) if whole and biases > e else 0
    return {ATTENTION_MISSED: -missed, BIAS: projected + rows * min(biases, e)}


def _cell(op: OpProfile) -> Mapping[str, int]:
    """Two addmms, each with a bias per gate."""
    biases = sum(spec.numel for spec in op.inputs if len(spec.shape) == 1)
    return {BIAS: op.inputs[0].shape[0] * biases}


def _steps(op: OpProfile) -> Mapping[str, int]:
    """As a cell at every step; the bias of the input is not counted where the input comes transposed."""
    data, *_ = (spec.shape for spec in op.inputs)
    per_step = sum(spec.numel for spec in op.inputs if len(spec.shape) == 1)
    transposed = attribute(op, "batch_first") is True and data[0] != 1
    return {BIAS: prod(data[:-1]) * (per_step // 2 if transposed else per_step)}


TABLE: Mapping[str, Extra] = {
    **dict.fromkeys(CONV_OPS, _conv),
    "linear": _linear,
    "addmm": lambda op: {BIAS: numel(op)},
    "matmul": _matmul,
    **dict.fromkeys(["mm", "bmm", "einsum", "tensordot", "inner", "chain_matmul"], exact),
    "multi_head_attention_forward": _attention,
    **dict.fromkeys(["gru", "rnn_tanh", "rnn_relu"], _steps),
    **dict.fromkeys(["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"], _cell),
}


def _items(report: Report) -> Iterator[Item]:
    learned = learned_from(report)

    def fused(op: OpProfile) -> Mapping[str, int]:
        return {ATTENTION_MISSED: -op.macs} if is_fused(op, learned) else {}

    return items(report, {**TABLE, "scaled_dot_product_attention": fused})


PTFLOPS = Convention(
    name="ptflops",
    tool="ptflops 0.7.5, backend aten, on a CPU",
    unit="multiply-adds, and the bias where a kernel adds it",
    source="ptflops/aten_ops.py, the formulas and the table; aten_engine.py, the dispatch mode",
    items=_items,
    params=lambda report: [("", report.trainable_params)],
    misses=(
        "scaled_dot_product_attention where the fused kernel runs, nn.LSTM",
        "baddbmm and matrix-vector products, kernels without a formula",
        "norms, activations, pools and elementwise ops",
        "frozen parameters",
    ),
)
