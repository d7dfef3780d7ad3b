"""Resizing and sampling: every output element is a weighted sum of a few inputs."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.pooling import adaptive_avg_pool
from fxprof.rules.registry import Rule, arithmetic, contraction, rule

# Reach of the filters, to either side, in input elements.
REACH = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2, "lanczos": 3}


def taps_cost(taps: int, rank: int) -> int:
    """FLOPs of one output element of a separable filter with ``taps`` taps per axis.

    taps products and taps - 1 additions, for one line of the last axis, then the same over the
    results of the lines: (2 * taps - 1) * (1 + taps + ... + taps ** (rank - 1)).
    """
    lines: int = sum(taps**axis for axis in range(rank))
    return (2 * taps - 1) * lines


def smooth(x: Shape, out: Shape, mode: str) -> Cost:
    """Interpolation of every output element from its neighbours; the weights belong to rows and columns."""
    return arithmetic(taps_cost(2 * REACH[mode], len(out) - 2) * prod(out))


def antialiased(x: Shape, out: Shape, mode: str) -> Cost:
    """Two passes, along the width and then along the height.

    When shrinking, the filter is stretched over s / t input elements, so it has 2 * reach * s / t
    taps (rounded up); each pass computes every element of its result.
    """
    height, width = (2 * (-(-2 * REACH[mode] * max(s, t) // t)) - 1 if t else 0 for s, t in zip(x[-2:], out[-2:]))
    return arithmetic(prod(out[:-2]) * (x[-2] * out[-1] * width + out[-2] * out[-1] * height))


@rule("interpolate", "upsample")
def interpolate(
    x: Shape,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *,
    antialias: bool = False,
    out: Shape,
) -> Cost:
    """x (n, c, *s) -> out (n, c, *t).

    nearest moves data: 0. linear, bilinear, trilinear weigh 2 neighbours per axis and bicubic 4,
    axis by axis: 3, 9, 21 and 35 FLOPs per output element. area is adaptive average pooling.
    antialias widens the filter when shrinking. Weights are per row and column, not per element,
    and not counted.
    """
    if mode == "area":
        return adaptive_avg_pool(x, out=out)
    if mode.startswith("nearest"):
        return Cost()
    return antialiased(x, out, mode) if antialias else smooth(x, out, mode)


def _register_upsampling() -> None:
    modes = {"linear1d": "linear", "bilinear2d": "bilinear", "trilinear3d": "trilinear", "bicubic2d": "bicubic"}
    for name, mode in modes.items():
        rule(f"upsample_{name}")(_upsample(mode, antialias=False))
    for mode in ("bilinear", "bicubic", "lanczos"):
        rule(f"_upsample_{mode}2d_aa")(_upsample(mode, antialias=True))


def _upsample(mode: str, *, antialias: bool) -> Rule:
    def upsample(x: Shape, *, out: Shape) -> Cost:
        """x (n, c, *s) -> out (n, c, *t): interpolate in one mode."""
        return interpolate(x, mode=mode, antialias=antialias, out=out)

    return upsample


_register_upsampling()


@rule(
    "grid_sample", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback",
    "cudnn_grid_sampler",
)  # fmt: skip
def grid_sample(x: Shape, grid: Shape, mode: str | int = "bilinear", *, out: Shape) -> Cost:
    """x (n, c, *s), grid (n, *t, r) -> out (n, c, *t), r = 2 or 3.

    Per coordinate: 4 to scale it, 1 to round it down. nearest then moves data. bilinear: 2 more per
    coordinate for the weights of its two neighbours, (r - 1) products for each of 2**r weights per
    point, and 2**r products and 2**r - 1 additions per output element. bicubic: 26 more per
    coordinate (the fraction, 3 distances, 4 polynomials in Horner's form at 5, 5, 6 and 6), and 4
    taps per axis per output element: 35.
    """
    coordinates, r = prod(grid), grid[-1]
    points = prod(grid[:-1])
    if mode in ("nearest", 1):
        return arithmetic(5 * coordinates)
    if mode in ("bicubic", 2):
        return arithmetic(31 * coordinates + taps_cost(4, r) * prod(out))
    return arithmetic(7 * coordinates + 2**r * (r - 1) * points + (2 * 2**r - 1) * prod(out))


@rule("affine_grid", "affine_grid_generator")
def affine_grid(theta: Shape, *, out: Shape) -> Cost:
    """theta (n, r, r + 1) -> out (n, *t, r).

    A batched matrix product of the homogeneous coordinates (r + 1) of every point with theta.
    """
    return contraction(prod(out) * theta[-1])


@rule("fold", "col2im")
def fold(x: Shape, *, out: Shape) -> Cost:
    """x (n, c * k, l) -> out (n, c, *s): every input element is added to its place."""
    return arithmetic(prod(x))
