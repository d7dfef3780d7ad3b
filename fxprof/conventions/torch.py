"""torch's own ``torch.utils.flop_counter.FlopCounterMode`` (torch 2.15), run on the meta device.

It sees kernels, and counts 2 per multiply-add of those it has a formula for. On the meta device fused
attention and RNNs come apart into kernels it knows; on a CPU some do not, and count 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.conventions.parts import OPS_MISSED, PRODUCTS, UNIT, Convention, Item
from fxprof.report import OpProfile, Report

# Kernels without a formula.
BLIND = frozenset("mv addmv dot vdot linalg_vecdot bilinear deform_conv2d".split())
# Products by a vector come down to the first of these.
VECTOR = frozenset(["matmul", "linear", "inner"])


def sees(op: OpProfile) -> bool:
    """Whether the kernels of an op have a formula."""
    by_vector = op.op in VECTOR and any(len(spec.shape) == 1 for spec in op.inputs[:2])
    return op.op not in BLIND and not by_vector


def _items(report: Report) -> Iterator[Item]:
    for op in report.ops:
        if op.macs:
            yield Item(op.op, PRODUCTS, op.macs, op.name)
            yield Item(op.op, UNIT if sees(op) else OPS_MISSED, op.macs if sees(op) else -op.macs, op.name)


TORCH = Convention(
    name="torch",
    tool="torch 2.15 FlopCounterMode, on the meta device",
    unit="2 per multiply-add; nothing else",
    source="torch/utils/flop_counter.py, the formulas of mm, addmm, bmm, baddbmm, convolution and attention",
    items=_items,
    misses=(
        "matrix-vector and dot products, bilinear layers, deformable convolutions",
        "whatever is no product",
    ),
)
