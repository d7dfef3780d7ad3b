"""The pages of comparisons and sweeps in a browser: the numbers are there, sorting works, a name is text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fxprof.compare import Comparison
from fxprof.units import grouped
from fxprof.views.pages import compare_page, sweep_page
from tests.browser.conftest import Open
from tests.strategies import hand_made
from tests.test_compare import changed, pair
from tests.test_sweep import made

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("name", ["net", HOSTILE])
def test_a_comparison(open_page: Open, name: str) -> None:
    """Both totals and the difference stand in the page, and a heading sorts the modules."""
    before, after = hand_made(), replace(changed(), name=name)
    page = open_page(compare_page(Comparison(("before", name), (before, after))))
    assert page.get_by_role("heading", level=1).inner_text() == f"before and {name}"
    totals = page.locator("tr[data-index]").filter(has_text="MACs").first.inner_text().split("\t")
    assert [cell.strip() for cell in totals][:4] == ["MACs", *map(grouped, (before.macs, after.macs)), "+18,432"]
    assert page.locator("img").count() == 0
    table = page.locator("table").nth(1)
    differences = table.locator("tr[data-index] td:nth-child(6)")
    assert differences.all_inner_texts() == ["-512", "-512", "+18,432", "+37,376"]
    table.get_by_text("Difference").click()
    assert differences.first.inner_text() in ("+37,376", "-512")


def test_a_sweep(open_page: Open) -> None:
    """A chart per total that changes, and a row per point."""
    sweep = made(hand_made(), {(batch, size): 10 * batch * size**2 for batch in (1, 2) for size in (4, 6, 8)})
    page = open_page(sweep_page(sweep))
    page.locator("canvas, svg").first.wait_for()
    assert "MACs grow with size^2.00." in page.locator("body").inner_text()
    rows = [row.split("\t")[:4] for row in page.locator("tr[data-index]").all_inner_texts()]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [str(batch), str(size), "336", grouped(10 * batch * size**2)] for batch in (1, 2) for size in (4, 6, 8)
    ]


def test_nothing_that_differs(open_page: Open) -> None:
    """Two equal reports make a page that says so."""
    page = open_page(compare_page(pair(hand_made(), hand_made())))
    assert "None." in page.locator("body").inner_text()
