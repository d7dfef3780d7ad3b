"""How many models of a zoo fxprof runs, each at its own default input."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import fxprof
from benchmarks.options import add_models, add_out, write
from benchmarks.progress import progress
from benchmarks.zoos import ZOOS, built, chosen


@dataclass(frozen=True)
class Run:
    """One model from one device; ``error`` is empty where it ran."""

    model: str
    device: str
    macs: int = 0
    flops: int = 0
    params: int = 0
    seconds: float = 0.0
    uncounted: str = ""
    bounds: int = 0
    error: str = ""


def run(zoo: str, models: Sequence[str], devices: Sequence[str]) -> list[Run]:
    """Analyze every model from every device, one after the other; a failure is a result."""
    return [_run(zoo, model, device) for model in progress(models) for device in devices]


def _run(zoo: str, model: str, device: str) -> Run:
    try:
        made = built(zoo, model, device)
        start = time.perf_counter()
        report = fxprof.analyze(made.model, *made.inputs, kwargs=dict(made.kwargs), name=model)
        seconds = time.perf_counter() - start
    except Exception as err:
        return Run(model, device, error=f"{type(err).__name__}: {' '.join(str(err).split())}")
    uncounted = " ".join(entry.op for entry in report.uncounted)
    counts = (report.macs, report.flops, report.params)
    return Run(model, device, *counts, round(seconds, 4), uncounted, len(report.bounds))


def disagreements(runs: Sequence[Run]) -> list[str]:
    """Models whose counts depend on the device; there must be none."""
    counts: dict[str, set[tuple[int, int, int]]] = {}
    for entry in runs:
        if not entry.error:
            counts.setdefault(entry.model, set()).add((entry.macs, entry.flops, entry.params))
    return [model for model, found in counts.items() if len(found) > 1]


def lines(zoo: str, runs: Sequence[Run]) -> tuple[list[str], bool]:
    """What to print, the summary last, and whether all is well."""
    failed = [entry for entry in runs if entry.error]
    differing = disagreements(runs)
    uncounted = sorted({entry.model for entry in runs if entry.uncounted})
    printed = [f"FAILED {entry.model} ({entry.device}): {entry.error}" for entry in failed]
    printed += [f"DIFFERS {model}: its counts depend on the device" for model in differing]
    printed += [f"UNCOUNTED {entry.model} ({entry.device}): {entry.uncounted}" for entry in runs if entry.uncounted]
    models = {entry.model for entry in runs}
    ran = len(models - {entry.model for entry in failed})
    devices = ", ".join(dict.fromkeys(entry.device for entry in runs))
    printed.append(
        f"coverage {zoo}: {ran}/{len(models)} run ({devices}), {len(models) - ran} failed, {len(differing)} depend on "
        f"the device, {len(uncounted)} with uncounted ops, {sum(entry.seconds for entry in runs):.1f} s of analysis"
    )
    return printed, not failed and not differing


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("zoo", choices=sorted(ZOOS))
    add_models(parser)
    add_out(parser)
    parser.add_argument("--device", choices=("cpu", "meta", "both"), default="both")


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether every model ran, on every device alike."""
    devices = ("cpu", "meta") if args.device == "both" else (args.device,)
    runs = run(args.zoo, chosen(args.zoo, args.models), devices)
    printed, good = lines(args.zoo, runs)
    print("\n".join(printed))
    write(args.out, runs)
    return good
