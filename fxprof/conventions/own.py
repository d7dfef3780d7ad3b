"""fxprof's own two numbers as conventions, so that every tool can be compared with them."""

from __future__ import annotations

from collections.abc import Iterator

from fxprof.conventions.parts import (
    ATTENTION_OPS,
    BIAS,
    ELEMENTWISE,
    PRODUCTS,
    RECURRENT_OPS,
    SOFTMAX,
    UNIT,
    Convention,
    Item,
    family,
)
from fxprof.report import Report


def _macs(report: Report) -> Iterator[Item]:
    return (Item(op.op, PRODUCTS, op.macs, op.name) for op in report.ops if op.macs)


def _flops(report: Report) -> Iterator[Item]:
    for op in report.ops:
        if op.macs:
            yield Item(op.op, PRODUCTS, op.macs, op.name)
            yield Item(op.op, UNIT, op.macs, op.name)
        if rest := op.flops - 2 * op.macs:
            yield Item(op.op, _rest(op.op, bool(op.macs)), rest, op.name)


def _rest(op: str, contraction: bool) -> str:
    """What an op computes beside its products."""
    if op in ATTENTION_OPS:
        return SOFTMAX
    if contraction and op not in RECURRENT_OPS:
        return BIAS if op == "linear" or op.startswith(("conv", "addmm", "baddbmm", "bilinear")) else ELEMENTWISE
    return family(op)


MACS = Convention(
    name="macs",
    tool="fxprof",
    unit="multiply-adds of convolutions, matrix products, attention and RNN gates",
    source="fxprof.RULES",
    items=_macs,
)
FLOPS = Convention(
    name="flops",
    tool="fxprof",
    unit="2 per multiply-add, 1 for every other arithmetic operation",
    source="fxprof.RULES",
    items=_flops,
)
