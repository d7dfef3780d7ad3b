r"""LaTeX: a table for a paper, with the rules of booktabs.

A column of counts has one unit, in its title, and two decimals, so that its digits stand below each other; rounding
never prints 0 for what is not. Every digit of the totals, and how sure they are, stands in comments above the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fxprof.garbage import no_garbage_collection
from fxprof.measures import TOTALS
from fxprof.report import Report
from fxprof.units import aligned, short, short_bytes
from fxprof.views import listing, notes
from fxprof.views.rows import Row, rows
from fxprof.views.text import safe

_SPECIAL = {
    **{char: f"\\{char}" for char in "#$%&_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\ldots{}",
    "→": r"$\to$", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
}  # fmt: skip
_INDENT = r"\quad "
_COUNTS = {"Parameters": "params", "MACs": "macs", "FLOPs": "flops", "Activations": "activations"}


@dataclass(frozen=True, slots=True)
class Column:
    """A title and a text for every row, LaTeX already."""

    title: str
    texts: Sequence[str]
    right: bool = True


@no_garbage_collection()
def render(
    report: Report, *, by: str = "module", depth: int | None = None, top: int | None = None, sort: str | None = None
) -> str:
    """Render a listing with its total below it, unless its first row is that; options as ``rows``."""
    shown = rows(report, by=by, depth=depth, top=top, sort=sort)
    tree = by == "module" and top is None
    if not tree:
        shown.append(listing.whole(report, by))
    cells = zip(*(listing.cells(report, row) for row in shown))
    columns = [_column(column, texts, shown) for column, texts in zip(listing.columns(by), cells)]
    columns[0] = replace(columns[0], texts=[_INDENT * row.depth + code(row.name) for row in shown])
    said = [f"{report.name}: {listing.inputs(report)}", *totals(report), *notes.certainty(report)]
    said += listing.depth_hint(report, by, depth, top)
    return document(said, columns, total=not tree)


def _column(column: listing.Column, texts: Sequence[str], shown: Sequence[Row]) -> Column:
    if name := _COUNTS.get(column.title):
        return counts(column.title, [None if text == "?" else getattr(row, name) for row, text in zip(shown, texts)])
    if column.title == "of MACs":
        return Column(r"of MACs (\%)", [figure(text.removesuffix(" %")) for text in texts])
    written = code if column.name else shape
    return Column(column.title, list(map(written, texts)), column.right)


# -- of any view -------------------------------------------------------------------------------


def document(said: Iterable[str], columns: Sequence[Column], *, total: bool = False) -> str:
    """Comments and a table; with ``total``, a rule above its last row."""
    comments = [f"% {safe(line)}" for line in (*said, r"Needs \usepackage{booktabs}.")]
    lines = [" & ".join(texts) + r" \\" for texts in zip(*(column.texts for column in columns))]
    if total:
        lines.insert(-1, r"\midrule")
    places = "".join("r" if column.right else "l" for column in columns)
    titles = " & ".join(column.title for column in columns) + r" \\"
    table = [
        rf"\begin{{tabular}}{{{places}}}",
        r"\toprule",
        titles,
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*comments, *table])


def totals(report: Report) -> list[str]:
    """Every total in full, a line each."""
    return [
        f"{name}: {full}{f' ({short})' if short not in ('', full) else ''}"
        for name, full, short, _ in listing.totals(report)
    ]


def measured(name: str, values: Sequence[float | None]) -> Column:
    """A column of one of the totals of reports, by the name that a report has for it."""
    if name == "intensity":
        return Column(TOTALS[name], ["?" if value is None else f"{value:.2f}" for value in values])
    whole = [None if value is None else int(value) for value in values]
    binary = name.endswith("_bytes")
    known = [value for value in whole if value]
    if not known or max(known) < 1000 * min(known):
        return counts(TOTALS[name], whole, binary=binary)
    # No unit suits them all, and what one total is next to another is what matters: each has its own.
    written = short_bytes if binary else short
    return Column(TOTALS[name], ["?" if value is None else written(value).replace(" ", r"\,") for value in whole])


def counts(title: str, values: Sequence[int | None], *, binary: bool = False) -> Column:
    """A column of counts, or of bytes; None, which is not known, prints as a question mark."""
    unit, texts = aligned([value for value in values if value is not None], binary=binary)
    found = iter(texts)
    return Column(
        f"{escaped(title)} ({unit})" if unit else escaped(title),
        ["?" if value is None else figure(next(found)) for value in values],
    )


def figure(text: str) -> str:
    """A number, with what it is less or more than in mathematics."""
    return f"${text[0]}${text[1:]}" if text.startswith(("<", ">")) else text


def shape(text: str) -> str:
    r"""A shape with crosses.

    >>> print(shape("1x64x7:float16"))
    $1\times64\times7$:float16
    """
    parts = re.split(r"(\d+(?:x\d+)+)", text)
    parts[::2] = map(escaped, parts[::2])
    parts[1::2] = [f"${part}$".replace("x", r"\times") for part in parts[1::2]]
    return "".join(parts)


def code(name: str) -> str:
    """A name in the letters of a typewriter; nothing stays nothing."""
    return rf"\texttt{{{escaped(name)}}}" if name else ""


def escaped(text: str) -> str:
    """A text without what LaTeX reads as its own."""
    return "".join(_SPECIAL.get(char, char) for char in safe(text))
