"""The HTML page as text: what is in it, that nothing in it is markup by accident, and what it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

import fxprof.cli
from fxprof.errors import InputError
from fxprof.report import ModuleInfo, Report
from fxprof.tree import Sums
from fxprof.views.html import Axis, Chart, Column, Notes, Series, Table, Tabs, page, render
from fxprof.views.html.report import parts
from fxprof.views.html.tree import opened, tree
from fxprof.views.rows import rows
from tests.commands import ROOT, fails
from tests.strategies import reports

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """The elements of a page, in order, and the text of the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note what a script says."""
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)


def data_of(text: str) -> dict[str, Any]:
    """The data block of a page."""
    return json.loads(Elements(text).scripts[0])


def decoded(values: dict[str, Any]) -> list[Any]:
    """A column as the page's script reads it."""
    return [values["words"][code] for code in values["codes"]] if "words" in values else values["values"]


@settings(max_examples=30)
@given(reports())
def test_the_tree_adds_up(report: Report) -> None:
    """Nodes hold the totals of their modules, the root the report's, and children add up to their parent."""
    nodes = list(tree(report))
    totals = {name: getattr(report, name) for name in Sums._fields}
    assert {name: nodes[0][name] for name in Sums._fields} == totals
    costs = report.by_module()
    for index, node in enumerate(nodes):
        below = []
        for other in nodes[index + 1 :]:
            if other.depth <= node.depth:
                break
            if other.depth == node.depth + 1:
                below.append(other)
        if below:
            assert all(sum(child[name] for child in below) == node[name] for name in Sums._fields)
        if node.name != "(own)":
            assert (node["macs"], node["flops"]) == (costs[node.path].macs, costs[node.path].flops)


@settings(max_examples=30)
@given(reports())
def test_opened_nodes_add_up_to_their_ops(report: Report) -> None:
    """Where a node opens into ops, each op is there once, and they add up to what the node holds itself."""
    nodes = list(opened(tree(report)))
    for index, node in enumerate(nodes):
        if len(node.ops) > 1:
            below = nodes[index + 1 : index + 1 + len(node.ops)]
            assert [(child.name, child.path) for child in below] == [(op.op, node.path) for op in node.ops]
            for name in Sums._fields:
                if not name.startswith("param"):
                    assert sum(child[name] for child in below) == node[name]


@settings(max_examples=30)
@given(reports())
def test_every_number_of_the_table_is_in_the_data(report: Report) -> None:
    """The tables of the page hold the rows that the text table prints."""
    (tabs,) = (part for part in parts(report) if isinstance(part, Tabs))
    for by, table in zip(("type", "op", "node"), tabs.tables[1:]):
        columns = {column["title"]: column for column in json.loads(json.dumps(table.data()))["columns"]}
        found = rows(report, by=by)
        assert decoded(columns["MACs"]) == [row.macs if row.counted else None for row in found]
        assert decoded(columns["FLOPs"]) == [row.flops if row.counted else None for row in found]
        assert decoded(columns["Parameters"]) == [row.params for row in found]
        assert decoded(columns["Activations"]) == [row.activations for row in found]


def test_hostile_names_stay_text() -> None:
    """A name that looks like markup adds no element and ends no script."""
    modules = (ModuleInfo("", HOSTILE), ModuleInfo(HOSTILE, HOSTILE))
    plain, hostile = (
        Elements(render(Report(name, (), (), found)))
        for name, found in (("net", (ModuleInfo("", "Net"), ModuleInfo("a", "A"))), (HOSTILE, modules))
    )
    assert [tag for tag, _ in hostile.seen] == [tag for tag, _ in plain.seen]
    assert len(hostile.scripts) == len(plain.scripts) == 3
    assert HOSTILE in json.dumps(json.loads(hostile.scripts[0]))


def test_nothing_is_fetched(report: Report) -> None:
    """No element names an address, and the policy forbids every fetch."""
    elements = Elements(render(report)).seen
    addresses = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert addresses == ["data:,"]
    policy = next(a["content"] for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "script-src 'sha256-" in policy


def test_numbers_beyond_a_browsers_own_travel_as_digits() -> None:
    """What a double cannot hold is sent as text, so that every digit arrives."""
    table = Table("t", [Column("n", [2**53 - 1, 2**53 + 1, None], "count")])
    assert data_of(page("p", [table]))["part-0"]["columns"][0]["values"] == [2**53 - 1, str(2**53 + 1), None]


def test_a_page_without_drawings_has_no_script() -> None:
    """Notes alone need neither script nor library."""
    text = page("p", [Notes("n", ["one"])])
    assert "<script" not in text
    assert "script-src 'none'" in text


def test_columns_must_be_equally_long() -> None:
    """A table with a missing cell is refused by name."""
    with pytest.raises(InputError, match=r"columns of a table must be equally long, got \[1, 2\] in 'sizes'"):
        Table("sizes", [Column("a", [1]), Column("b", [1, 2])])


def test_charts_keep_their_points() -> None:
    """A chart's data are its points."""
    chart = Chart("c", [Series("s", [(1, 10), (2, 20)], ["a", "b"])], Axis("x"), Axis("y"))
    (series,) = data_of(page("p", [chart]))["part-0"]["series"]
    assert (series["x"], series["y"], decoded(series["labels"])) == ([1, 2], [10, 20], ["a", "b"])


# -- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["--format", "html"], ["-o", "x.html"]])
def test_a_saved_report_becomes_html(saved: Path, capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    """``--format html`` prints the page, a file of that suffix receives it."""
    assert fxprof.cli.main(["report", "report.json", *args]) == 0
    printed = Path("x.html").read_text(encoding="utf-8") if "-o" in args else capsys.readouterr().out
    assert printed == Report.from_dict(json.loads(saved.read_text())).to_html() + "\n"


def test_html_needs_no_torch(saved: Path) -> None:
    """A saved report becomes a page without importing torch."""
    code = (
        "import sys; from fxprof.cli import main; assert main(['report', 'report.json', '-o', 'x.html']) == 0;"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_html_without_its_extra(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without jinja2 one sentence names the extra."""
    from fxprof.views.html.page import _environment

    _environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "pip install 'fxprof[html]'" in fails(capsys, "report", "report.json", "--format", "html")
