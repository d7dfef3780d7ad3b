"""DOT and Mermaid: the dataflow for Graphviz, and for a markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fxprof.report import Report
from fxprof.views.graph import Drawing, drawing
from fxprof.views.text import safe


def to_dot(report: Report, *, by: str = "module", depth: int | None = None) -> str:
    """Draw the dataflow in the DOT language; options as ``drawing``."""
    drawn = drawing(report, by=by, depth=depth)
    lines = [
        f"digraph {_quoted([drawn.name])} {{",
        "  compound=true; node [shape=box, style=rounded, fontname=Helvetica]; edge [fontname=Helvetica, fontsize=10];",
        *_dot_boxes(drawn),
        *(f"  n{source} -> n{target} [label={_quoted([shapes])}];" for source, target, shapes in drawn.arrows),
        "}",
    ]
    return "\n".join(lines)


def _dot_boxes(drawn: Drawing) -> Iterable[str]:
    for count, (kind, path, boxes) in enumerate(drawn.groups()):
        if kind == "close":
            if path:
                yield "  }"
            continue
        if path:
            yield f"  subgraph cluster{count} {{ label={_quoted([path])};"
        for index in boxes:
            shape = ", shape=ellipse" if drawn.boxes[index].input else ""
            yield f"  n{index} [label={_quoted(drawn.boxes[index].lines)}{shape}];"


def _quoted(lines: Iterable[str]) -> str:
    """Lines as one string of DOT, in which only quotes and backslashes mean something."""
    escaped = (re.sub(r'(["\\])', r"\\\1", safe(line)) for line in lines if line)
    return '"' + r"\n".join(escaped) + '"'


def to_mermaid(report: Report, *, by: str = "module", depth: int | None = None) -> str:
    """Draw the dataflow as a Mermaid flowchart; options as ``drawing``. GitHub draws no more than 500 arrows."""
    drawn = drawing(report, by=by, depth=depth)
    lines = [
        "flowchart TD",
        *_mermaid_boxes(drawn),
        *(f"  n{source} -->{_passing(shapes)} n{target}" for source, target, shapes in drawn.arrows),
    ]
    return "\n".join(lines)


def _mermaid_boxes(drawn: Drawing) -> Iterable[str]:
    for count, (kind, path, boxes) in enumerate(drawn.groups()):
        if kind == "close":
            if path:
                yield "  end"
            continue
        if path:
            yield f"  subgraph g{count} [{_text([path])}]"
        for index in boxes:
            left, right = ("([", "])") if drawn.boxes[index].input else ("[", "]")
            yield f"  n{index}{left}{_text(drawn.boxes[index].lines)}{right}"


def _passing(shapes: str) -> str:
    return f"|{_text([shapes])}|" if shapes else ""


def _text(lines: Iterable[str]) -> str:
    """Lines as one string of Mermaid, which reads HTML and markdown in it: anything unusual becomes a number."""
    escaped = (re.sub(r"[^\w ,.:()/-]", lambda match: f"#{ord(match[0])};", safe(line)) for line in lines if line)
    return '"' + "<br/>".join(escaped) + '"'
