"""Notes: what the numbers mean, and how sure they are."""

from __future__ import annotations

from fxprof.report import Bound, Report
from fxprof.units import grouped
from fxprof.views.text import listed, safe

SEMANTICS = (
    "1 MAC = 1 multiply-accumulate of a convolution, matrix product, attention product or RNN gate.",
    "FLOPs = 2 x MACs + bias additions + the arithmetic of every other op. Totals are for the whole batch.",
    "Activations = elements of op outputs that take new memory. Moving data costs bytes, not FLOPs.",
)
_LIMIT = 8


def semantics(report: Report) -> list[str]:
    """The counting semantics, and whether they include the backward pass."""
    mode = ("The backward pass is included.",) if report.training else ()
    return [*SEMANTICS, *mode]


def certainty(report: Report) -> list[str]:
    """What is not counted, what was assumed, what never ran; or that every number is exact."""
    lines = [_verdict(report), *inexact(report)]
    if uncalled := _outermost(report.uncalled):
        lines.append(f"Never reached by the forward: {listed(map(safe, uncalled))}.")
    if report.unused_params:
        lines.append(f"Never read by the forward: {grouped(report.unused_params)} parameters.")
    return lines


def inexact(report: Report) -> list[str]:
    """What keeps the numbers from being exact; nothing where they are."""
    return [*_uncounted(report), *_bounds(report)]


def _verdict(report: Report) -> str:
    """One line: whether every number is exact, else the ops without a rule and how much was assumed."""
    if report.exact:
        return "Exact: every op is counted and no size was assumed."
    found = [f"{listed(safe(entry.op) for entry in report.uncounted)} uncounted"] if report.uncounted else []
    if count := len(report.bounds):
        found.append("1 assumption" if count == 1 else f"{count:,} assumptions")
    return f"Not exact: {', '.join(found)}."


def _uncounted(report: Report) -> list[str]:
    lines = [
        f"Uncounted: {safe(entry.op)}, {_calls(entry.calls)}, first in {_place(entry.module)}, "
        f"{grouped(entry.elements)} elements written; not in the MACs and FLOPs, "
        f"at most {grouped(entry.bound.macs)} MACs."
        for entry in report.uncounted
    ]
    return _limited(lines, "uncounted ops")


def _bounds(report: Report) -> list[str]:
    return _limited([_bound(bound) for bound in report.bounds], "assumptions")


def _bound(bound: Bound) -> str:
    place = ", ".join(filter(None, [f"{safe(bound.op)} in {_place(bound.module)}", safe(bound.source)]))
    calls = f", {_calls(bound.calls)}" if bound.calls != 1 else ""
    effect = f" Could change: {safe(bound.effect)}." if bound.effect else ""
    return f"Assumed {safe(bound.what)}: {safe(bound.assumed)} ({place}{calls}).{effect}"


def _outermost(paths: tuple[str, ...]) -> list[str]:
    known = set(paths)
    return [path for path in paths if path.rpartition(".")[0] not in known or not path]


def _limited(lines: list[str], what: str) -> list[str]:
    hidden = len(lines) - _LIMIT
    return lines if hidden <= 0 else [*lines[:_LIMIT], f"… and {hidden:,} more {what}."]


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _place(module: str) -> str:
    return safe(module) if module else "the model itself"
