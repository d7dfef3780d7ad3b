"""Columns of text for a terminal: aligned, names shortened to its width, lines in its colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tabulate import tabulate

from fxprof.views.listing import Column
from fxprof.views.text import fit, safe

_NARROWEST = 12
BOLD, DIM, RED, GREEN, YELLOW = 1, 2, 31, 32, 33


def paint(text: str, *codes: int, on: bool = True) -> str:
    """Wrap a text in the terminal's codes, where there are any and they are wanted."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if on and codes and text else text


def grid(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """The lines of a table: titles, a rule, one line per row. Names give way to ``width``, numbers never."""
    shown = [[safe(cell) for cell in row[: len(columns)]] for row in cells]
    lines = _lines(columns, shown)
    # Names give way in the order of their columns, none below a readable rest.
    for index, column in enumerate(columns):
        excess = 0 if width is None else max(map(len, lines)) - width
        if excess <= 0:
            break
        if column.name and shown:
            limit = max(_NARROWEST, max(len(row[index]) for row in shown) - excess)
            for row in shown:
                row[index] = fit(row[index], limit)
            lines = _lines(columns, shown)
    return lines


def painted(lines: Sequence[str], codes: Callable[[int], tuple[int, ...]], *, on: bool) -> list[str]:
    """A grid in colour: bold titles, a dim rule, and the codes that each row (by its index) asks for."""
    if not on:
        return list(lines)
    title, rule, *rows = lines
    body = [paint(line, *codes(index)) for index, line in enumerate(rows)]
    return [paint(title, BOLD), paint(rule, DIM), *body]


def plain(rows: Sequence[Sequence[str]], rights: Sequence[int] = ()) -> str:
    """Rows aligned without titles; the columns in ``rights`` to the right."""
    align = ["right" if index in rights else "left" for index in range(len(rows[0]))]
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    titles = [column.title for column in columns]
    align = ["right" if column.right else "left" for column in columns]
    text = tabulate(cells, titles, tablefmt="simple", disable_numparse=True, colalign=align if cells else None)
    return text.split("\n")
