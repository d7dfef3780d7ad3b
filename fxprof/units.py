"""Numbers for people: grouping, decimal and binary prefixes, shares, and reading them back.

Counts take decimal prefixes (``4.09 G``), bytes binary ones (``97.5 MiB``). Whatever is exact in
a Report stays exact here: ``grouped`` loses nothing, and rounding never turns into a claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

_DECIMAL = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_NUMBER = re.compile(r"(\d[\d,_]*(?:\.\d+)?|\.\d+)\s*([kKMGTPEZY]?)(i?)B?")


def grouped(count: int) -> str:
    """Write every digit, in groups of three.

    >>> grouped(4089184256)
    '4,089,184,256'
    """
    return f"{count:,}"


def short(count: int) -> str:
    """Write three significant digits and a decimal prefix; whole numbers below 1,000 as they are.

    >>> short(4089184256), short(25557032), short(999_999), short(512)
    ('4.09 G', '25.6 M', '1.00 M', '512')
    """
    return _scaled(count, 1000, _DECIMAL).rstrip()


def short_bytes(size: int) -> str:
    """Write three significant digits and a binary prefix.

    >>> short_bytes(102_228_128), short_bytes(1023), short_bytes(1024)
    ('97.5 MiB', '1023 B', '1.00 KiB')
    """
    return _scaled(size, 1024, _BINARY)


def aligned(counts: Sequence[int], *, binary: bool = False) -> tuple[str, list[str]]:
    """Write all with the prefix that suits the largest, and two decimals; only nothing prints ``0``.

    >>> aligned([25557032, 2049000, 128, 0])
    ('M', ['25.56', '2.05', '<0.01', '0'])
    >>> aligned([999_996, 12]), aligned([12, 7]), aligned([1536, 512], binary=True)
    (('M', ['1.00', '<0.01']), ('', ['12', '7']), ('KiB', ['1.50', '0.50']))
    """
    base, names = (1024, _BINARY) if binary else (1000, _DECIMAL)
    most, power = max(counts, default=0), 0
    # What would round up to the next prefix belongs to it.
    while power < len(names) - 1 and most >= (base if power == 0 else (base - Fraction(1, 200)) * base**power):
        power += 1
    if power == 0:
        return names[0], [str(count) for count in counts]
    return names[power], [_two_decimals(count, base**power) for count in counts]


def share(part: int, whole: int) -> str:
    """Write a percentage with one digit; only nothing prints ``0 %`` and only everything ``100 %``.

    >>> share(1, 3), share(0, 7), share(7, 7), share(1, 100_000), share(99_999, 100_000)
    ('33.3 %', '0 %', '100 %', '<0.1 %', '>99.9 %')
    """
    if part == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    tenths = round(Fraction(part * 1000, whole))
    if tenths < 1:
        return "<0.1 %"
    return ">99.9 %" if tenths > 999 else f"{tenths // 10}.{tenths % 10} %"


def percentage(part: int, whole: int) -> str:
    """Write a ratio that may exceed the whole, with one digit; only equality prints ``100.0 %``, and nothing ``0.0 %``.

    >>> percentage(4089184256, 4000000000), percentage(1, 3), percentage(100_001, 100_000), percentage(5, 5)
    ('102.2 %', '33.3 %', '>100.0 %', '100.0 %')
    >>> percentage(58, 1_000_000), percentage(0, 7)
    ('<0.1 %', '0.0 %')
    """
    tenths = round(Fraction(part * 1000, whole))
    if part and not tenths:
        return "<0.1 %"
    sign = "" if tenths != 1000 or part == whole else ">" if part > whole else "<"
    return f"{sign}{tenths // 10:,}.{tenths % 10} %"


def change(before: float, after: float) -> str:
    """Write by how much something grew or shrank; only what stays the same prints ``0 %``.

    >>> change(100, 150), change(3, 2), change(7, 7), change(0, 5), change(5, 0), change(100_000, 100_001)
    ('+50.0 %', '-33.3 %', '0 %', 'new', 'gone', '+<0.1 %')
    """
    if before == after:
        return "0 %"
    if not before or not after:
        return "gone" if before else "new"
    tenths = round(abs(Fraction(after) - Fraction(before)) * 1000 / Fraction(before))
    size = f"{tenths // 10:,}.{tenths % 10}" if tenths else "<0.1"
    return f"{'+' if after > before else '-'}{size} %"


def parse(text: str) -> int:
    """Read a count or a size: the inverse of the writers above, as far as rounding allows.

    >>> parse("5G"), parse("30M"), parse("1.5k"), parse("4,089,184,256"), parse("16 GiB")
    (5000000000, 30000000, 1500, 4089184256, 17179869184)

    Raises ValueError when the text is no number, or stands for a fraction of one.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"a count must be a number with an optional prefix such as 5G, 1.5k or 16GiB, got {text!r}")
    digits, prefix, binary = match.groups()
    power = _DECIMAL.index(prefix.replace("K", "k"))
    value = Fraction(re.sub(r"[,_]", "", digits)) * (1024 if binary else 1000) ** power
    if value.denominator != 1:
        raise ValueError(f"a count must come out whole, got {text!r}")
    return int(value)


def _two_decimals(count: int, unit: int) -> str:
    hundredths = round(Fraction(count * 100, unit))
    if not hundredths:
        return "<0.01" if count else "0"
    return f"{hundredths // 100}.{hundredths % 100:02}"


def _scaled(count: int, base: int, names: tuple[str, ...]) -> str:
    value, power = Fraction(count), 0
    # 999.5 rounds up to four digits, so it belongs to the next prefix.
    while power < len(names) - 1 and abs(value) >= (base if power == 0 else Fraction(1999, 2)):
        value /= base
        power += 1
    if power == 0:
        return f"{count} {names[0]}"
    digits = 2 if abs(value) < Fraction(1999, 200) else 1 if abs(value) < Fraction(1999, 20) else 0
    return f"{float(value):.{digits}f} {names[power]}"
