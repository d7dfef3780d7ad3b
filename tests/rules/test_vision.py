"""torchvision's operators, counted box by box."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost
from fxprof.rules import RULES
from tests.rules.oracle import cost, meta
from tests.rules.strategies import sizes


@given(sizes, sizes, sizes, sizes, st.integers(1, 3))
def test_roi_align_averages_samples(k: int, c: int, p: int, q: int, r: int) -> None:
    """Every bin of every box and channel averages r x r samples of eight operations."""
    count = 0
    for _ in range(k * c * p * q):
        for _ in range(r * r):
            count += 4 + 3 + 1  # corners weighted, corners added, sample added (or the division)
    assert RULES["roi_align"]((1, c, 9, 9), (k, 5), sampling_ratio=r, out=(k, c, p, q)).flops == count


def test_roi_align_assumes_two_samples() -> None:
    """Left to the size of the box, two samples per axis are assumed."""
    rule = RULES["roi_align"]
    args, out = ((1, 3, 9, 9), (4, 5)), (4, 3, 7, 7)
    assert rule(*args, out=out) == rule(*args, sampling_ratio=0, out=out) == rule(*args, sampling_ratio=2, out=out)


@given(sizes, sizes, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_roi_pool_reads_the_whole_map_at_most(k: int, c: int, s: int, p: int, q: int) -> None:
    """A box that covers the map is pooled adaptively: one operation per element of each window."""
    whole = RULES["adaptive_avg_pool2d"]((k, c, s, s), out=(k, c, p, q))
    assert RULES["roi_pool"]((1, c, s, s), (k, 5), out=((k, c, p, q), (k, c, p, q))) == whole


@given(st.integers(0, 40))
def test_nms_compares_every_pair(n: int) -> None:
    """Sorting, an area per box, and an overlap per pair."""
    boxes, pairs = 3 * n, 13 * len(list(combinations(range(n), 2)))
    assert RULES["nms"]((n, 4), (n,), out=(n,)) == Cost(flops=boxes + pairs) + RULES["sort"]((n,), out=None)


def test_operators_reach_their_rules() -> None:
    """torchvision's registered operators are found by their names."""
    torchvision = pytest.importorskip("torchvision")
    import torch

    x, rois = meta(1, 4, 9, 9), meta(5, 5)
    # 5 boxes * 4 channels * 7 * 7 bins * 2 * 2 samples * 8
    assert cost(torch.ops.torchvision.roi_align.default, x, rois, 0.5, 7, 7, 2, False).flops == 5 * 4 * 49 * 4 * 8
    assert cost(torchvision.ops.roi_align, x, rois, (7, 7), sampling_ratio=3).flops == 5 * 4 * 49 * 9 * 8
    # position-sensitive: 98 channels make 2
    ps = cost(torch.ops.torchvision.ps_roi_align.default, meta(1, 98, 9, 9), rois, 0.5, 7, 7, 2)
    assert ps.flops == 5 * 2 * 49 * 4 * 8
    assert cost(torchvision.ops.nms, torch.zeros(3, 4), torch.zeros(3), 0.5).flops == 3 * 2 + 3 * 3 + 3 * 13
