"""What ``fxprof check`` prints: each budget with what was used of it, and whom to blame where one is exceeded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fxprof.budget import METRICS, Verdict
from fxprof.compare import Comparison
from fxprof.report import Report
from fxprof.units import grouped, percentage, share, short, short_bytes
from fxprof.views import compare, markdown, notes
from fxprof.views.grid import BOLD, DIM, GREEN, RED, YELLOW, paint, prose, table
from fxprof.views.listing import Column, inputs
from fxprof.views.table import heading
from fxprof.views.text import safe

_COLUMNS = [
    Column("Budget", name=True), Column("Used", right=True), Column("Limit", right=True),
    Column("of limit", right=True, spare=1), Column(""),
]  # fmt: skip
_BLAME = [Column("Module", name=True), Column("Holds", right=True), Column("Share", right=True)]


def render(
    report: Report, verdicts: Sequence[Verdict], since: Comparison | None = None, *, width: int | None = None,
    colour: bool = False,
) -> str:  # fmt: skip
    """Render the verdicts, those to blame for what is over, what makes a count uncertain, and what changed."""
    wide: dict[str, Any] = {"width": width, "colour": colour}
    parts = [heading(report, colour)]
    if verdicts:
        codes = [(RED,) if verdict.over else (GREEN,) for verdict in verdicts]
        parts.append(table(_COLUMNS, [_row(report, verdict) for verdict in verdicts], **wide, codes=codes.__getitem__))
    for verdict in filter(_is_over, verdicts):
        said = prose([safe(excess(report, verdict))], width, BOLD, on=colour)
        parts.append("\n".join([*said, table(_BLAME, _blame(report, verdict), **wide)]))
    parts.append("\n".join(prose(notes.inexact(report), width, YELLOW, on=colour)))
    if verdicts:
        parts.append(paint(summary(verdicts), DIM, on=colour))
    if since:
        parts.append(compare.render(since, changed=True, **wide))
    return "\n\n".join(filter(None, parts))


def to_markdown(report: Report, verdicts: Sequence[Verdict], since: Comparison | None = None) -> str:
    """The same for a pull request."""
    parts = [f"{markdown.code(report.name)}: {markdown.code(inputs(report))}"]
    if verdicts:
        rows = [[markdown.code(first), *rest] for first, *rest in (_row(report, verdict) for verdict in verdicts)]
        parts.append(markdown.table(_COLUMNS, rows))
    for verdict in filter(_is_over, verdicts):
        blame = [[markdown.code(path), *rest] for path, *rest in _blame(report, verdict)]
        parts += [markdown.sentence(excess(report, verdict)), markdown.table(_BLAME, blame)]
    if unsure := notes.inexact(report):
        parts.append("\n".join(f"- {markdown.sentence(line)}" for line in unsure))
    if verdicts:
        parts.append(summary(verdicts))
    if since:
        parts.append(compare.to_markdown(since, changed=True))
    return "\n\n".join(parts)


def to_json(report: Report, verdicts: Sequence[Verdict], since: Comparison | None = None) -> str:
    """The same as data."""
    entries = [{**asdict(verdict), "over": verdict.over} for verdict in verdicts]
    data = {"name": report.name, "exact": report.exact, "budgets": entries}
    return json.dumps({**data, "changes": compare.data(since)} if since else data, indent=2)


def excess(report: Report, verdict: Verdict) -> str:
    """By how much a budget is exceeded, and what follows: the modules to blame."""
    over = verdict.used - verdict.budget.limit
    metric = METRICS[verdict.budget.metric]
    amount = short_bytes(over) if metric.unit == "bytes" else short(over)
    many = len(verdict.heaviest)
    which = f"the {many} heaviest modules by themselves" if many > 1 else "the heaviest module by itself"
    return f"{metric.title}{_place(report, verdict)}: {amount} over the limit; {which}:"


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many budgets are exceeded, in one sentence."""
    over = sum(verdict.over for verdict in verdicts)
    several = "budgets are" if len(verdicts) > 1 else "budget is"
    return (
        f"{over} of {len(verdicts)} {several} exceeded."
        if over
        else f"{len(verdicts)} of {len(verdicts)} {several} kept."
    )


def _is_over(verdict: Verdict) -> bool:
    return verdict.over


def _place(report: Report, verdict: Verdict) -> str:
    """Which module a budget is of; the root, whose path is empty, goes by the model's name."""
    return "" if verdict.path is None else f" of {verdict.path or report.name}"


def _row(report: Report, verdict: Verdict) -> list[str]:
    metric, limit = METRICS[verdict.budget.metric], verdict.budget.limit
    used = percentage(verdict.used, limit) if limit else "-"
    return [
        metric.title + _place(report, verdict),
        grouped(verdict.used),
        grouped(limit),
        used,
        "over" if verdict.over else "kept",
    ]


def _blame(report: Report, verdict: Verdict) -> list[list[str]]:
    return [[path or report.name, grouped(size), share(size, verdict.used)] for path, size in verdict.heaviest]
