"""The parts of a page that other views fill in, in a browser: charts of lines, and columns of every kind."""

from __future__ import annotations

from fxprof.records import ModuleInfo
from fxprof.report import Report
from fxprof.views.html import Axis, Chart, Column, Figure, Figures, Notes, Part, Series, Table, page
from tests.browser.conftest import Open
from tests.browser.models import HOSTILE

POINTS = [(192, 3_004_841_984), (224, 4_089_184_256), (256, 2**53 + 1)]


def test_lines(open_page: Open) -> None:
    """The arrow keys walk along all lines from left to right, and say every point in full."""
    series = [Series("one", POINTS), Series(HOSTILE, [(x, 2 * y) for x, y in POINTS])]
    shown = open_page(page("sweep", [Chart("Growth", series, Axis("size"), Axis("MACs"))]))
    shown.get_by_role("application").focus()
    told = []
    for _ in range(7):
        shown.keyboard.press("ArrowRight")
        told.append(shown.locator(".said").inner_text())
    wanted = [
        f"{each.name}, {factor * y:,} MACs, {x} size"
        for x, y in POINTS
        for each, factor in zip(series, (1, 2))
    ]  # fmt: skip
    assert told == [*wanted, wanted[0]]


def test_columns(open_page: Open) -> None:
    """Each kind of column is written in its own way and sorted by what it means, what is missing last."""
    table = Table(
        "Kinds",
        [
            Column("Name", ["b10", "b9", None, HOSTILE]),
            Column("Place", ["a/very/long/folder/net.py:9", "", "net.py:1", "x.py:10"], "source"),
            Column("Count", [2**53 + 4, 0, None, 2**53 + 5], "count", added=True),
            Column("Delta", [1000, -1000, 0, None], "delta"),
            Column("Ratio", [0.5, 1234.567, None, 3.0], "ratio"),
            Column("Share", [1, 3, 0, 4], "share", whole=4),
            Column("Change", ["+10.0 %", "-20.0 %", "new", "+9.5 %"], "figure"),
        ],
    )
    shown = open_page(page("kinds", [table]))

    def column(title: str) -> list[str]:
        at = [c.title for c in table.columns].index(title) + 1
        return shown.locator(f"tbody td:nth-child({at}):not(.space *)").all_inner_texts()

    assert column("Name") == ["b10", "b9", "?", HOSTILE]
    assert column("Place") == ["net.py:9", "", "net.py:1", "x.py:10"]
    assert column("Count") == ["9,007,199,254,740,996", "0", "?", "9,007,199,254,740,997"]
    assert shown.locator("tfoot").inner_text().split("\t")[2] == "18,014,398,509,481,993"
    assert column("Delta") == ["+1,000", "-1,000", "0", "?"]
    assert column("Ratio") == ["0.50", "1,234.57", "?", "3.00"]
    assert column("Share") == ["25.0 %", "75.0 %", "0 %", "100 %"]
    for title, wanted in (
        ("Name", [HOSTILE, "b9", "b10", "?"]),
        ("Count", ["9,007,199,254,740,997", "9,007,199,254,740,996", "0", "?"]),
        ("Delta", ["+1,000", "0", "-1,000", "?"]),
        ("Change", ["new", "+10.0 %", "+9.5 %", "-20.0 %"]),
    ):
        shown.get_by_role("button", name=title, exact=True).click()
        assert column(title) == wanted


def test_without_drawings(open_page: Open) -> None:
    """Numbers and notes need no script."""
    parts: list[Part] = [Figures("Totals", [Figure("MACs", 12_345, leads=True)]), Notes("How sure", ["Exact."])]
    shown = open_page(page("plain", parts), java_script_enabled=False)
    assert "12.3 k\n12,345" in shown.locator("dl").first.inner_text()


def test_reports_of_next_to_nothing(open_page: Open) -> None:
    """A model without ops, and one without a name, are pages like any other."""
    for name, modules in (("", (ModuleInfo("", "Net"),)), ("net", (ModuleInfo("", "Net"), ModuleInfo("a", "A")))):
        shown = open_page(Report(name, (), (), modules).to_html())
        assert shown.locator("tr[data-index]:visible").count() == len(modules)
        shown.get_by_role("tab", name="Op calls").click()
        assert shown.get_by_role("tabpanel").locator("output").inner_text() in ("", "0 rows")
