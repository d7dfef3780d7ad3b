"""Stacks: the module path of every op as a flame graph reads it, in speedscope's JSON and as folded lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fxprof.report import OpProfile, Report
from fxprof.version import __version__
from fxprof.views.text import safe

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
# What a profile is of, in which of speedscope's units, and of one op.
_WEIGHTS: tuple[tuple[str, str, Callable[[OpProfile], int]], ...] = (
    ("MACs", "none", lambda op: op.macs),
    ("FLOPs", "none", lambda op: op.flops),
    ("Activation bytes", "bytes", lambda op: op.activation_bytes),
    ("Bytes accessed", "bytes", lambda op: op.bytes_accessed),
)


def to_speedscope(report: Report) -> str:
    """Write one profile per weight, MACs first; a stack is the module path and the op, in execution order.

    The file opens at https://www.speedscope.app or in its offline copy.
    """
    frames: dict[str, int] = {}
    stacks = [[frames.setdefault(frame, len(frames)) for frame in _stack(report, op)] for op in report.ops]
    data = {
        "$schema": _SCHEMA,
        "name": safe(report.name),
        "exporter": f"fxprof {__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": frame} for frame in frames]},
        "profiles": [_profile(report, stacks, *weight) for weight in _WEIGHTS],
    }
    return json.dumps(data)


def _profile(
    report: Report, stacks: list[list[int]], name: str, unit: str, weight: Callable[[OpProfile], int]
) -> dict[str, Any]:
    heavy = [(stack, size) for stack, op in zip(stacks, report.ops) if (size := weight(op))]
    return {
        "type": "sampled", "name": name, "unit": unit, "startValue": 0, "endValue": sum(size for _, size in heavy),
        "samples": [stack for stack, _ in heavy], "weights": [size for _, size in heavy],
    }  # fmt: skip


def to_folded(report: Report) -> str:
    """Write ``model;module;...;op MACs`` lines, in order of first call, as flamegraph.pl and inferno read them."""
    totals: dict[str, int] = {}
    for op in report.ops:
        if op.macs:
            # The format has no escape for its own separator.
            stack = ";".join(frame.replace(";", "%3B") for frame in _stack(report, op))
            totals[stack] = totals.get(stack, 0) + op.macs
    return "\n".join(f"{stack} {macs}" for stack, macs in totals.items())


def _stack(report: Report, op: OpProfile) -> list[str]:
    """The frames from the model down to the op."""
    return [safe(report.name), *map(safe, op.module.split(".") if op.module else ()), safe(op.op)]
