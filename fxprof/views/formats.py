"""The formats of a report, by name: how each is rendered, which options it takes, which file suffix means it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fxprof.errors import InputError
from fxprof.report import Report
from fxprof.views import dot, frame, html, latex, markdown, stacks, table

_LISTING = ("by", "depth", "top", "sort")


@dataclass(frozen=True, slots=True)
class Format:
    """``render(report, **options)`` for the options named; ``suffix`` is that of its files."""

    suffix: str
    render: Callable[..., str]
    options: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "table": Format(".txt", table.render, (*_LISTING, "width", "colour")),
    "json": Format(".json", lambda report: report.to_json(indent=2)),
    "markdown": Format(".md", markdown.render, _LISTING),
    "latex": Format(".tex", latex.render, _LISTING),
    "csv": Format(".csv", frame.to_csv, _LISTING),
    "html": Format(".html", html.render),
    "dot": Format(".dot", dot.to_dot, ("by", "depth")),
    "mermaid": Format(".mmd", dot.to_mermaid, ("by", "depth")),
    "speedscope": Format(".speedscope.json", stacks.to_speedscope),
    "folded": Format(".folded", stacks.to_folded),
}


def render(report: Report, form: str, **options: Any) -> str:
    """Render in a format. Options that are None are left out; raises InputError on one the format lacks."""
    wanted = {name: value for name, value in options.items() if value is not None}
    for name in wanted:
        if name not in FORMATS[form].options:
            takers = [other for other, entry in FORMATS.items() if name in entry.options]
            raise InputError(f"{name} goes with the formats {', '.join(takers)}, got {form}")
    return FORMATS[form].render(report, **wanted)
