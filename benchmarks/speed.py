"""What a first analysis costs, beside the model's own forward and beside other ways to count.

Every model runs in processes of its own: a toy model first, so that imports are paid, then each way once,
cold, on one thread; the least CPU time over the processes counts. Of five later analyses the slowest counts ("again"):
the first of them traces once more, the others are given its report where that is known to be the same. Beside it is
what one takes that traces, whatever was asked before ("traced"). The forward and PyTorch's own ways run on
meta tensors, the other tools (where installed) on the CPU, as they need it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.options import add_models, listed, positive
from fxprof.errors import InputError
from fxprof.progress import progress

VISION = (
    "resnet50", "mobilenet_v3_large", "efficientnet_b0", "vit_b_16", "swin_t", "convnext_tiny", "densenet121",
    "inception_v3", "regnet_y_400mf", "maxvit_t",
)  # fmt: skip
LANGUAGE = ("hf:llama?hidden_size=1024&intermediate_size=2816&num_hidden_layers=16", "hf:bert", "hf:gpt2")

# The most that a first analysis, and one with the same shapes again, may cost in units of another way: medians.
FIRST = {"forward": 0.35, "flop_counter": 0.25, "fvcore": 0.05}
AGAIN = {"forward": 0.2}
_OURS = ("fxprof", "again", "traced")


@dataclass(frozen=True)
class Speed:
    """One model: CPU seconds by way of counting; ``fxprof`` is the first analysis, the others of _OURS later ones."""

    model: str
    seconds: dict[str, float]
    missing: dict[str, str]  # way -> why it did not run

    def ratio(self, way: str, of: str = "fxprof") -> float | None:
        """Cost in units of another way's."""
        return self.seconds[of] / self.seconds[way] if way in self.seconds and of in self.seconds else None


def run(models: Sequence[str], processes: int, ways: Sequence[str]) -> list[Speed]:
    """Measure every model in so many fresh processes."""
    return [_measured(model, processes, ways) for model in progress(models, "model")]


def _measured(model: str, processes: int, ways: Sequence[str]) -> Speed:
    seconds: dict[str, float] = {}
    missing: dict[str, str] = {}
    for _ in range(processes):
        command = [sys.executable, "-m", "benchmarks.speed_ways", model, *ways]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return Speed(model, {}, {"fxprof": (done.stderr.strip().splitlines() or ["no message"])[-1]})
        found = json.loads(done.stdout.splitlines()[-1])
        missing.update(found["missing"])
        for way, taken in found["seconds"].items():
            seconds[way] = min(taken, seconds.get(way, taken))
    return Speed(model, seconds, missing)


def medians(measured: Sequence[Speed], of: str = "fxprof") -> dict[str, float]:
    """For each way the median over the models that have it."""
    ways = dict.fromkeys(way for speed in measured for way in speed.seconds if way not in _OURS)
    found = {way: [r for speed in measured if (r := speed.ratio(way, of)) is not None] for way in ways}
    return {way: statistics.median(ratios) for way, ratios in found.items() if ratios}


def lines(measured: Sequence[Speed]) -> tuple[list[str], bool]:
    """What to print, the medians last, and whether they are within the limits."""
    ways = [way for way in medians(measured) if way != "forward"]
    header = [
        "model",
        "forward ms",
        "first ms",
        "again ms",
        "traced ms",
        "first/forward",
        "again/forward",
        "traced/forward",
        *(f"first/{w}" for w in ways),
    ]
    rows = [header]
    for speed in measured:
        if "fxprof" not in speed.seconds:
            rows.append([speed.model, *["-"] * (len(header) - 1)])
            continue
        numbers = [f"{1e3 * speed.seconds[way]:.1f}" for way in ("forward", *_OURS)]
        ratios = [*(speed.ratio("forward", of) for of in _OURS), *map(speed.ratio, ways)]
        rows.append([speed.model, *numbers, *("-" if r is None else f"{r:.3f}" for r in ratios)])
    printed = _columns(rows)
    reasons = dict.fromkeys(f"{way}: {why}" for speed in measured for way, why in speed.missing.items())
    printed += [f"missing {reason}" for reason in reasons]
    vision = [speed for speed in measured if speed.model in VISION] or list(measured)
    good = True
    for of, limits, name in (("fxprof", FIRST, "first"), ("again", AGAIN, "again"), ("traced", {}, "traced")):
        found = medians(vision, of)
        for way, ratio in found.items():
            limit = limits.get(way)
            good = good and (limit is None or ratio <= limit)
            wanted = "" if limit is None else f" (at most {limit})"
            printed.append(f"median {name}/{way} over {len(vision)} models: {ratio:.3f}{wanted}")
    return printed, good and all("fxprof" in speed.seconds for speed in measured)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths)))
        for row in rows
    ]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_models(parser, "MODEL strings; default: ten of torchvision and three language models")
    parser.add_argument(
        "--processes", type=positive, default=3, metavar="N", help="fresh processes per model (default: 3)"
    )
    parser.add_argument("--ways", type=listed, default=[], metavar="A,B", help="only these beside fxprof and forward")
    parser.add_argument("--json", action="store_true", help="print the seconds as JSON")


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether the medians are within the limits."""
    from benchmarks.speed_ways import ON_CPU, ON_META  # torch, which the measuring processes import for themselves

    for way in args.ways:
        if way not in {**ON_META, **ON_CPU}:
            raise InputError(f"no way is called {way!r}; there are {', '.join([*ON_META, *ON_CPU])}")
    measured = run(args.models or (*VISION, *LANGUAGE), args.processes, args.ways)
    printed, good = lines(measured)
    if args.json:
        print(json.dumps([{"model": s.model, "seconds": s.seconds, "missing": s.missing} for s in measured], indent=1))
    else:
        print("\n".join(printed))
    return good
