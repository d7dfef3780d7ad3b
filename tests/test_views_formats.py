"""Every format with every option, on reports that went through JSON: sums kept, names never read as markup."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from torch import nn

import fxprof
from fxprof.budget import Budget
from fxprof.budget import check as verdicts
from fxprof.dataflow import edges
from fxprof.errors import InputError
from fxprof.report import Cost, InputProfile, ModuleInfo, OpProfile, Report, TensorSpec
from fxprof.views import check, compare, sweep
from fxprof.views.formats import FORMATS, render
from fxprof.views.frame import frame, guarded
from fxprof.views.graph import drawing
from fxprof.views.rows import BY, SORT, SUMMED
from tests.commands import ROOT
from tests.strategies import hand_made, reports
from tests.test_compare import pair
from tests.test_sweep import made

OPTIONS: dict[str, tuple[Any, ...]] = {
    "by": (None, *BY), "depth": (None, 0, 2), "top": (None, 1), "sort": (None, *SORT), "width": (None, 60),
    "colour": (None, True),
}  # fmt: skip
HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = (HOSTILE, "=1+cmd|' /C calc'!A0", "a|b`c*_d_[e](f)", '"];n0-->"x', "@someone #1 www.example.com", "\\", "&lt;")


def options_of(form: str) -> Iterator[dict[str, Any]]:
    """Every combination of the options that a format takes and that go together."""
    taken = FORMATS[form].options
    for chosen in itertools.product(*(OPTIONS[name] for name in taken)):
        options = {name: value for name, value in zip(taken, chosen) if value is not None}
        drawn = form in ("dot", "mermaid")
        depth_goes = options.get("by", "module") in (("module",) if drawn else ("module", "type"))
        if (depth_goes or "depth" not in options) and not (drawn and options.get("by") in ("type", "op")):
            yield options


@pytest.mark.parametrize("form", FORMATS)
def test_every_option(report: Report, form: str) -> None:
    """Each format renders with any options it takes, in lines that a terminal can show."""
    tried = 0
    for options in options_of(form):
        text = render(report, form, **options)
        assert text and not text.endswith("\n")
        plain = re.sub(r"\x1b\[[\d;]*m", "", text) if options.get("colour") else text
        assert all(line.isprintable() for line in plain.split("\n")) or form == "html"
        tried += 1
    assert tried >= 1


@pytest.mark.parametrize("form", ["csv", "dot", "json", "folded"])
def test_options_that_a_format_lacks(report: Report, form: str) -> None:
    """An option that would be ignored is refused."""
    with pytest.raises(InputError, match=f"width goes with the formats table, got {form}"):
        render(report, form, width=80)


@pytest.mark.parametrize("form", ["markdown", "csv", "latex", "dot", "mermaid", "speedscope", "folded"])
def test_golden(report: Report, check_golden: Callable[[str, str], None], form: str) -> None:
    """The whole text, as a user sees it."""
    check_golden(f"report{FORMATS[form].suffix}", render(report, form))


def test_formats_need_no_torch(report: Report) -> None:
    """Each format renders a saved report in an interpreter that never imports torch."""
    code = (
        "import sys, json; from fxprof.report import Report; from fxprof.views.formats import FORMATS, render\n"
        "report = Report.from_dict(json.load(sys.stdin))\n"
        "assert all(render(report, form) for form in FORMATS) and report.to_networkx()\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=report.to_json(), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_many_nodes() -> None:
    """Ten thousand ops in a chain render in every format without running out of stack."""
    x = TensorSpec((2, 2), "float32")
    ops = tuple(
        OpProfile(f"op{i}", "relu", f"b.{i % 100}", (x,), (x,), Cost(macs=1, flops=2), (f"op{i - 1}" if i else "x",),
                  (f"op{i}",), 32)
        for i in range(10_000)
    )  # fmt: skip
    modules = ("", "b", *(f"b.{i}" for i in range(100)))
    report = Report("long", (InputProfile("x", x),), ops, tuple(ModuleInfo(path, "Block", 1) for path in modules))
    for form in set(FORMATS) - {"json", "html"}:
        assert render(report, form, **({"by": "node"} if "by" in FORMATS[form].options else {}))
    assert len(report.critical_path()) == 10_000


# -- sums --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(reports(), st.sampled_from(BY), st.sampled_from([None, 2]))
def test_csv_and_pandas_sum_to_the_totals(report: Report, by: str, top: int | None) -> None:
    """The columns of a flat listing, and the rows of the tree that have no row below them, add up to the totals."""
    titles, rows = frame(report, by=by, top=top)
    at = {title: index for index, title in enumerate(titles)}
    if by == "module" and top is None:
        depths = [row[at["depth"]] for row in rows]
        rows = [row for row, here, below in zip(rows, depths, [*depths[1:], 0]) if below <= here]
    for name in SUMMED:
        assert sum(row[at[name]] or 0 for row in rows) == getattr(report, name)
    table = report.to_pandas(by=by, top=top)
    assert list(table.columns) == titles
    assert by == "module" or int(table["macs"].sum()) == report.macs
    back = list(csv.reader(io.StringIO(report.to_csv(by=by, top=top))))
    assert back[0] == titles and len(back) == len(table) + 1


@settings(max_examples=40)
@given(reports())
def test_stacks_sum_to_the_totals(report: Report) -> None:
    """The weights of each flame graph add up, and each stack is the op's module path."""
    data = json.loads(report.to_speedscope())
    totals = (report.macs, report.flops, report.activation_bytes, report.bytes_accessed)
    assert tuple(sum(profile["weights"]) for profile in data["profiles"]) == totals
    assert all(len(profile["weights"]) == len(profile["samples"]) for profile in data["profiles"])
    assert sum(int(line.rpartition(" ")[2]) for line in report.to_folded().split("\n") if line) == report.macs


@pytest.mark.parametrize("by", BY)
def test_markdown_has_the_numbers_of_the_table(report: Report, by: str) -> None:
    """A reader of Markdown sees a table whose MACs add up as they do in the terminal."""
    rows = list(cells(report.to_markdown(by=by, depth=9 if by in ("module", "type") else None)))
    at = rows[0].index("MACs")
    found = [int(row[at].replace(",", "").replace("?", "0")) for row in rows[1:] if len(row) == len(rows[0])]
    assert found[0] == report.macs if by == "module" else sum(found) == report.macs


def cells(text: str) -> Iterator[list[str]]:
    """The texts of each row of each table, as a parser of GitHub's Markdown reads them."""
    row: list[str] = []
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        if token.type == "tr_open":
            row = []
        elif token.type == "inline" and token.level > 3:
            row.append("".join(shown(child) for child in token.children or ()))
        elif token.type == "tr_close":
            yield row


def shown(token: Any) -> str:
    """What a reader sees of an inline token; a piece of HTML other than <code> is kept, so that it is noticed."""
    return "" if token.content in ("<code>", "</code>") and token.type == "html_inline" else str(token.content)


# -- graphs ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(reports())
def test_the_graph_holds_the_report(report: Report) -> None:
    """Every input and op is a node with its cost, every reading of one an edge, and time flows forward."""
    graph = report.to_networkx()
    order = [*(entry.name for entry in report.inputs), *(op.name for op in report.ops)]
    assert list(graph) == order
    assert sum(data.get("macs") or 0 for _, data in graph.nodes(data=True)) == report.macs
    assert all(order.index(source) < order.index(target) for source, target in graph.edges)
    for op in report.ops:
        assert {arg for arg in op.args if arg in graph} <= set(graph.predecessors(op.name))


@settings(max_examples=40)
@given(reports())
def test_the_critical_path_is_the_heaviest(report: Report) -> None:
    """No chain of edges has more MACs than the critical path, by networkx' own longest path."""
    path = report.critical_path()
    linked = {(edge.source, edge.target) for edge in edges(report)}
    assert all((a.name, b.name) in linked for a, b in itertools.pairwise(path))
    graph: nx.DiGraph[tuple[str, str]] = nx.DiGraph()
    for op in report.ops:
        graph.add_edge(("before", op.name), ("after", op.name), weight=op.macs)
    names = {op.name for op in report.ops}
    graph.add_edges_from((("after", a), ("before", b), {"weight": 0}) for a, b in linked if a in names)
    assert sum(op.macs for op in path) == nx.dag_longest_path_length(graph)


@settings(max_examples=40)
@given(reports(), st.integers(0, 4))
def test_a_drawing_by_module_has_every_op_once(report: Report, depth: int) -> None:
    """Modules at the cut with what is below them, and those above with what they run: MACs are drawn once."""
    drawn = drawing(report, depth=depth)
    boxes = [box for box in drawn.boxes if not box.input]
    assert len(boxes) == len({tuple(op.module.split(".")[:depth]) if op.module else () for op in report.ops})
    indices = [index for kind, _, boxes in drawn.groups() if kind == "open" for index in boxes]
    assert sorted(indices) == list(range(len(drawn.boxes)))


def test_writes_in_place_order_what_reads_them() -> None:
    """What reads a tensor after an in-place write depends on the op that wrote, in the traced order."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            y[0] = x.sum()
            view = y[1:]
            view.add_(1)
            return y.exp()

    report = fxprof.analyze(Net(), (4, 4))
    graph = report.to_networkx()
    exp = next(op.name for op in report.ops if op.op == "exp")
    assert {graph.nodes[name].get("op") for name in nx.ancestors(graph, exp)} >= {"sum", "setitem", "add", "mul"}


def test_drawings_refuse_what_they_cannot(report: Report) -> None:
    """A graph by type is none."""
    with pytest.raises(InputError, match="a graph is drawn by module or by node, got by='type'"):
        report.to_dot(by="type")
    with pytest.raises(InputError, match="depth goes with by='module', got by='node'"):
        report.to_mermaid(by="node", depth=2)
    with pytest.raises(InputError, match="depth must be a whole number, 0 or more, got -1"):
        report.to_mermaid(depth=-1)


def test_pandas_is_asked_for(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pandas, one sentence says what to install."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"to_pandas needs pandas, .*: pip install pandas"):
        report.to_pandas()


# -- hostile names -----------------------------------------------------------------------------


def hostile(name: str) -> Report:
    """The hand-made report with this name for the model, a module, its type, an op, a node, an input and a note."""
    report = hand_made()
    part = name.replace(".", "_")

    def there(path: str) -> str:
        return part if path == "body" else f"{part}{path.removeprefix('body')}" if path.startswith("body.") else path

    modules = tuple(
        replace(info, path=there(info.path), type=name if info.path == "body" else info.type) for info in report.modules
    )
    ops = [replace(op, module=there(op.module)) for op in report.ops]
    ops[-1] = replace(ops[-1], name=name, op=name)
    bounds = (replace(report.bounds[0], op=name, what=name, module=part),)
    inputs = (InputProfile("x", report.inputs[0].spec), InputProfile(part + "2", report.inputs[0].spec))
    made = replace(report, name=name, ops=tuple(ops), modules=modules, bounds=bounds, outputs=(name,), inputs=inputs)
    return Report.from_dict(json.loads(made.to_json()))


def markdowns(report: Report) -> Iterator[str]:
    """Every Markdown that can hold a name."""
    yield from (report.to_markdown(by=by) for by in BY)
    yield compare.to_markdown(pair(hand_made(), report))
    yield sweep.to_markdown(replace(made(report, {(1, 2): 3}), model=report.name))
    yield check.to_markdown(report, verdicts(report, [Budget("macs", 1), Budget("macs", 1, "*")]))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_markdown_is_text(name: str) -> None:
    """A parser of Markdown finds no markup in it, only code with exactly the name."""
    for text in markdowns(hostile(name)):
        found = list(every(MarkdownIt("gfm-like", {"linkify": False}).parse(text)))
        html = {token.content for token in found if token.type in ("html_inline", "html_block")}
        assert html <= {"<code>", "</code>"}
        assert not {token.type for token in found} & {"link_open", "image", "em_open", "strong_open", "s_open"}
        assert name in "".join(shown(token) for token in found)
        outside = "".join(token.content for token in found if token.type == "text")
        assert "@someone" not in outside or "<code>" in html


def every(tokens: list[Any]) -> Iterator[Any]:
    """Inline tokens and all others, but not the source of the inline ones."""
    for token in tokens:
        yield from every(token.children) if token.children else ()
        if token.type != "inline":
            yield token


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_csv_is_no_formula(name: str) -> None:
    """No cell begins as a formula does, and the name is there, behind an apostrophe if need be."""
    report = hostile(name)
    texts = [*(report.to_csv(by=by) for by in BY), compare.to_csv(pair(hand_made(), report))]
    for text in texts:
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows}) == 1
        assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert guarded(name) in [cell for row in csv.reader(io.StringIO(report.to_csv(by="node"))) for cell in row]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", " =1", "'=1", "\t=1"])
def test_guards(text: str) -> None:
    """Whatever a spreadsheet may run is guarded."""
    assert guarded(text).startswith("'") or guarded(text).lstrip()[:1] not in "=+-@"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ["module", "node"])
def test_a_name_in_a_graph_is_text(name: str, by: str) -> None:
    """DOT has as many statements as before, Mermaid no markup, each label the name itself."""
    report, plain = hostile(name), hostile("plain")
    dot = report.to_dot(by=by)
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', dot)
    assert bare == re.sub(r'"(?:[^"\\]|\\.)*"', '""', plain.to_dot(by=by))
    labels = [re.sub(r"\\(.)", r"\1", label) for label in re.findall(r'"((?:[^"\\]|\\.)*)"', dot)]
    assert any(label.startswith(name) for label in labels)
    mermaid = report.to_mermaid(by=by)
    assert re.sub(r'"[^"]*"', '""', mermaid) == re.sub(r'"[^"]*"', '""', plain.to_mermaid(by=by))
    texts = [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), text) for text in re.findall(r'"([^"]*)"', mermaid)]
    assert any(text.startswith(name) for text in texts)
    assert not re.search(r"[<>`&]", mermaid.replace("<br/>", "").replace("-->", ""))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_flame_graph_is_text(name: str) -> None:
    """It is the name of one frame; folded stacks keep one frame per part of the path."""
    report = hostile(name)
    frames = [frame["name"] for frame in json.loads(report.to_speedscope())["shared"]["frames"]]
    assert name in frames
    assert {line.rpartition(" ")[0].count(";") for line in report.to_folded().split("\n")} == {4}


@pytest.mark.parametrize("name", [*NAMES, "a\nb", "\x1b[31m", "\u202eabc"])
def test_a_name_in_a_terminal_stays_in_its_line(name: str) -> None:
    """No name breaks a line, moves the cursor or turns the text around, in any text format."""
    for form in set(FORMATS) - {"html", "json"}:
        assert all(line.isprintable() for line in render(hostile(name), form).split("\n"))
