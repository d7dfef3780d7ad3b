"""How the cost of an analysis grows: with depth linearly; with batch, resolution and width not at all.

CPU time on one thread, the least of a few analyses; the views of a long report are measured too.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fxprof
from fxprof import repeated
from fxprof.progress import progress
from fxprof.report import Report
from fxprof.views import table

REPEATS = 5


@dataclass(frozen=True)
class Series:
    """CPU seconds at growing sizes; ``limit`` is the most that the last may cost in units of the first."""

    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    limit: float

    @property
    def growth(self) -> float:
        """The last in units of the first."""
        return self.seconds[-1] / self.seconds[0]


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Any:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def _blocks(depth: int, width: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(*[_Block(width) for _ in range(depth)])


def _images(width: int = 64) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.LazyConv2d(width, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU()]
    model = nn.Sequential(*layers).eval()
    model(torch.zeros(1, 3, 8, 8))
    return model


def _seconds(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    taken = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def _analyzed(model: nn.Module, shape: tuple[int, ...]) -> Report:
    repeated.forget()
    return fxprof.analyze(model, shape)


def run() -> list[Series]:
    """Measure every series."""
    fxprof.analyze(_blocks(2, 8), (1, 4, 8))
    images = _images()
    found = [
        _series("depth, layers", (10, 100, 1000), lambda n: (_blocks(n, 64), (1, 16, 64)), 120),
        _series("batch", (1, 16, 256), lambda n: (images, (n, 3, 64, 64)), 1.5),
        _series("resolution", (32, 128, 512), lambda n: (images, (1, 3, n, n)), 1.5),
        _series("width", (64, 512, 4096), lambda n: (_blocks(20, n), (1, 16, n)), 1.5),
    ]
    return found + _views((1_000, 10_000))


def _series(
    name: str, sizes: tuple[int, ...], make: Callable[[int], tuple[nn.Module, tuple[int, ...]]], limit: float
) -> Series:
    seconds = []
    for size in progress(sizes, name):
        model, shape = make(size)
        seconds.append(_seconds(lambda: _analyzed(model, shape)))  # noqa: B023 - called at once
    return Series(name, sizes, tuple(seconds), limit)


# A view of ten times the ops may cost fifteen times as much.
VIEWS: dict[str, Callable[[Report], Any]] = {
    "table": str,
    "table by node": lambda report: table.render(report, by="node"),
    "JSON": lambda report: report.to_json(),
    "JSON and back": lambda report: Report.from_json(report.to_json()),
    "CSV": lambda report: report.to_csv(),
    "markdown": lambda report: report.to_markdown(),
    "DOT": lambda report: report.to_dot(),
    "HTML": lambda report: report.to_html(),
    "peak": lambda report: report.peak_bytes,
}


def _views(sizes: tuple[int, int]) -> list[Series]:
    reports = [fxprof.analyze(_blocks(size // 5, 8), (1, 4, 8)) for size in sizes]
    found = []
    for name, view in progress(VIEWS.items(), "view", lambda item: item[0]):
        seconds = [_seconds(lambda: view(fxprof.Report(**vars(report)))) for report in reports]  # noqa: B023
        found.append(Series(f"{name}, ops", sizes, tuple(seconds), 1.5 * sizes[1] / sizes[0]))
    return found


def lines(measured: Sequence[Series]) -> tuple[list[str], bool]:
    """One line per series, and whether all grow as they may."""
    printed = []
    for series in measured:
        steps = ", ".join(f"{size:,}: {1e3 * taken:.1f} ms" for size, taken in zip(series.sizes, series.seconds))
        word = "ok" if series.growth <= series.limit else "GROWS"
        printed.append(f"{word:5}  {series.name}: {steps}; x {series.growth:.2f} (at most {series.limit:g})")
    return printed, all(series.growth <= series.limit for series in measured)


def add(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether all grow as they may."""
    torch.set_num_threads(1)
    printed, good = lines(run())
    print("\n".join(printed))
    return good
