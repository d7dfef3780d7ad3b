"""HTML: one self-contained file that opens offline, with every number of a report reachable in it.

    parts.py     what a page is made of: figures, notes, tables, charts, as plain data
    page.py      title and parts -> the file: skeleton, style, scripts, one block of escaped JSON
    report.py    Report -> parts, and so the page of a report
    static/      the template, the style and the scripts, one per kind of part
    vendor/      Apache ECharts, which draws the charts; its README says how the file was built

Other views make pages of their own: ``page(title, [Figures(...), Table(...), Chart(...)])``.
Needs jinja2, named by the extra ``fxprof[html]``.
"""

from fxprof.views.html.page import page
from fxprof.views.html.parts import Axis, Chart, Column, Figure, Figures, Notes, Part, Series, Table, Tabs
from fxprof.views.html.report import render

__all__ = [
    "Axis", "Chart", "Column", "Figure", "Figures", "Notes", "Part", "Series", "Table", "Tabs", "page", "render",
]  # fmt: skip
