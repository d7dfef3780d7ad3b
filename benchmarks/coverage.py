"""How many models of a zoo fxprof runs, each at its own default input and in a process of its own.

For transformers, whose inputs are worked out and not published, an architecture that fails also runs its own forward
for real, shrunken, on the same kind of input: where that fails too, the input or the architecture is at fault,
and it is listed but not counted. With --own each runs its own, and only those whose own runs are counted.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import fxprof
from benchmarks.measured import measured
from benchmarks.options import add_limits, add_models, add_out, add_resume
from benchmarks.shrunken import TOO_LARGE, own_forward
from benchmarks.zoos import ZOOS, built, chosen


@dataclass(frozen=True)
class Run:
    """One model from one place; ``error`` is empty where it ran.

    ``own`` says why the architecture's own forward does not run, "runs" where it does, nothing where it was not
    asked, that it is too large to ask. ``inputs`` are the arguments passed, ``left_out`` those that the configuration
    has no room for.
    """

    model: str
    device: str
    macs: int = 0
    flops: int = 0
    params: int = 0
    seconds: float = 0.0
    uncounted: str = ""
    bounds: int = 0
    error: str = ""
    own: str = ""
    inputs: str = ""
    left_out: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is one of those that have to run: not where the architecture itself does not."""
        return self.own in ("", "runs") or self.own.startswith(TOO_LARGE)


def one(zoo: str, own: bool, job: tuple[str, str]) -> Run:
    """Analyze one model from one place, and run its own forward where that is asked for; a failure is a result."""
    found = _analyzed(zoo, *job)
    if zoo == "transformers" and (own or found.error):
        return replace(found, own=own_forward(found.model))
    return found


def _analyzed(zoo: str, model: str, place: str) -> Run:
    try:
        made = built(zoo, model, place)
    except Exception as err:
        return Run(model, place, error=_sentence(err))
    inputs = " ".join(made.kwargs)
    left_out = "; ".join(f"{name}: {why}" for name, why in made.left_out.items())
    start = time.perf_counter()
    try:
        report = fxprof.analyze(made.model, *made.inputs, kwargs=dict(made.kwargs), name=model)
    except Exception as err:
        return Run(model, place, error=_sentence(err), inputs=inputs, left_out=left_out)
    seconds = round(time.perf_counter() - start, 4)
    uncounted = " ".join(entry.op for entry in report.uncounted)
    counts = (report.macs, report.flops, report.params)
    return Run(model, place, *counts, seconds, uncounted, len(report.bounds), "", "", inputs, left_out)


def _sentence(err: Exception) -> str:
    return f"{type(err).__name__}: {' '.join(str(err).split())}"


# -- what came of it -------------------------------------------------------------------------------


def disagreements(runs: Sequence[Run]) -> list[str]:
    """Models whose counts depend on where they are; there must be none."""
    counts: dict[str, set[tuple[int, int, int]]] = {}
    for entry in runs:
        if not entry.error:
            counts.setdefault(entry.model, set()).add((entry.macs, entry.flops, entry.params))
    return [model for model, found in counts.items() if len(found) > 1]


def cause(error: str) -> str:
    """An error without what is particular to one model: names, numbers, places."""
    text = re.sub(r"\(at [^)]*\)|'[^']*'|\"[^\"]*\"", "…", error)
    text = re.sub(r"but \S+( \(\w+\))? raised", "but … raised", text)
    return re.sub(r"[\d.,]*\d", "N", text)[:160]


def grouped(failed: Sequence[Run]) -> list[str]:
    """The failures by cause, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for entry in failed:
        groups.setdefault(cause(entry.error), []).append(entry.model)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [f"CAUSE {len(models)} x {found}: {', '.join(models)}" for found, models in ranked]


def lines(zoo: str, runs: Sequence[Run]) -> tuple[list[str], bool]:
    """What to print, the summary last, and whether all is well."""
    failed = [entry for entry in runs if entry.error and entry.counts]
    excused = [entry for entry in runs if not entry.counts]
    differing = disagreements(runs)
    uncounted = sorted({entry.model for entry in runs if entry.uncounted})
    printed = [f"FAILED {entry.model} ({entry.device}): {entry.error}" for entry in failed]
    printed += [f"OWN FORWARD FAILS {entry.model}: {entry.own}" for entry in excused]
    printed += [f"DIFFERS {model}: its counts depend on the device" for model in differing]
    printed += [f"UNCOUNTED {entry.model} ({entry.device}): {entry.uncounted}" for entry in runs if entry.uncounted]
    printed += [f"WITHOUT {entry.left_out} {entry.model}" for entry in runs if entry.left_out]
    printed += grouped(failed) if len(failed) > 1 else []
    models = {entry.model for entry in runs} - {entry.model for entry in excused}
    ran = len(models - {entry.model for entry in failed})
    devices = ", ".join(dict.fromkeys(entry.device for entry in runs))
    share = f" = {100 * ran / len(models):.1f} %" if len(models) > 1 else ""
    own = f", {len(excused)} whose own forward does not run are not counted" if excused else ""
    slowest = max((entry for entry in runs), key=lambda entry: entry.seconds, default=None)
    longest = f", longest {slowest.seconds:.1f} s ({slowest.model})" if slowest is not None else ""
    printed.append(
        f"coverage {zoo}: {ran}/{len(models)}{share} run ({devices}), {len(models) - ran} failed, "
        f"{len(differing)} depend on the device, {len(uncounted)} with uncounted ops{own}, "
        f"{sum(entry.seconds for entry in runs):.1f} s of analysis{longest}"
    )
    return printed, not failed and not differing


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("zoo", choices=sorted(ZOOS))
    add_models(parser)
    add_out(parser)
    add_resume(parser)
    add_limits(parser)
    parser.add_argument("--own", action="store_true", help="transformers: run every architecture's own forward")
    parser.add_argument("--device", choices=("cpu", "meta", "report", "both"), help="where to build")


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether every model ran, from every place alike."""
    asked = {None: ZOOS[args.zoo].places, "both": ("cpu", "meta")}
    places = asked.get(args.device, (args.device,))
    jobs = [(model, place) for model in chosen(args.zoo, args.models) for place in places]
    work = partial(one, args.zoo, args.own)
    runs = measured(
        work, jobs, args, Run, lambda run: (run.model, run.device), lambda job, why: Run(*job, 0, error=why)
    )
    printed, good = lines(args.zoo, runs)
    print("\n".join(printed))
    return good
