"""Names made safe to print, and as wide as a terminal shows them: a module path may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterable


def safe(name: str) -> str:
    r"""Escape what would move the cursor, break the line or reverse the text.

    >>> safe("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)


def wide(text: str) -> int:
    r"""The columns of a terminal that a printable text takes: two for what East Asia writes, none for marks.

    >>> wide("layer1"), wide("卷积"), wide("e\u0301")
    (6, 4, 1)
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # its tables are read when the first such text comes

    return wcswidth(text)


def fit(name: str, width: int) -> str:
    """Shorten in the middle, so that both the owner and the leaf of a path stay readable.

    >>> fit("layer1.0.downsample.0", 12), fit("卷积层.卷积层", 8)
    ('layer1…ple.0', '卷积…层')
    """
    if wide(name) <= width:
        return name
    head = width // 2
    return f"{_start(name, head)}…{_start(name[::-1], width - head - 1)[::-1]}"


def wrapped(text: str, width: int) -> list[str]:
    """Break at blanks, and within what is wider than a line.

    >>> wrapped("Never reached by the forward: head.", 20), wrapped("卷积层", 4)
    (['Never reached by the', 'forward: head.'], ['卷积', '层'])
    """
    width = max(width, 2)  # the least that takes every letter
    lines, line = [], ""
    for word in text.split(" "):
        if line and wide(line) + 1 + wide(word) <= width:
            line += " " + word
            continue
        lines.append(line)
        while wide(word) > width:
            lines.append(_start(word, width))
            word = word.removeprefix(lines[-1])
        line = word
    return [shown for shown in (*lines, line) if shown]


def _start(text: str, room: int) -> str:
    """As much of a text as fits."""
    if text.isascii():
        return text[:room]
    end = next((end for end in range(1, len(text) + 1) if wide(text[:end]) > room), len(text) + 1)
    return text[: end - 1]


def listed(names: Iterable[str], limit: int = 5) -> str:
    r"""Join the first few, safe to print, and count the rest.

    >>> listed("abcdefg", 3), listed(["a\r"])
    ('a, b, c and 4 more', 'a\\r')
    """
    names = list(names)
    hidden = len(names) - limit
    shown = ", ".join(map(safe, names[:limit]))
    if hidden <= 0:
        return shown
    return f"{shown} and {hidden:,} more" if shown else f"{hidden:,} more"
