"""timm's published GMACs and activations (benchmark.py --bench profile, from fvcore 0.1.5.post20221221).

The GMACs are those of FlopCountAnalysis, the activations those of ActivationCountAnalysis: the output
elements of convolutions and matrix products, and of nothing else.
"""

from __future__ import annotations

from math import prod

from fxprof.conventions import fvcore
from fxprof.conventions.parts import CONV_OPS, Convention, attribute, numel
from fxprof.report import OpProfile, Report

# The ops whose outputs are activations, by fxprof's names.
ACTIVATING = frozenset(["linear", "addmm", "bmm", "matmul", "einsum"]) | CONV_OPS


def _of(op: OpProfile) -> int:
    if op.op in ACTIVATING:
        return 0 if fvcore.by_name(op) else numel(op)
    if op.op in fvcore.CELLS:
        return 2 * fvcore.CELLS[op.op] * numel(op)  # two linear layers
    return _of_attention(op) if op.op == "multi_head_attention_forward" else 0


def _of_attention(op: OpProfile) -> int:
    """Queries, keys and values, the projected output, and with weights the two products (a baddbmm is none)."""
    query, key, value = (attribute(op, name) for name in ("query", "key", "value"))
    shapes = [shape if isinstance(shape, tuple) else op.inputs[0].shape for shape in (query, key, value)]
    width = shapes[0][-1]
    total = sum(prod(shape[:-1]) * width for shape in shapes) + numel(op)
    if fvcore.returns_weights(op):
        products = fvcore.attention_macs(op) // 2  # rows * keys * width; the first product has heads for width
        scores = products // width * _heads(op)
        total += numel(op) + (scores if attribute(op, "attn_mask") is None else 0)
    return total


def _heads(op: OpProfile) -> int:
    heads = attribute(op, "num_heads")
    return heads if isinstance(heads, int) else 1


def activations(report: Report) -> int:
    """Output elements of convolutions and matrix products."""
    return sum(map(_of, report.ops))


TIMM = Convention(
    name="timm",
    tool="timm 1.0.31 with fvcore 0.1.5.post20221221",
    unit="as fvcore; activations: outputs of convolutions and matrix products",
    source="benchmark.py, profile_fvcore; fvcore/nn/activation_count.py, the table",
    items=fvcore.counted,
    misses=fvcore.MISSES,
    activations=activations,
)
