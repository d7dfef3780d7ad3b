"""Columns of text for a terminal: aligned, fitted to its width, lines in its colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tabulate import tabulate

from fxprof.views.listing import Column
from fxprof.views.text import fit, safe, wide, wrapped

_NARROWEST = 20  # of a name
_LEAST = 11  # of one, where all that can be spared is gone
_NARROWEST_PROSE = 24
_NARROWEST_TITLE = 10
BOLD, DIM, RED, GREEN, YELLOW = 1, 2, 31, 32, 33


def paint(text: str, *codes: int, on: bool = True) -> str:
    """Wrap a text in the terminal's codes, where there are any and they are wanted."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if on and codes and text else text


def prose(lines: Sequence[str], width: int | None, *codes: int, on: bool = False) -> list[str]:
    """Sentences broken at the width, in these codes where they are wanted."""
    broken = [part for line in lines for part in (wrapped(line, width) if width else [line])]
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

    Names give way first, then titles that are names, then whole columns that can be spared; no number is shortened.
    """
    texts = [[safe(cell) for cell in row[: len(columns)]] for row in cells]
    kept, shown, left_out = _fitted(columns, texts, width)
    title, rule, *rows = _lines(kept, shown)
    body = [paint(line, *codes(index), on=colour) for index, line in enumerate(rows)]
    note = prose([f"Left out to fit the width: {', '.join(left_out)}."] if left_out else [], width, DIM, on=colour)
    whole = [paint(title, BOLD, on=colour), paint(rule, DIM, on=colour), *body]
    return "\n".join([*whole, "", *note] if note else whole)


def plain(rows: Sequence[Sequence[str]], rights: Sequence[int] = (), width: int | None = None) -> str:
    """Rows aligned without titles, the columns in ``rights`` to the right; the last is broken at the width.

    Where next to nothing is left for it, its texts stand below their rows.
    """
    *sizes, last = [max(map(wide, column)) for column in zip(*rows)]
    room = last if width is None else width - sum(size + 2 for size in sizes)
    if room < min(last, _NARROWEST):
        beside, below = [row[:-1] for row in rows], [wrapped(row[-1], (width or 0) - 2) for row in rows]
        lines = _aligned(beside, rights)
        return "\n".join(line for row, more in zip(lines, below) for line in (row, *(f"  {part}" for part in more)))
    shown = [[*row[:-1], "\n".join(wrapped(row[-1], room))] for row in rows]
    return "\n".join(_aligned(shown, rights))


def _aligned(rows: Sequence[Sequence[str]], rights: Sequence[int]) -> list[str]:
    """One line per line of a row, two blanks between columns."""
    align = ["right" if index in rights else "left" for index in range(len(rows[0]))]
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align).split("\n")


def _fitted(
    columns: Sequence[Column], cells: list[list[str]], width: int | None
) -> tuple[Sequence[Column], list[list[str]], list[str]]:
    """Columns and cells that fit, and the titles of the columns that had to go."""
    if width is None:
        return columns, cells, []
    kept = list(range(len(columns)))
    while True:
        chosen, shown = [columns[i] for i in kept], [[row[i] for i in kept] for row in cells]
        excess = _shorten(chosen, shown, width)
        spare = max(kept, key=lambda index: columns[index].spare)
        if excess <= 0 or not columns[spare].spare:
            _shorten(chosen, shown, width, _LEAST)
            left_out = [column.title for index, column in enumerate(columns) if index not in kept]
            return chosen, _wrapped(chosen, shown, width), left_out
        kept.remove(spare)


def _shorten(columns: list[Column], cells: list[list[str]], width: int, least: int = _NARROWEST) -> int:
    """Shorten names, the widest first and none below a rest; return what is still too much."""
    widths = _widths(columns, cells)
    widths = [min(size, _NARROWEST_PROSE) if column.prose else size for column, size in zip(columns, widths)]
    excess = sum(widths) + 2 * (len(columns) - 1) - width
    rest = {
        index: max(least, wide(column.title) + 2)
        for index, column in enumerate(columns)
        if column.name and not (column.last and least > _LEAST)
    }
    room = {index: widths[index] for index in rest}
    while excess > 0 and (longer := [index for index in rest if room[index] > rest[index]]):
        room[max(longer, key=room.__getitem__)] -= 1
        excess -= 1
    for index in (index for index in room if room[index] < widths[index]):
        for row in cells:
            row[index] = fit(row[index], room[index])
    return excess and _shorten_titles(columns, cells, widths, excess)


def _shorten_titles(columns: list[Column], cells: list[list[str]], widths: Sequence[int], excess: int) -> int:
    """Shorten the titles that are names; two that become alike are numbered. Return what is still too much."""
    given: dict[str, int] = {}
    for index, column in enumerate(columns):
        limit = max([_NARROWEST_TITLE, widths[index] - excess, *(wide(row[index]) for row in cells)])
        if column.label and excess > 0 and limit < widths[index]:
            excess -= widths[index] - limit
            title = fit(column.title, limit - 2)
            given[title] = given.get(title, 0) + 1
            if given[title] > 1:
                number = f" ({given[title]})"
                title = fit(column.title, limit - 2 - len(number)) + number
            columns[index] = replace(column, title=title)
    return excess


def _widths(columns: Sequence[Column], cells: list[list[str]]) -> list[int]:
    """The width of each column; tabulate gives a title two more than it has letters."""
    return [
        max([wide(column.title) + 2, *(wide(line) for row in cells for line in row[index].split("\n"))])
        for index, column in enumerate(columns)
    ]


def _wrapped(columns: Sequence[Column], cells: list[list[str]], width: int) -> list[list[str]]:
    """Prose broken to the room that the other columns leave."""
    widths = _widths(columns, cells)
    fixed = sum(size for column, size in zip(columns, widths) if not column.prose) + 2 * (len(columns) - 1)
    room = max(_LEAST, (width - fixed) // max(1, sum(column.prose for column in columns)))
    return [["\n".join(wrapped(text, room)) if c.prose else text for c, text in zip(columns, row)] for row in cells]


def _lines(columns: Sequence[Column], cells: list[list[str]]) -> list[str]:
    titles = [column.title for column in columns]
    align = ["right" if column.right else "left" for column in columns]
    text = tabulate(cells, titles, tablefmt="simple", disable_numparse=True, colalign=align if cells else None)
    return text.split("\n")
