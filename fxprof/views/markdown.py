"""Markdown: the listing, the totals and the notes, as a pull request shows them.

A name becomes code, which no markdown, HTML, mention or link can get out of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fxprof.garbage import no_garbage_collection
from fxprof.report import Report
from fxprof.views import notes
from fxprof.views.listing import Column, cells, columns, depth_hint, inputs, totals
from fxprof.views.rows import rows
from fxprof.views.text import safe

# Sentences made of these alone hold nothing that markdown reads.
_HARMLESS = re.compile(r"(?!.*(?:www\.|\b_|_\b))[\w ,.;:()'?…^=+-]*")


@no_garbage_collection()
def render(
    report: Report, *, by: str = "module", depth: int | None = None, top: int | None = None, sort: str | None = None
) -> str:
    """Render header, listing, totals and notes; options as ``rows``."""
    titles = columns(by)
    found = rows(report, by=by, depth=depth, top=top, sort=sort)
    shown = []
    for row in found:
        texts = [code(text) if column.name else text for column, text in zip(titles, cells(report, row))]
        texts[0] = "· " * row.depth + texts[0]
        shown.append(texts)
    whole = [Column("Total"), Column("", right=True), Column("", right=True), Column("")]
    foot = [*notes.semantics(report), *notes.certainty(report), *depth_hint(report, by, depth, top)]
    parts = [
        f"{code(report.name)}: {code(inputs(report))}",
        table(titles, shown),
        table(whole, totals(report)),
        "\n".join(f"- {sentence(line)}" for line in foot),
    ]
    return "\n\n".join(parts)


def table(titles: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are markdown already."""
    rule = ["--:" if column.right else ":--" for column in titles]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([column.title for column in titles], rule, *rows))


def code(name: str) -> str:
    """A name as code, also in a cell of a table; nothing stays nothing.

    >>> code("layer1.0"), code("a|b"), code("")
    ('`layer1.0`', '<code>a&#124;b</code>', '')
    """
    name = safe(name)
    if not re.search(r"[`|\\]|^ | $", name):
        return f"`{name}`" if name else ""
    return "<code>" + re.sub(r"[^\w. ]|_|^ | $", lambda match: f"&#{ord(match[0])};", name) + "</code>"


def sentence(text: str) -> str:
    """A sentence as it is, or as code where a name in it could be read as markdown.

    >>> sentence("Never reached by the forward: head."), sentence("Never reached by the forward: <img>.")
    ('Never reached by the forward: head.', '`Never reached by the forward: <img>.`')
    """
    return text if text in notes.SEMANTICS or _HARMLESS.fullmatch(text) else code(text)
