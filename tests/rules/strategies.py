"""Hypothesis strategies for shapes, and the settings of tests that run torch."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from fxprof.report import Cost, Shape

# Tests that call torch are slower by a hundred and need fewer examples to cover their few cases.
with_torch = settings(deadline=None, max_examples=25)

sizes = st.integers(1, 7)
factors = st.integers(1, 5)


def shapes(min_rank: int = 0, max_rank: int = 4) -> st.SearchStrategy[Shape]:
    """Shapes without empty dimensions."""
    return st.lists(sizes, min_size=min_rank, max_size=max_rank).map(tuple)


def distinct(count: int, largest: int = 17) -> st.SearchStrategy[Shape]:
    """``count`` sizes of at least 2 that all differ, so that no two of them can be mistaken for each other."""
    return st.lists(st.integers(2, largest), min_size=count, max_size=count, unique=True).map(tuple)


costs = st.builds(lambda macs, flops: Cost(macs=macs, flops=flops), st.integers(0, 10**12), st.integers(0, 10**12))


@st.composite
def convolutions(draw: st.DrawFn, ranks: tuple[int, ...] = (1, 2, 3)) -> tuple[Shape, Shape, Shape, int]:
    """x, weight, out and groups of a convolution of any rank, kernel and output size."""
    rank = draw(st.sampled_from(ranks))
    groups, n, c, m = draw(st.integers(1, 3)), draw(sizes), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kernel = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    out = draw(st.lists(sizes, min_size=rank, max_size=rank))
    spatial = [o + k - 1 for o, k in zip(out, kernel)]
    return (n, c * groups, *spatial), (m * groups, c, *kernel), (n, m * groups, *out), groups
