"""Numbers for people: what is printed is true, and reads back."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof.units import aligned, grouped, parse, share, short, short_bytes

counts = st.integers(0, 10**20)


@given(counts)
def test_grouped_is_exact(count: int) -> None:
    """Grouping loses no digit."""
    assert parse(grouped(count)) == count


@given(counts)
def test_short_is_within_half_a_percent(count: int) -> None:
    """Three significant digits are at most 0.5 % off."""
    assert abs(parse(short(count)) - count) * 200 <= count


@given(counts)
def test_short_bytes_is_within_half_a_percent(count: int) -> None:
    """Three significant digits are at most 1 % off (0.98 MiB has only two)."""
    text = short_bytes(count)
    value, _, unit = text.partition(" ")
    exact = float(value) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert abs(exact - count) <= 0.01 * count


@given(st.lists(counts, min_size=1), st.booleans())
def test_aligned_has_one_prefix_and_two_decimals(values: list[int], binary: bool) -> None:
    """Each is within half of the last digit, only nothing is 0, and the largest is below the next prefix."""
    prefix, texts = aligned(values, binary=binary)
    unit = parse(f"1{prefix}") if prefix else 1
    assert float(texts[values.index(max(values))].lstrip("<")) < (1024 if binary else 1000)
    for value, text in zip(values, texts):
        assert (text == "0") == (value == 0)
        size = Fraction(text.lstrip("<"))
        assert 0 < value * 200 < unit if text.startswith("<") else abs(size * unit - value) * 200 <= unit * (unit > 1)


@given(counts)
def test_short_has_at_most_three_digits(count: int) -> None:
    """No prefix holds 1,000 or more."""
    assert float(short(count).split()[0]) < 1000


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_share_never_claims_nothing_or_everything(part: int, whole: int) -> None:
    """``0 %`` means none and ``100 %`` all; in between the number is within 0.05."""
    part = min(part, whole)
    text = share(part, whole)
    assert (text == "0 %") == (part == 0)
    assert (text == "100 %") == (part == whole)
    if text[0] not in "<>":
        assert abs(float(text.split()[0]) - 100 * part / whole) <= 0.0501


@pytest.mark.parametrize(
    ("text", "count"),
    [("5G", 5 * 10**9), ("30M", 30 * 10**6), ("1.5k", 1500), ("1.5K", 1500), ("4.09 G", 4_090_000_000), ("7", 7),
     ("2KiB", 2048), ("16 GiB", 16 * 2**30), ("1_000", 1000), ("0.5k", 500), (" 3T ", 3 * 10**12)],
)  # fmt: skip
def test_parse_reads(text: str, count: int) -> None:
    """Counts and sizes as people write them."""
    assert parse(text) == count


@pytest.mark.parametrize("text", ["", "G", "five", "-5G", "5 Gx", "1.2.3", "5i", "nan", "1e9"])
def test_parse_refuses_what_is_no_number(text: str) -> None:
    """What is no count is refused with an example of one."""
    with pytest.raises(ValueError, match="a count must be a number with an optional prefix such as 5G"):
        parse(text)


def test_parse_refuses_fractions() -> None:
    """Half a parameter is a mistake, not a rounding."""
    with pytest.raises(ValueError, match=r"a count must come out whole, got '1\.5'"):
        parse("1.5")
