"""MACs against torch.utils.flop_counter, model by model, to the last digit.

The reference runs the model and counts 2 FLOPs per MAC of the kernels it has a formula for. Where
it has none, it counts nothing: those kernels are listed here by name, and a difference is
explained only if fxprof's MACs of the ops behind them make up all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from benchmarks.measured import measured
from benchmarks.options import add_limits, add_models, add_out, add_resume
from benchmarks.zoos import ZOOS, built, chosen, sampled, tensors
from fxprof.report import OpProfile, Report, TensorSpec

# Ops whose kernels the reference has no formula for, and which these are.
ALWAYS_BLIND = {
    "mv": "aten.mv has no formula",
    "addmv": "aten.addmv has no formula",
    "dot": "aten.dot has no formula",
    "vdot": "aten.vdot has no formula",
    "_grouped_mm": "aten._grouped_mm has no formula",
    "deform_conv2d": "torchvision::deform_conv2d has no formula",
}
# Products by a vector come down to the first of these.
VECTOR_PRODUCTS = ("matmul", "linear")
# Kernels that fuse a whole layer, on the CPU only.
CPU_BLIND = {
    "scaled_dot_product_attention": "the fused CPU attention kernel has no formula",
    "multi_head_attention_forward": "the fused CPU transformer kernel has no formula",
    "lstm": "the fused CPU LSTM kernel has no formula",
}

# Detectors keep as many boxes as the data asks for; fxprof counts the most they can keep. These
# settings, which change no layer, make a run on random weights keep that many.
KEEP_ALL_BOXES = {"score_thresh": -1.0, "nms_thresh": 1.0}


@dataclass(frozen=True)
class Comparison:
    """One model: both counts, how the reference ran, and what explains a difference."""

    model: str
    macs: int = 0
    reference: int | None = None
    device: str = ""
    explained: str = ""
    uncounted: str = ""
    error: str = ""

    @property
    def equal(self) -> bool:
        """Whether the counts agree to the last digit."""
        return self.reference == self.macs and not self.error

    @property
    def difference(self) -> int:
        """MACs that fxprof counts beyond the reference."""
        return self.macs - (self.reference or 0)


def compared(zoo: str, model: str) -> Comparison:
    """Compare one model; a failure is a result."""
    try:
        made = built(zoo, model, ZOOS[zoo].places[-1])
        report = fxprof.analyze(made.model, *made.inputs, kwargs=dict(made.kwargs), name=model)
    except Exception as err:
        try:
            reference_macs(zoo, model, ZOOS[zoo].reference[0])
        except Exception as other:
            return Comparison(model, explained=f"neither runs ({_sentence(err)}; the reference: {_sentence(other)})")
        return Comparison(model, error=_sentence(err))
    uncounted = " ".join(entry.op for entry in report.uncounted)
    reasons = []
    for device in ZOOS[zoo].reference:
        try:
            macs = reference_macs(zoo, model, device)
        except Exception as err:
            reasons.append(f"{device}: {_sentence(err)}")
            continue
        explained = "" if macs == report.macs else explanation(report, macs, device)
        return Comparison(model, report.macs, macs, device, explained, uncounted)
    return Comparison(model, report.macs, None, "", f"the reference does not run ({'; '.join(reasons)})", uncounted)


def reference_macs(zoo: str, model: str, device: str) -> int:
    """MACs by the reference, in one forward without gradients."""
    torch.manual_seed(0)  # how many boxes a detector keeps depends on its weights
    made = built(zoo, model, device)
    made.model.requires_grad_(False)  # its module tracker stops at parameters that are passed between modules
    if device == "cpu":
        keep_all_boxes(made.model)
    args, kwargs = tensors((made.inputs, dict(made.kwargs)), lambda spec: _tensor(spec, device), device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made.model(*args, **kwargs)
    flops: int = counter.get_total_flops()
    if flops % 2:
        raise ArithmeticError(f"the reference counted {flops} FLOPs, which is odd")
    return flops // 2


def keep_all_boxes(model: nn.Module) -> None:
    """Make a detector keep as many boxes as it ever could."""
    for module in model.modules():
        for name, value in KEEP_ALL_BOXES.items():
            if hasattr(module, name):
                setattr(module, name, value)


def explanation(report: Report, reference: int, device: str) -> str:
    """Name the ops the reference cannot see, if their MACs are all of the difference; else nothing."""
    missed: dict[str, int] = {}
    for op in report.ops:
        if op.macs and (reason := _blind(op, device)):
            missed[reason] = missed.get(reason, 0) + op.macs
    if not missed or sum(missed.values()) != report.macs - reference:
        return ""
    return "; ".join(f"{reason} ({macs:,} MACs)" for reason, macs in missed.items())


def _blind(op: OpProfile, device: str) -> str:
    if op.op in VECTOR_PRODUCTS and len(op.inputs) > 1 and len(op.inputs[1].shape) == 1:
        return ALWAYS_BLIND["mv"]
    blind = {**ALWAYS_BLIND, **CPU_BLIND} if device == "cpu" else ALWAYS_BLIND
    return blind.get(op.op, "")


def lines(zoo: str, compared: Sequence[Comparison]) -> tuple[list[str], bool]:
    """What to print, the summary last, and whether all is well."""
    explained = [entry for entry in compared if not entry.equal and entry.explained]
    wrong = [entry for entry in compared if not entry.equal and not entry.explained]
    printed = [_line("explained", entry) for entry in explained] + [_line("DIFFERS", entry) for entry in wrong]
    printed += [f"uncounted {entry.model}: {entry.uncounted}" for entry in compared if entry.uncounted]
    equal = sum(entry.equal for entry in compared)
    on_cpu = sum(entry.equal and entry.device == "cpu" for entry in compared)
    uncounted = sum(bool(entry.uncounted) for entry in compared)
    printed.append(
        f"accuracy {zoo}: {equal}/{len(compared)} equal to FlopCounterMode ({equal - on_cpu} on meta, {on_cpu} on "
        f"cpu), {len(explained)} explained, {len(wrong)} unexplained, {uncounted} with uncounted ops"
    )
    return printed, not wrong


def _line(word: str, entry: Comparison) -> str:
    if entry.error:
        return f"{word} {entry.model}: fxprof failed: {entry.error}"
    reference = "none" if entry.reference is None else f"{entry.reference:,} ({entry.device})"
    note = f": {entry.explained}" if entry.explained else ""
    return f"{word} {entry.model}: fxprof {entry.macs:,}, reference {reference}, {entry.difference:+,}{note}"


def _tensor(spec: TensorSpec, device: str) -> torch.Tensor:
    dtype = getattr(torch, spec.dtype or "float32")
    make: Any = torch.rand if dtype.is_floating_point else torch.ones
    tensor: torch.Tensor = make(spec.shape, dtype=dtype, device=device)
    return tensor


def _sentence(err: Exception) -> str:
    return f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("zoo", choices=sorted(ZOOS))
    add_models(parser, "default: a sample over all families")
    parser.add_argument("--all", action="store_true", help="every model of the zoo, not a sample")
    add_out(parser)
    add_resume(parser)
    add_limits(parser)


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether every difference is explained."""
    models = chosen(args.zoo, args.models)
    if not (args.all or args.models):
        models = sampled(args.zoo, models)
    work = partial(compared, args.zoo)
    failed = lambda model, why: Comparison(model, error=why)  # noqa: E731
    runs = measured(work, models, args, Comparison, lambda run: run.model, failed)
    printed, good = lines(args.zoo, runs)
    print("\n".join(printed))
    return good
