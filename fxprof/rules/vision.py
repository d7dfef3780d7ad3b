"""torchvision's own operators on boxes."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.pooling import adaptive_windows
from fxprof.rules.registry import arithmetic, ceil_log2, rule

# Samples per bin and axis where sampling_ratio <= 0 leaves it to the size of the box, which no shape says.
ASSUMED_SAMPLES = 2


@rule("roi_align", "ps_roi_align")
def roi_align(x: Shape, rois: Any, *, sampling_ratio: int = -1, out: Any) -> Cost:
    """x (n, c, h, w), rois (k, 5) -> out (k, c, p, q); position-sensitive: (k, c / (p * q), p, q).

    Each output element averages r * r samples (r = sampling_ratio; 2 is assumed where it is left to
    the size of the box), each bilinear: 4 products and 3 additions, and 1 for the average. A
    sample's coordinates and weights serve all channels and are not counted.
    """
    samples = sampling_ratio if sampling_ratio > 0 else ASSUMED_SAMPLES
    return arithmetic(8 * samples * samples * prod(_bins(out)))


@rule("roi_pool", "ps_roi_pool")
def roi_pool(x: Shape, rois: Any, *, out: Any) -> Cost:
    """x (n, c, h, w), rois (k, 5) -> out (k, c, p, q); position-sensitive: (k, c / (p * q), p, q).

    One operation per element of each bin, where every box is taken to cover the whole map: an upper
    bound, as no shape says how large the boxes are.
    """
    bins = _bins(out)
    return arithmetic(prod(bins[:2]) * adaptive_windows(x[-2:], bins[-2:]))


def _bins(out: Any) -> Shape:
    return tuple(out) if isinstance(out[0], int) else tuple(out[0])


@rule("nms", "batched_nms")
def nms(boxes: Shape, scores: Shape, *, out: Any) -> Cost:
    """boxes (n, 4), scores (n,) -> out (k,), k <= n.

    The scores are sorted (n * ceil(log2 n) comparisons), an area is 2 differences and a product,
    and each of the n * (n - 1) / 2 pairs is compared, at most: the corners of the intersection (4
    comparisons), its sides (2 differences, 2 clamps) and area (1), the union (2), the quotient and
    the threshold (2): 13.
    """
    n = boxes[0]
    return arithmetic(n * ceil_log2(n) + 3 * n + 13 * (n * (n - 1) // 2))
