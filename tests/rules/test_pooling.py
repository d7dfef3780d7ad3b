"""Laws of pooling, resizing and sampling."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, decomposed, meta
from tests.rules.strategies import factors, sizes, with_torch

ranks = st.sampled_from([1, 2, 3])


def windows(size: int, out: int) -> list[range]:
    """The windows of adaptive pooling along one dimension, by their definition."""
    return [range(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]


@given(ranks, st.integers(1, 4), sizes, sizes, sizes)
def test_one_size_stands_for_all_dimensions(rank: int, k: int, n: int, c: int, o: int) -> None:
    """A window of 3 and one of (3, 3) cost the same."""
    x, out = (n, c, *[k * o] * rank), (n, c, *[o] * rank)
    for name in ("max_pool", "avg_pool"):
        rule = RULES[f"{name}{rank}d"]
        assert rule(x, k, out=out) == rule(x, (k,) * rank, out=out)


@given(st.lists(st.tuples(sizes, st.integers(1, 4)), min_size=1, max_size=3), sizes, sizes)
def test_pooling_counts_every_window(dims: list[tuple[int, int]], n: int, c: int) -> None:
    """A maximum takes one comparison less than its window has elements; a mean as many operations."""
    out, kernel = [o for o, _ in dims], [k for _, k in dims]
    x = (n, c, *(o * k for o, k in dims))
    elements = prod(x)  # windows side by side cover every element once
    rank = len(dims)
    assert RULES[f"max_pool{rank}d"](x, kernel, out=(n, c, *out)).flops == elements - n * c * prod(out)
    assert RULES[f"avg_pool{rank}d"](x, kernel, out=(n, c, *out)).flops == elements


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=3), sizes)
def test_adaptive_pooling_counts_its_true_windows(dims: list[tuple[int, int]], c: int) -> None:
    """Windows are as torch cuts them, growing and shrinking, in every dimension."""
    x, out = (c, *(s for s, _ in dims)), (c, *(o for _, o in dims))
    elements = c * prod(sum(map(len, windows(s, o))) for s, o in dims)
    rank = len(dims)
    assert RULES[f"adaptive_avg_pool{rank}d"](x, out=out).flops == elements
    assert RULES[f"adaptive_max_pool{rank}d"](x, out=(out, out)).flops == elements - prod(out)


@given(ranks, sizes, sizes, st.integers(1, 3), sizes, factors)
def test_adaptive_pooling_that_divides_is_pooling(rank: int, n: int, c: int, k: int, o: int, times: int) -> None:
    """Where sizes divide, adaptive pooling is pooling; k images cost k times as much."""
    x, out = (n, c, *[k * o] * rank), (n, c, *[o] * rank)
    adaptive = RULES[f"adaptive_avg_pool{rank}d"]
    assert adaptive(x, out=out) == RULES[f"avg_pool{rank}d"](x, k, out=out)
    assert adaptive((times * n, *x[1:]), out=(times * n, *out[1:])) == adaptive(x, out=out) * times


def test_pooling_nothing_costs_nothing() -> None:
    """An empty batch has no windows."""
    assert RULES["adaptive_avg_pool2d"]((0, 3, 7, 7), out=(0, 3, 2, 2)) == Cost()
    assert RULES["max_pool2d"]((0, 3, 8, 8), 2, out=(0, 3, 4, 4)) == Cost()


@pytest.mark.parametrize(
    ("target", "args", "flops"),
    [
        # 2 * 8 * 2 * 2 outputs of 3 comparisons
        (F.max_pool2d, (2,), 192),
        (F.max_pool2d, ((2, 2),), 192),
        (torch.max_pool2d, (2,), 192),
        (F.avg_pool2d, (2,), 256),
        (F.adaptive_avg_pool2d, (1,), 256),
        # (4 + 3 - 1) ** 2 elements in the windows of 16 planes
        (F.adaptive_avg_pool2d, (3,), 576),
        # 16 planes, 3 * 3 outputs, 3 comparisons
        (F.fractional_max_pool2d, (2, 3), 432),
    ],
)
def test_pooling_by_hand(target: Any, args: tuple[Any, ...], flops: int) -> None:
    """Pooling 2 x 8 x 4 x 4 elements, through torch's functions."""
    assert cost(target, meta(2, 8, 4, 4), *args).flops == flops


def test_indices_change_nothing() -> None:
    """Returning the indices costs nothing more, and unpooling moves data."""
    x = meta(2, 8, 4, 4)
    assert cost(F.max_pool2d, x, 2, return_indices=True) == cost(F.max_pool2d, x, 2)
    assert cost(torch.ops.aten.max_pool2d_with_indices.default, x, [2, 2]) == cost(F.max_pool2d, x, 2)
    assert RULES["max_unpool2d"]((2, 8, 2, 2), (2, 8, 2, 2), 2, out=(2, 8, 4, 4)) == Cost()


@pytest.mark.parametrize("kernel", [2, (3, 2)])
def test_lp_pool_is_what_it_is_made_of(kernel: Any) -> None:
    """Power-average pooling costs the ops that torch runs for it."""
    assert cost(F.lp_pool2d, meta(2, 3, 8, 9), 2.0, kernel) == decomposed(F.lp_pool2d, meta(2, 3, 8, 9), 2.0, kernel)


# -- resizing ----------------------------------------------------------------------------------------

MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
TAPS = {"linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4}


def weighted(taps: int, rank: int) -> int:
    """FLOPs of one value interpolated axis by axis, by doing it."""
    if rank == 0:
        return 0
    return taps * weighted(taps, rank - 1) + taps + taps - 1


@given(st.sampled_from(sorted(MODES)), sizes, sizes, sizes, sizes)
def test_interpolation_weighs_its_neighbours(mode: str, n: int, c: int, s: int, o: int) -> None:
    """Every output element is interpolated along one axis after the other."""
    rank = MODES[mode]
    x, out = (n, c, *[s] * rank), (n, c, *[o] * rank)
    assert RULES["interpolate"](x, mode=mode, out=out).flops == prod(out) * weighted(TAPS[mode], rank)


def test_interpolation_by_hand() -> None:
    """A bilinear element is three weighted sums of two, a bicubic one five of four."""
    x, out = (1, 1, 4, 4), (1, 1, 1, 1)
    # 3 * (2 products + 1 addition), 5 * (4 products + 3 additions), 7 * 3
    assert RULES["interpolate"](x, mode="bilinear", out=out).flops == 9
    assert RULES["interpolate"](x, mode="bicubic", out=out).flops == 35
    assert RULES["interpolate"]((1, 1, 4, 4, 4), mode="trilinear", out=(1, 1, 1, 1, 1)).flops == 21


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("antialias", [False, True])
def test_interpolate_agrees_with_its_aten_ops(mode: str, antialias: bool) -> None:
    """F.interpolate costs what the op of its mode costs."""
    if antialias and mode not in ("bilinear", "bicubic"):
        return
    x = meta(2, 3, 9, 12)
    for size in ((4, 5), (18, 30)):
        found = cost(F.interpolate, x, size, mode=mode, antialias=antialias)
        assert found == decomposed(F.interpolate, x, size, mode=mode, antialias=antialias)


@given(sizes, sizes, st.integers(1, 3), factors)
def test_antialiasing_counts_the_pixels_under_the_filter(h: int, w: int, times: int, k: int) -> None:
    """Shrinking by an integer stretches the filter by it; both axes cost the taps of their lines."""
    x, out = (k, 3, times * h, times * w), (k, 3, h, w)
    taps = 2 * times  # a triangle of reach 1, stretched
    lines_w, lines_h = k * 3 * times * h * w, k * 3 * h * w
    expected = (lines_w + lines_h) * (taps + taps - 1)
    assert RULES["interpolate"](x, mode="bilinear", antialias=True, out=out).flops == expected


@given(sizes, sizes, sizes, sizes, factors, st.sampled_from(["bilinear", "nearest", "bicubic", 0, 1, 2]))
def test_grid_sample_scales_with_the_batch(n: int, c: int, h: int, w: int, k: int, mode: Any) -> None:
    """k images cost k times as much as one."""
    rule = RULES["grid_sample"]
    one = rule((n, c, 5, 5), (n, h, w, 2), mode, out=(n, c, h, w))
    assert rule((k * n, c, 5, 5), (k * n, h, w, 2), mode, out=(k * n, c, h, w)) == one * k


def test_grid_sample_by_hand() -> None:
    """One point of one channel, operation by operation."""
    rule = RULES["grid_sample"]
    # 2 coordinates: scale 4, floor 1, two weights 2; 4 corner weights; 4 products, 3 additions
    assert rule((1, 1, 5, 5), (1, 1, 1, 2), out=(1, 1, 1, 1)).flops == 14 + 4 + 7
    # a second channel shares the weights
    assert rule((1, 2, 5, 5), (1, 1, 1, 2), out=(1, 2, 1, 1)).flops == 14 + 4 + 2 * 7
    # 3 coordinates: 7 each; 8 corner weights of 2 products; 8 products, 7 additions
    assert rule((1, 1, 5, 5, 5), (1, 1, 1, 1, 3), out=(1, 1, 1, 1, 1)).flops == 21 + 16 + 15
    # coordinates 31 each; 35
    assert rule((1, 1, 5, 5), (1, 1, 1, 2), "bicubic", out=(1, 1, 1, 1)).flops == 62 + 35


@with_torch
@given(st.sampled_from(["bilinear", "nearest", "bicubic"]))
def test_grid_sample_is_the_same_by_name_and_number(mode: str) -> None:
    """F.grid_sample names its mode, aten numbers it."""
    x, grid = meta(2, 3, 4, 5), meta(2, 6, 7, 2)
    assert cost(F.grid_sample, x, grid, mode=mode, align_corners=False) == decomposed(
        F.grid_sample, x, grid, mode=mode, align_corners=False
    )


@given(sizes, sizes, sizes, st.sampled_from([2, 3]))
def test_affine_grid_is_a_matrix_product(n: int, h: int, w: int, r: int) -> None:
    """Every point is multiplied by the matrix, with a one appended."""
    points: Shape = (h, w) if r == 2 else (h, w, 4)
    product = RULES["bmm"]((n, prod(points), r + 1), (n, r + 1, r), out=(n, prod(points), r))
    assert RULES["affine_grid"]((n, r, r + 1), out=(n, *points, r)) == product


def test_fold_adds_and_unfold_copies() -> None:
    """Folding adds every element to its place; unfolding only copies."""
    assert cost(F.fold, meta(2, 12, 20), (5, 6), (2, 2)).flops == 2 * 12 * 20
    assert cost(F.unfold, meta(2, 3, 5, 6), (2, 2)) == Cost()
