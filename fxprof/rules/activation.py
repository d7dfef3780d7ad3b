"""Softmax and the activations that are more than one operation per element; the others are in ELEMENTWISE."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import arithmetic, lines, rule


def softmax_line(x: Shape, dim: int | None) -> tuple[int, int]:
    """Elements of x and lines along ``dim``; None is torch's legacy choice (0 for 0-, 1- and 3-D, else 1)."""
    return prod(x), lines(x, (0 if len(x) in (0, 1, 3) else 1) if dim is None else dim)


@rule("softmax", "_softmax", "_safe_softmax", "_sparse_softmax")
def softmax(x: Shape, dim: int | None = None, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x.

    Per line of k: k - 1 comparisons for the maximum, k subtractions, k exps, k - 1 additions, k
    divisions: 5k - 2.
    """
    n, rows = softmax_line(x, dim)
    return arithmetic(5 * n - 2 * rows) if n else Cost()


@rule("softmin")
def softmin(x: Shape, dim: int | None = None, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x: a negation per element, then softmax."""
    return softmax(x, dim, out=out) + arithmetic(prod(x))


@rule("log_softmax", "_log_softmax", "_sparse_log_softmax")
def log_softmax(x: Shape, dim: int | None = None, *, out: Any) -> Cost:
    """x (*, k, *) -> out like x.

    Per line of k: k - 1 comparisons, k subtractions of the maximum, k exps, k - 1 additions, 1 log,
    k subtractions: 5k - 1.
    """
    n, rows = softmax_line(x, dim)
    return arithmetic(5 * n - rows) if n else Cost()


@rule("logsumexp")
def logsumexp(x: Shape, *, out: Shape) -> Cost:
    """x (*, k, *) -> out (*, *).

    Per line of k: k - 1 comparisons, k subtractions, k exps, k - 1 additions, the log, and the
    addition of the maximum: 4k.
    """
    return arithmetic(4 * prod(x))


@rule("glu")
def glu(x: Shape, *, out: Shape) -> Cost:
    """x (*, 2k, *) -> out (*, k, *): a sigmoid and a multiplication per output element."""
    return arithmetic(2 * prod(out))


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d")
def dropout(x: Shape, p: float = 0.5, *, training: bool = True, train: bool = True, out: Any) -> Cost:
    """x (*) -> out (*).

    In training the mask and the scale multiply each element; in evaluation it does nothing. Drawing
    the mask is not arithmetic on the data.
    """
    return arithmetic(2 * prod(x) if training and train and p else 0)


@rule("native_dropout", "_fused_dropout")
def native_dropout(x: Shape, p: float = 0.5, train: bool | None = True, *, out: Any) -> Cost:
    """x (*) -> out (*), mask (*): dropout, where ``train`` may be None for yes."""
    return arithmetic(2 * prod(x) if (train is None or train) and p else 0)
