"""Columns of text for a terminal: aligned, fitted to its width, lines in its colours."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from tabulate import tabulate

from fxprof.views.listing import Column
from fxprof.views.text import fit, safe

_NARROWEST = 20  # of a name
_NARROWEST_PROSE = 24
BOLD, DIM, RED, GREEN, YELLOW = 1, 2, 31, 32, 33


def paint(text: str, *codes: int, on: bool = True) -> str:
    """Wrap a text in the terminal's codes, where there are any and they are wanted."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if on and codes and text else text


def prose(lines: Sequence[str], width: int | None, *codes: int, on: bool = False) -> list[str]:
    """Sentences broken at the width, in these codes where they are wanted."""
    broken = [
        part for line in lines for part in (textwrap.wrap(line, width, break_on_hyphens=False) if width else [line])
    ]
    return [paint(part, *codes, on=on) for part in broken]


def table(
    columns: Sequence[Column],
    cells: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    colour: bool = False,
    codes: Callable[[int], tuple[int, ...]] = lambda _: (),
) -> str:
    """Titles, a rule, one line per row in the ``codes`` of its index, and what had to go to fit the width.

    Names give way first, then whole columns that can be spared; no number is ever shortened.
    """
    kept, shown = _fitted(columns, [[safe(cell) for cell in row[: len(columns)]] for row in cells], width)
    title, rule, *rows = _lines(kept, shown)
    body = [paint(line, *codes(index), on=colour) for index, line in enumerate(rows)]
    left_out = [column.title for column in columns if column not in kept]
    note = prose([f"Left out to fit the width: {', '.join(left_out)}."] if left_out else [], width, DIM, on=colour)
    whole = [paint(title, BOLD, on=colour), paint(rule, DIM, on=colour), *body]
    return "\n".join([*whole, "", *note] if note else whole)


def plain(rows: Sequence[Sequence[str]], rights: Sequence[int] = (), width: int | None = None) -> str:
    """Rows aligned without titles; the columns in ``rights`` to the right, the last one broken at the width."""
    align = ["right" if index in rights else "left" for index in range(len(rows[0]))]
    used = sum(max(len(row[index]) for row in rows) + 2 for index in range(len(rows[0]) - 1))
    shown = [[*row[:-1], _broken(row[-1], width and max(width - used, _NARROWEST))] for row in rows]
    return tabulate(shown, tablefmt="plain", disable_numparse=True, colalign=align)


def _broken(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(textwrap.wrap(text, width))


def _fitted(
    columns: Sequence[Column], cells: list[list[str]], width: int | None
) -> tuple[Sequence[Column], list[list[str]]]:
    if width is None or not cells:
        return columns, cells
    kept = list(range(len(columns)))
    while True:
        chosen, shown = [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]
        excess = _shorten(chosen, shown, width)
        spare = max(kept, key=lambda index: columns[index].spare)
        if excess <= 0 or not columns[spare].spare:
            return chosen, _wrapped(chosen, shown, width)
        kept.remove(spare)


def _shorten(columns: Sequence[Column], cells: list[list[str]], width: int) -> int:
    """Shorten names, in the order of their columns and none below a readable rest; return what is still too much."""
    widths = _widths(columns, cells)
    widths = [min(size, _NARROWEST_PROSE) if column.prose else size for column, size in zip(columns, widths)]
    excess = sum(widths) + 2 * (len(columns) - 1) - width
    for index, column in enumerate(columns):
        limit = max(_NARROWEST, len(column.title) + 2, widths[index] - excess)
        if column.name and excess > 0 and limit < widths[index]:
            excess -= widths[index] - limit
            for row in cells:
                row[index] = fit(row[index], limit)
    return excess


def _widths(columns: Sequence[Column], cells: list[list[str]]) -> list[int]:
    """The width of each column; tabulate gives a title two more than it has letters."""
    return [max(len(c.title) + 2, *(len(row[index]) for row in cells)) for index, c in enumerate(columns)]


def _wrapped(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[list[str]]:
    """Prose broken to the room that the other columns leave."""
    widths = _widths(columns, cells)
    fixed = sum(size for column, size in zip(columns, widths) if not column.prose) + 2 * (len(columns) - 1)
    room = max(_NARROWEST_PROSE, (width - fixed) // max(1, sum(column.prose for column in columns)))
    return [[_broken(text, room) if c.prose else text for c, text in zip(columns, row)] for row in cells]


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    titles = [column.title for column in columns]
    align = ["right" if column.right else "left" for column in columns]
    text = tabulate(cells, titles, tablefmt="simple", disable_numparse=True, colalign=align if cells else None)
    return text.split("\n")
