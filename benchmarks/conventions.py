"""Every convention of fxprof against the tool itself, model by model, to the last digit.

Tools that are not installed are left out; ``pip install 'fxprof[peers]'`` installs them. Each builds
the model anew and, but for those that run on the meta device, runs it on the CPU with real weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fxprof
from benchmarks import peers
from benchmarks.cases import CASES
from benchmarks.options import add_models, listed, writable
from benchmarks.peers import Answer
from benchmarks.zoos import built
from fxprof.errors import InputError
from fxprof.progress import progress
from fxprof.report import Report

# The least share of models on which a convention must equal its tool.
WANTED = 0.95


@dataclass(frozen=True)
class Compared:
    """One model by one tool: what the tool said, and what fxprof says in its convention."""

    model: str
    tool: str
    live: Answer | None = None
    own: Answer | None = None
    error: str = ""

    @property
    def equal(self) -> bool:
        """Whether every number that the tool gives is fxprof's."""
        if self.live is None or self.own is None:
            return False
        pairs = zip(_numbers(self.live), _numbers(self.own))
        return all(live is None or live == own for live, own in pairs)


def _numbers(answer: Answer) -> tuple[int | None, ...]:
    return (answer.flops, answer.params, answer.activations)


def models() -> list[str]:
    """The classification models of torchvision."""
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def run(names: Sequence[str], tools: Sequence[str]) -> list[Compared]:
    """Compare every model with every tool; a failure is a result."""
    compared = []
    for name in progress(names, "model"):
        shape = built("torchvision", name, "meta").inputs[0].shape
        compared += compare(name, partial(_model, name), shape, tools)
    return compared


def _model(name: str, device: str) -> nn.Module:
    return built("torchvision", name, device).model


def _case(make: Callable[[], nn.Module], device: str) -> nn.Module:
    return make()


def run_cases(tools: Sequence[str]) -> list[Compared]:
    """Compare the small models with every tool."""
    found: list[Compared] = []
    for name, (make, shape) in CASES.items():
        found += compare(name, partial(_case, make), shape, tools)
    return found


def compare(name: str, make: Callable[[str], nn.Module], shape: Sequence[int], tools: Sequence[str]) -> list[Compared]:
    """One model, made for a device, by every tool; each gets a new one, because some leave theirs changed."""
    report = fxprof.analyze(make("meta").eval(), tuple(shape))
    found = []
    for tool in tools:
        own = counted(report, tool)
        try:
            live = peers.ask(tool, make("meta" if tool in peers.ON_META else "cpu"), _image(shape))
        except Exception as err:
            found.append(Compared(name, tool, None, own, f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"))
        else:
            found.append(Compared(name, tool, live, own))
    return found


def _image(shape: Sequence[int]) -> Tensor:
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))


def counted(report: Report, tool: str) -> Answer:
    """What fxprof says in the tool's convention; fvcore's activations are listed under timm's name."""
    count = report.count(tool)
    activations = report.count("timm").activations if tool == "fvcore" else None
    return Answer(count.flops, count.params, activations)


def lines(compared: Sequence[Compared]) -> tuple[list[str], bool]:
    """What to print, the tools last, and whether every tool is equal often enough."""
    printed = [_line(entry) for entry in compared if not entry.equal]
    good = True
    versions = peers.installed()
    for tool in dict.fromkeys(entry.tool for entry in compared):
        of_tool = [entry for entry in compared if entry.tool == tool]
        equal = sum(entry.equal for entry in of_tool)
        good = good and equal >= WANTED * len(of_tool)
        name = f"{tool} {versions.get(tool, '')}".rstrip()
        printed.append(f"conventions {name}: {equal}/{len(of_tool)} equal, {len(of_tool) - equal} different")
    missing = [tool for tool in peers.LIVE if tool not in versions]
    return printed + ([f"not installed: {', '.join(missing)}"] if missing else []), good


def _line(entry: Compared) -> str:
    if entry.live is None or entry.own is None:
        return f"DIFFERS {entry.model} ({entry.tool}): the tool failed: {entry.error}"
    pairs = zip(("flops", "params", "activations"), _numbers(entry.own), _numbers(entry.live))
    parts = [f"{name} fxprof {own:,}, tool {live:,}" for name, own, live in pairs if live not in (None, own)]
    return f"DIFFERS {entry.model} ({entry.tool}): {'; '.join(parts)}"


def record(path: Path, compared: Sequence[Compared]) -> None:
    """Add what the tools said to a file, for tests that run without them."""
    answers: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["answers"] if path.exists() else {}
    for entry in compared:
        said = entry.error if entry.live is None else [n for n in _numbers(entry.live) if n is not None]
        answers.setdefault(entry.model, {})[entry.tool] = said
    rows = ",\n".join(f"  {json.dumps(model)}: {json.dumps(said)}" for model, said in answers.items())
    text = f'{{"versions": {json.dumps(peers.installed())},\n "answers": {{\n{rows}\n }}\n}}\n'
    path.write_text(text, encoding="utf-8")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_models(parser, "default: classification")
    parser.add_argument("--cases", action="store_true", help="small models on which tools disagree, instead of a zoo")
    parser.add_argument("--tools", type=listed, metavar="A,B", help="default: all installed")
    parser.add_argument("--record", type=writable, metavar="FILE.json", help="also keep there what the tools said")


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether enough is equal. Raises InputError on an unknown tool."""
    tools = args.tools or list(peers.installed())
    if unknown := sorted(set(tools) - set(peers.LIVE)):
        raise InputError(f"no tool is called {', '.join(unknown)}; one of {', '.join(peers.LIVE)}")
    compared = run_cases(tools) if args.cases else run(args.models or models(), tools)
    printed, good = lines(compared)
    print("\n".join(printed))
    if args.record:
        record(args.record, compared)
    return good
