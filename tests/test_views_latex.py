"""Tables for a paper: every number within its rounding, every name as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fxprof.cli
from fxprof.report import Report
from fxprof.units import parse
from fxprof.views import compare, latex, sweep
from fxprof.views.rows import BY, rows
from fxprof.views.text import safe
from tests.commands import fails
from tests.strategies import hand_made
from tests.test_compare import pair
from tests.test_sweep import made
from tests.test_views_formats import NAMES, hostile

# What a name may hold: letters that LaTeX prints as they are, or commands that stand for the others.
_COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciigrave{}": "`", r"\textquotesingle{}": "'",
    r"\ldots{}": "…", r"$\to$": "→", **{f"\\{char}": char for char in "#$%&_{}"},
}  # fmt: skip
_PIECE = re.compile("|".join(map(re.escape, _COMMANDS)) + r"|[^\\#$%&_{}~^<>|`'…→]")


def printed(text: str) -> str:
    """The letters that LaTeX would print for an escaped name; fails where it would read anything else."""
    pieces = _PIECE.findall(text)
    assert "".join(pieces) == text
    return "".join(_COMMANDS.get(piece, piece) for piece in pieces)


def table(text: str) -> Iterator[list[str]]:
    """The cells of each row, the titles first; comments above the one table are left out."""
    lines = [line for line in text.split("\n") if not line.startswith("%")]
    assert (lines[0][:16], lines[-1]) == (r"\begin{tabular}{", r"\end{tabular}")
    for line in lines[1:-1]:
        if line not in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert line.endswith(r" \\")
            yield re.split(r"(?<!\\)& ", line.removesuffix(r" \\") + " ")


@pytest.mark.parametrize("by", BY)
def test_the_numbers_are_those_of_the_rows(report: Report, by: str) -> None:
    """A count is within half of its last digit, is 0 only where it is, and "?" where it is not known."""
    titles, *found = ([cell.strip() for cell in row] for row in table(report.to_latex(by=by)))
    listed = rows(report, by=by)
    assert len(found) == len(listed) + (by != "module")
    for name, title in (("params", "Parameters"), ("macs", "MACs"), ("flops", "FLOPs")):
        at = next(i for i, text in enumerate(titles) if text.startswith(title))
        unit = parse("1" + titles[at].partition("(")[2].rstrip(")"))
        for row, cells in zip(listed, found):
            value = getattr(row, name)
            if cells[at] == "?":
                assert not row.counted
            elif cells[at].startswith("$<$"):
                assert 0 < value < 0.005 * unit
            else:
                assert abs(float(cells[at]) * unit - value) <= 0.005 * unit * (unit > 1)
                assert float(cells[at]) > 0 or not value


@given(st.text())
def test_a_name_is_printed_as_it_is(name: str) -> None:
    """Nothing in it is a command, a comment, a ligature or the end of a cell."""
    inner = latex.code(name).removeprefix(r"\texttt{").removesuffix("}")
    assert printed(inner) == safe(name)


@pytest.mark.parametrize("name", [*NAMES, "\n\\end{tabular}\\input{x}", "100% & more \\\\"])
def test_no_name_gets_out_of_its_cell(name: str) -> None:
    """Whatever modules, ops, types and inputs are called, each row has a cell per column, and each comment one line."""
    report = hostile(name)
    texts = [report.to_latex(by=by) for by in BY]
    texts += [compare.to_latex(pair(hand_made(), report)), sweep.to_latex(made(report, {(1, 2): 3}))]
    texts.append(sweep.to_latex(replace(made(report, {(1, 2): 3}), model=name)))
    for text in texts:
        assert len({len(row) for row in table(text)}) == 1


def test_golden(report: Report, check_golden: Callable[[str, str], None]) -> None:
    """The whole text of a comparison: a row per model."""
    check_golden("compare.tex", compare.to_latex(pair(report, hand_made())))


def test_the_measures_of_a_comparison(saved: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """``--metric`` chooses the columns, in its order; modules have no place there."""
    args = ["compare", "report.json", "report.json", "--format", "latex"]
    assert fxprof.cli.main([*args, "--metric", "macs", "--metric", "params"]) == 0
    titles, first, second = table(capsys.readouterr().out.rstrip("\n"))
    assert [title.strip() for title in titles] == ["Model", "MACs (k)", "Parameters"]
    assert (first[0], second[0]) == (r"\texttt{report.json} ", r"\texttt{report.json (2)} ")
    assert "latex has a row per model, and no modules: leave out --depth" in fails(capsys, *args, "--depth", "1")


def test_totals_far_apart_have_units_of_their_own() -> None:
    """Where one unit would leave nothing of the smallest, each total has the digits that matter."""
    assert latex.measured("macs", [1_814_073_344, 4_089_184_256]).title == "MACs (G)"
    far = latex.measured("macs", [1_814_073, 4_089_184_256, None])
    assert (far.title, far.texts) == ("MACs", [r"1.81\,M", r"4.09\,G", "?"])
    assert latex.measured("peak_bytes", [1 << 20, 3 << 30, 0]).texts == [r"1.00\,MiB", r"3.00\,GiB", r"0\,B"]
