"""Where the time of an analysis goes: by part of fxprof, then the functions with the most time of their own."""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

import fxprof
from benchmarks.options import positive
from fxprof import repeated, zoo

_HERE = str(Path(fxprof.__file__).parent)
_REPEATS = 5


def run(model: str, *, cold: bool) -> pstats.Stats:
    """Profile a few analyses of one model; ``cold`` forgets what is remembered between them."""
    from fxprof import costs
    from fxprof.tracing import repeats

    built = zoo.build(model)
    fxprof.analyze(built.model.eval(), *built.inputs, kwargs=built.kwargs)
    profile = cProfile.Profile()
    for _ in range(_REPEATS):
        if cold:
            repeats._seen.clear()
            costs._CALLS.clear()
        repeated.forget()
        profile.enable()
        fxprof.analyze(built.model, *built.inputs, kwargs=built.kwargs)
        profile.disable()
    return pstats.Stats(profile)


def lines(stats: pstats.Stats, top: int) -> Sequence[str]:
    """Own time per analysis by file of fxprof and of what it calls, then by function."""
    own: dict[str, float] = defaultdict(float)
    functions = []
    for (filename, line, name), (_, calls, seconds, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        place = _place(filename)
        own[place] += seconds
        functions.append((seconds, calls, f"{place}:{line} {name}" if line else name))
    whole = sum(own.values())
    printed = [f"{1e3 * whole / _REPEATS:.1f} ms per analysis under the profiler, which slows Python down", ""]
    for place, seconds in sorted(own.items(), key=lambda item: -item[1])[:top]:
        printed.append(f"{seconds / whole:6.1%}  {place}")
    printed.append("")
    for seconds, calls, name in sorted(functions, reverse=True)[:top]:
        printed.append(f"{seconds / whole:6.1%}  {calls // _REPEATS:7,} calls  {name}")
    return printed


def _place(filename: str) -> str:
    if filename.startswith(_HERE):
        return "fxprof" + filename[len(_HERE) :]
    parts = Path(filename).parts
    return "/".join(parts[parts.index("site-packages") + 1 :]) if "site-packages" in parts else filename


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="a MODEL string, as for fxprof report")
    parser.add_argument("--cold", action="store_true", help="with nothing remembered from the analysis before")
    parser.add_argument("--top", type=positive, default=15, metavar="N", help="lines of each list (default: 15)")


def main(args: argparse.Namespace) -> bool:
    """Run and print."""
    torch.set_num_threads(1)
    print("\n".join(lines(run(args.model, cold=args.cold), args.top)))
    return True
