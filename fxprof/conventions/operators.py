"""Tools that see the ops: a table of op names to what the tool adds to, or takes from, an op's multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from fxprof.conventions.missed import Missed
from fxprof.conventions.parts import PRODUCTS, Item
from fxprof.report import OpProfile, Report

# What a tool counts beyond (or below 0: short of) the multiply-adds of an op, by cause.
Extra = Callable[[OpProfile], Mapping[str, int]]


def exact(_: OpProfile) -> Mapping[str, int]:
    """The multiply-adds and nothing else."""
    return {}


def items(report: Report, table: Mapping[str, Extra]) -> Iterator[Item]:
    """The items of every op; one that is not in the table counts nothing, which has a cause too."""
    missed = Missed(report)
    for op in report.ops:
        if op.macs:
            yield Item(op.op, PRODUCTS, op.macs, op.name)
        if op.op in table:
            for cause, flops in table[op.op](op).items():
                yield Item(op.op, cause, flops, op.name)
        elif op.macs:
            yield Item(op.op, missed.by_a_table_of_ops(op), -op.macs, op.name)
