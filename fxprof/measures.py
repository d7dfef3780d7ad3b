"""What is measured of modules and of whole reports, by the names that the command line has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fxprof.report import ModuleProfile


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of modules: of one with all below it, and of one by itself."""

    title: str
    whole: Callable[[ModuleProfile], int]
    own: Callable[[ModuleProfile], int]


MEASURES: Mapping[str, Measure] = {
    "params": Measure("Parameters", lambda m: m.params, lambda m: m.own.params),
    "macs": Measure("MACs", lambda m: m.macs, lambda m: m.own.macs),
    "flops": Measure("FLOPs", lambda m: m.flops, lambda m: m.own.flops),
    "activations": Measure("Activations", lambda m: m.activations, lambda m: m.own.activations),
}
# Totals of a Report, by the name of the attribute.
TOTALS: Mapping[str, str] = {
    "params": "Parameters",
    "active_params": "Active parameters",
    "trainable_params": "Trainable parameters",
    "buffers": "Buffers",
    "macs": "MACs",
    "flops": "FLOPs",
    "activations": "Activations",
    "param_bytes": "Parameter bytes",
    "activation_bytes": "Activation bytes",
    "bytes_accessed": "Bytes accessed",
    "peak_bytes": "Peak memory",
    "intensity": "Intensity",
}
