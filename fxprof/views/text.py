"""Names made safe to print: a module path comes from a model, which may come from anywhere."""

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


def fit(name: str, width: int) -> str:
    """Shorten in the middle, so that both the owner and the leaf of a path stay readable.

    >>> fit("layer1.0.downsample.0", 12)
    'layer1…ple.0'
    """
    if len(name) <= width:
        return name
    head = width // 2
    return name[:head] + "…" + name[len(name) - (width - head - 1) :] if width > 1 else "…"


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
