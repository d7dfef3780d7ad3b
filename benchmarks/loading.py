"""What ``load`` costs beside torch's own reading and ``load_state_dict``: time and memory, on one big file.

Every run is a process of its own, with the file in the page cache; they take turns, and the fastest counts.
A .pth is read twice: no value may be written before the last checksum was compared, and old values are not kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import amount

_RUN = """
import resource, sys, time
import torch
from torch import nn
import fxprof.checkpoint.loading, fxprof.checkpoint.reading, fxprof.checkpoint.saving
from safetensors.torch import load_file

path, width, layers, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
model.to_empty(device="cpu")
with torch.no_grad():
    for parameter in model.parameters():
        parameter.zero_()  # the model's own memory is there before the clock starts
if how == "write":
    fxprof.checkpoint.saving.save(model, path)
    sys.exit()
small = nn.Linear(2, 2)
fxprof.checkpoint.loading.load(small, dict(small.state_dict()))  # what is imported on first use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
if how == "torch":
    zipped = path.endswith(".pth")
    model.load_state_dict(torch.load(path, mmap=True, weights_only=True) if zipped else load_file(path))
elif how == "sums":
    fxprof.checkpoint.reading.read(path).verify()
else:
    fxprof.checkpoint.loading.load(model, path)
print(time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@dataclass(frozen=True)
class Loading:
    """One comparison: seconds, and bytes that the process grew by (the mapped file included)."""

    gigabytes: float
    torch_seconds: float
    load_seconds: float
    sums_seconds: float  # of load_seconds, for reading the file and comparing its checksums
    torch_bytes: int
    load_bytes: int
    tensor_bytes: int  # the largest tensor

    @property
    def ratio(self) -> float:
        """Times the seconds of torch."""
        return self.load_seconds / self.torch_seconds


def run(gigabytes: float = 2.0, suffix: str = ".pth", width: int = 4096, rounds: int = 3) -> Loading:
    """Write a file of that size and load it both ways; .pth has checksums, which only ``load`` compares."""
    tensor = 4 * width * width
    layers = max(1, round(gigabytes * 1e9 / tensor))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"big{suffix}"
        size = (str(path), str(width), str(layers))
        _python(*size, "write")
        found: dict[str, list[tuple[float, int]]] = {"torch": [], "load": [], "sums": []}
        for how in tuple(found) * rounds:
            seconds, grown = _python(*size, how).split()
            found[how].append((float(seconds), int(grown)))
    (torch_seconds, torch_bytes), (load_seconds, load_bytes) = min(found["torch"]), min(found["load"])
    sums_seconds, _ = min(found["sums"])
    return Loading(layers * tensor / 1e9, torch_seconds, load_seconds, sums_seconds, torch_bytes, load_bytes, tensor)


def lines(result: Loading) -> tuple[Sequence[str], bool]:
    """The comparison in words, and whether it is within 1.3 times the time and one tensor more memory."""
    more = result.load_bytes - result.torch_bytes
    good = result.ratio <= 1.3 and more <= result.tensor_bytes
    return [
        f"{result.gigabytes:.1f} GB: {result.load_seconds:.2f} s, torch {result.torch_seconds:.2f} s, "
        f"{result.ratio:.2f} times; to open and compare checksums alone takes {result.sums_seconds:.2f} s; "
        f"{more / 1e6:,.0f} MB more memory than torch, "
        f"one tensor has {result.tensor_bytes / 1e6:,.0f} MB"
    ], good


def _python(*args: str) -> str:
    done = subprocess.run([sys.executable, "-c", _RUN, *args], capture_output=True, text=True, check=True)
    return done.stdout


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--gigabytes", type=amount, default=2.0, metavar="N", help="size of the file (default: 2)")
    parser.add_argument("--suffix", choices=(".pth", ".safetensors"), default=".pth", help="default: .pth")


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether time and memory are within their limits."""
    printed, good = lines(run(args.gigabytes, args.suffix))
    print("\n".join(printed))
    return good
