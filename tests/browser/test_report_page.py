"""The page of a report in a browser: it shows the report's numbers, and does what its controls say."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from fxprof.report import OpProfile, Report
from fxprof.units import share, short, short_bytes
from tests.browser.conftest import Open
from tests.browser.models import HOSTILE, hostile, many

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MODELS = ("resnet", "swin", "llm")


@pytest.fixture(params=MODELS)
def report(request: pytest.FixtureRequest) -> Report:
    """Each of the models in turn."""
    return request.getfixturevalue(request.param)


def tab(page: Page, name: str) -> Locator:
    """Choose one of the tables; give its panel."""
    button = page.get_by_role("tab", name=name, exact=True)
    button.click()
    panel = page.locator(f"#{button.get_attribute('aria-controls')}")
    panel.locator("tr[data-index]").first.wait_for()
    return panel


def cells(panel: Locator) -> list[dict[str, str]]:
    """Every row of a table by column, as on a screen high enough for all of them."""
    found: list[list[str]] = panel.evaluate(
        """async (panel) => {
            const box = panel.querySelector(".window");
            const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            box.style.maxHeight = "none";
            box.style.height = `${panel.querySelector("table").ariaRowCount * 26 + 100}px`;
            await frame();
            const rows = [...panel.querySelectorAll("tr[data-index]")]
                .map((row) => [...row.cells].map((cell) => cell.textContent));
            box.style.maxHeight = box.style.height = "";
            await frame();
            return rows;
        }"""
    )
    heads = panel.locator("thead th").all_inner_texts()
    return [dict(zip(heads, row)) for row in found]


def drawing(page: Page, label: str) -> Locator:
    """A chart by its name."""
    return page.get_by_role("application", name=label)


def said(page: Page, kind: str = "icicle") -> str:
    """What the page says about the bar or point in question."""
    return page.locator(f".{kind} .said").inner_text()


def inside(path: str, scope: str) -> bool:
    """Whether a module is another one or below it."""
    return path == scope or path.startswith(f"{scope}.")


# -- the numbers -------------------------------------------------------------------------------


def test_totals(open_page: Open, report: Report) -> None:
    """Every total is there with every digit, and shortened as everywhere else."""
    text = open_page(report.to_html()).locator("section.figures").inner_text()
    for count in ("macs", "flops", "params", "activations"):
        assert f"{short(getattr(report, count))}\n{getattr(report, count):,}\n" in text
    assert f"{short_bytes(report.peak_bytes)}\n{report.peak_bytes:,}\nbytes" in text
    for size in ("param_bytes", "activation_bytes", "bytes_accessed", "buffer_bytes"):
        assert f"{getattr(report, size):,}{short_bytes(getattr(report, size))}" in text.replace(" \n", "")
    assert f"{report.intensity:.2f}" in text


def test_tables(open_page: Open, report: Report) -> None:
    """Ops, types and calls show the report's numbers, their shares, and their sums."""
    page = open_page(report.to_html())
    for name, first, costs in (("Ops", "Op", report.by_op()), ("Module types", "Type", report.by_type())):
        panel = tab(page, name)
        found = {row[first]: (row["MACs"], row["FLOPs"], row["of MACs"]) for row in cells(panel)}
        wanted = {key: (f"{c.macs:,}", f"{c.flops:,}", share(c.macs, report.macs)) for key, c in costs.items()}
        assert {key: row for key, row in found.items() if row[1] != "0"} == {
            key: row for key, row in wanted.items() if row[1] != "0"
        }
        assert {f"{report.macs:,}", f"{report.flops:,}", f"{report.params:,}"} <= set(
            panel.locator("tfoot td").all_inner_texts()
        )
    found_calls = cells(tab(page, "Op calls"))
    assert [(row["Call"], row["Module"], row["MACs"], row["Activations"], row["Source"]) for row in found_calls] == [
        (op.name, op.module, f"{op.macs:,}", f"{op.activations:,}", op.source.rpartition("/")[2]) for op in report.ops
    ]


def test_modules_unfold(open_page: Open, resnet: Report) -> None:
    """Unfolded, the tree shows every module with its numbers; folded by key, one row stands for what is below."""
    page = open_page(resnet.to_html())
    table = tab(page, "Modules").locator("table")
    table.focus()
    page.keyboard.press("*")
    rows = [row for row in cells(page.get_by_role("tabpanel")) if row["Module"] != "(own)"]
    modules = [module for _, module in resnet.walk()]
    assert [(row["Module"], row["MACs"], row["Parameters"], row["Activations"]) for row in rows] == [
        (module.name or resnet.name, f"{module.macs:,}", f"{module.params:,}", f"{module.activations:,}")
        for module in modules
    ]
    page.keyboard.press("ArrowLeft")
    assert [row["Module"] for row in cells(page.get_by_role("tabpanel"))] == ["resnet50"]
    assert table.locator("tr.here").get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowRight")
    assert len(cells(page.get_by_role("tabpanel"))) == 167


# -- what the controls do ----------------------------------------------------------------------


def test_sorting(open_page: Open, resnet: Report) -> None:
    """A heading sorts largest first, then smallest first, then as executed; the heading says which."""
    page = open_page(resnet.to_html())
    panel = tab(page, "Op calls")
    head = panel.locator("th", has_text="FLOPs").first
    expected: list[tuple[str | None, Callable[[OpProfile], int]]] = [
        ("descending", lambda op: -op.flops), ("ascending", lambda op: op.flops), (None, lambda op: 0),
    ]  # fmt: skip
    for order, key in expected:
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        assert [row["Call"] for row in cells(panel)] == [op.name for op in sorted(resnet.ops, key=key)]
    panel.get_by_role("button", name="Op", exact=True).click()
    names = [row["Op"] for row in cells(panel)]
    assert names == sorted(names)


def test_sorting_keeps_the_tree(open_page: Open, resnet: Report) -> None:
    """In the tree siblings are sorted, and every row stays below its parent."""
    page = open_page(resnet.to_html())
    panel = tab(page, "Modules")
    panel.get_by_role("button", name="MACs", exact=True).click()
    names = [row["Module"] for row in cells(panel)]
    heaviest = [module.name for module in sorted(resnet.root.children, key=lambda module: -module.macs)]
    assert names[0] == "resnet50"
    assert [name for name in names if not name.isdigit()][1:] == heaviest
    assert names[names.index("layer3") + 1 :][:6] == list("012345")


def test_filtering(open_page: Open, resnet: Report) -> None:
    """Words narrow the rows to those that hold all of them, and the sums to these rows."""
    page = open_page(resnet.to_html())
    panel = tab(page, "Op calls")
    panel.get_by_role("searchbox").fill("layer3 CONV2D")
    ops = [op for op in resnet.ops if op.op == "conv2d" and op.module.startswith("layer3.")]
    assert [row["Call"] for row in cells(panel)] == [op.name for op in ops]
    assert f"{sum(op.macs for op in ops):,}" in panel.locator("tfoot").inner_text()
    assert panel.locator("output").inner_text() == f"{len(ops)} of {len(resnet.ops)} rows"
    panel.get_by_role("searchbox").fill("no such words")
    assert cells(panel) == []
    panel.get_by_role("searchbox").fill("")
    assert len(cells(panel)) == len(resnet.ops)


def test_zooming(open_page: Open, resnet: Report) -> None:
    """A click on a bar zooms the tree and narrows the tables to that module; Esc widens both again."""
    page = open_page(resnet.to_html())
    area = drawing(page, "Where it goes")
    box = area.bounding_box()
    assert box is not None
    layer3 = resnet.by_module()["layer3"]
    before = sum(cost.macs for path, cost in resnet.by_module(1).items() if path in ("conv1", "layer1", "layer2"))
    middle = (before + layer3.macs / 2) / resnet.macs
    area.click(position={"x": box["width"] * middle, "y": 26 * 1.5})
    part = share(layer3.macs, resnet.macs)
    assert said(page).startswith(f"layer3 · Sequential · {layer3.macs:,} multiply-accumulates, {part} of the model")
    assert page.locator(".trail button").all_inner_texts() == ["resnet50", "layer3"]
    calls = cells(tab(page, "Op calls"))
    assert [row["Call"] for row in calls] == [op.name for op in resnet.ops if inside(op.module, "layer3")]
    area.focus()
    page.keyboard.press("Escape")
    assert page.locator(".trail button").all_inner_texts() == ["resnet50"]
    assert len(cells(page.get_by_role("tabpanel"))) == len(resnet.ops)


def test_measures(open_page: Open, report: Report) -> None:
    """Every measure of the tree starts from the report's total."""
    page = open_page(report.to_html())
    totals = {
        "MACs": report.macs, "FLOPs": report.flops, "Parameters": report.params, "Activations": report.activations,
        "Parameter bytes": report.param_bytes, "Activation bytes": report.activation_bytes,
        "Bytes accessed": report.bytes_accessed,
    }  # fmt: skip
    assert page.locator(".choices label").all_inner_texts() == list(totals)
    for name, total in totals.items():
        page.get_by_role("radio", name=name, exact=True).check()
        assert f" {total:,} " in said(page)


def test_repeated_blocks_are_one_bar(open_page: Open, llm: Report) -> None:
    """Eighty layers that are alike are one bar, whose share is that of all of them."""
    page = open_page(llm.to_html())
    drawing(page, "Where it goes").focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
        if "layers" not in said(page):
            page.keyboard.press("ArrowRight")
    layer, layers = llm.by_module()["layers.0"], llm.by_module()["layers"]
    assert said(page).startswith(f"layers.0 and 79 alike · Block · {layer.macs:,} multiply-accumulates each")
    assert f" {share(layers.macs, llm.macs)} of the model" in said(page)


def test_intensity(open_page: Open, swin: Report) -> None:
    """The points are the ops with MACs; a ridge divides their MACs exactly."""
    page = open_page(swin.to_html())
    ops = sorted((op for op in swin.ops if op.macs), key=lambda op: (Fraction(op.flops, op.bytes_accessed), op.macs))
    drawing(page, "Arithmetic intensity").focus()
    page.keyboard.press("ArrowRight")
    assert said(page, "chart").startswith(ops[0].op)
    assert f"{ops[0].macs:,} MACs" in said(page, "chart")
    page.get_by_label("Ridge").fill("30")
    left = sum(op.macs for op in ops if op.flops < 30 * op.bytes_accessed)
    assert said(page, "chart") == f"{left:,} MACs ({share(left, swin.macs)}) lie left of 30"


# -- for everyone ------------------------------------------------------------------------------


def test_hostile_names_are_text(open_page: Open) -> None:
    """Markup in names is shown as it is, in every part of the page."""
    page = open_page(hostile().to_html())
    assert page.evaluate("document.images.length") == 0
    assert page.locator("h1").inner_text() == HOSTILE
    page.get_by_role("application").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert HOSTILE in said(page)
    assert page.locator(".trail").inner_text().count(HOSTILE) == 2
    for name in ("Modules", "Module types", "Ops", "Op calls"):
        assert HOSTILE in tab(page, name).inner_text()
    assert "?" in [row["MACs"] for row in cells(page.get_by_role("tabpanel"))]
    drawing(page, "Arithmetic intensity").focus()
    page.keyboard.press("ArrowRight")
    assert HOSTILE in said(page, "chart")
    assert HOSTILE in page.locator(".tip").inner_text()
    assert page.evaluate("document.images.length") == 0


def test_keyboard_alone(open_page: Open, resnet: Report) -> None:
    """Tab reaches every control, each shows that it has the focus, and the keys do what the mouse does."""
    page = open_page(resnet.to_html())
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        where, outlined = page.evaluate(
            """() => {
                const at = document.activeElement;
                const shown = at.type === "radio" ? at.nextElementSibling : at;
                return [at.getAttribute("role") || at.type || at.tagName, getComputedStyle(shown).outlineStyle];
            }"""
        )
        if where == "BODY":
            break
        reached.append(where)
        assert outlined == "solid", where
    assert {"radio", "application", "tab", "search", "treegrid", "number", "button"} <= set(reached)
    drawing(page, "Where it goes").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".trail button").all_inner_texts() == ["resnet50", "layer2"]
    page.get_by_role("tab", name="Modules", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("tab", selected=True).inner_text() == "Op calls"


CONTRAST = """() => {
    const seen = [];
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = (at) => {
        for (; at; at = at.parentElement) {
            const colour = rgb(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    for (const at of document.querySelectorAll("h1, h2, p, dt, dd, dd span, li, label, td, th button, [role=tab]")) {
        if (!at.innerText?.trim() || !at.checkVisibility()) continue;
        const [a, b] = [light(rgb(getComputedStyle(at).color)), light(paper(at))].sort((x, y) => y - x);
        seen.push([(a + 0.05) / (b + 0.05), at.tagName, at.innerText.slice(0, 20)]);
    }
    return seen;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(open_page: Open, resnet: Report, scheme: str) -> None:
    """The page follows the system's colours, and every text stands out from its ground (WCAG AA)."""
    page = open_page(resnet.to_html(), color_scheme=scheme)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 100
    assert [entry for entry in contrasts if entry[0] < 4.5] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")


def test_on_paper(open_page: Open, resnet: Report) -> None:
    """Printed from a dark screen the page is light, with every row of the table and without the controls."""
    page = open_page(resnet.to_html(), color_scheme="dark")
    tab(page, "Op calls")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 980})  # A4 within its margins
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("[role=tabpanel]:visible tr[data-index]").count() == len(resnet.ops)
    assert page.get_by_role("searchbox").count() == 0
    assert page.locator("body").evaluate("body => body.scrollWidth <= innerWidth")
    assert page.pdf().startswith(b"%PDF")


def test_on_a_phone(open_page: Open, report: Report) -> None:
    """At phone width nothing sticks out: tables scroll within themselves."""
    page = open_page(report.to_html(), viewport={"width": 360, "height": 740})
    for name in ("Modules", "Op calls"):
        tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_ten_thousand_ops(open_page: Open) -> None:
    """A report of 10,000 ops fits 5 MB, and only what is in view is in the document."""
    report = many(1000)
    text = report.to_html()
    assert len(report.ops) == 10_000
    assert len(text) < 5_000_000
    page = open_page(text)
    panel = tab(page, "Op calls")
    panel.get_by_role("button", name="MACs", exact=True).click()
    heaviest = sorted(report.ops, key=lambda op: -op.macs)[:10]
    assert panel.locator("tr[data-index] td:first-child").all_inner_texts()[:10] == [op.name for op in heaviest]
    assert page.evaluate("document.querySelectorAll('tr').length") < 400
    panel.locator("table").focus()
    page.keyboard.press("End")
    assert panel.locator("tr.here").get_attribute("aria-rowindex") == "10001"
