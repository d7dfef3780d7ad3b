"""Losses. Each is a cost per element and its reduction; the ones not here are made of other ops."""

from __future__ import annotations

from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.activation import log_softmax
from fxprof.rules.registry import arithmetic, contraction, rule

# 0, 1 and 2 are torch's own numbers for the names.
REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}


def reduced(n: int, reduction: str | int) -> Cost:
    """n losses made one: n - 1 additions, and a division for the mean."""
    word = REDUCTIONS.get(reduction, "mean") if isinstance(reduction, int) else reduction
    return arithmetic({"none": 0, "sum": n - 1}.get(word, n))


@rule("mse_loss")
def mse_loss(
    x: Shape, target: Shape, *, weight: Shape | None = None, reduction: str | int = "mean", out: Shape
) -> Cost:
    """x (*), target (*) -> out () or (*): a difference and a square per element, and a product by weight."""
    return arithmetic((2 if weight is None else 3) * prod(x)) + reduced(prod(x), reduction)


@rule("l1_loss")
def l1_loss(x: Shape, target: Shape, *, weight: Shape | None = None, reduction: str | int = "mean", out: Shape) -> Cost:
    """x (*), target (*) -> out () or (*): a difference and an absolute value per element, and a product by weight."""
    return arithmetic((2 if weight is None else 3) * prod(x)) + reduced(prod(x), reduction)


@rule("smooth_l1_loss", "huber_loss")
def smooth_l1_loss(
    x: Shape, target: Shape, *, weight: Shape | None = None, reduction: str | int = "mean", out: Shape
) -> Cost:
    """x (*), target (*) -> out () or (*).

    Per element a difference, an absolute value, a comparison, and the longer branch: three
    operations for half the square over beta.
    """
    return arithmetic((6 if weight is None else 7) * prod(x)) + reduced(prod(x), reduction)


@rule("binary_cross_entropy")
def binary_cross_entropy(
    x: Shape, target: Shape, weight: Shape | None = None, *, reduction: str | int = "mean", out: Shape
) -> Cost:
    """x (*), target (*) -> out () or (*).

    -(t log x + (1 - t) log(1 - x)): 2 differences, 2 logs, 2 products, a sum, a negation; and a
    product by weight.
    """
    return arithmetic((8 if weight is None else 9) * prod(x)) + reduced(prod(x), reduction)


@rule("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    x: Shape,
    target: Shape,
    weight: Shape | None = None,
    *,
    pos_weight: Shape | None = None,
    reduction: str | int = "mean",
    out: Shape,
) -> Cost:
    """x (*), target (*) -> out () or (*).

    (1 - t) x - log_sigmoid(x): a difference, a product, log_sigmoid (1) and a difference; with
    pos_weight 3 more, for ((p - 1) t + 1); and a product by weight.
    """
    each = 4 + (3 if pos_weight is not None else 0) + (1 if weight is not None else 0)
    return arithmetic(each * prod(x)) + reduced(prod(x), reduction)


@rule("gaussian_nll_loss")
def gaussian_nll_loss(x: Shape, target: Shape, var: Any, *, reduction: str | int = "mean", out: Shape) -> Cost:
    """x (*), target (*), var (*) -> out () or (*).

    (log v + (x - t) ** 2 / v) / 2: a clamp, a log, a difference, a square, a quotient, a sum, a product.
    """
    return arithmetic(7 * prod(x)) + reduced(prod(x), reduction)


@rule("soft_margin_loss")
def soft_margin_loss(x: Shape, target: Shape, *, reduction: str | int = "mean", out: Shape) -> Cost:
    """x (*), target (*) -> out () or (*): log(1 + exp(-t x)) is a negation, a product, an exp and a log1p."""
    return arithmetic(4 * prod(x)) + reduced(prod(x), reduction)


@rule("nll_loss", "nll_loss_forward", "nll_loss2d", "nll_loss2d_forward", "nll_loss_nd")
def nll_loss(x: Shape, target: Shape, weight: Shape | None = None, *, reduction: str | int = "mean", out: Any) -> Cost:
    """x (n, c, *s), target (n, *s) -> out () or (n, *s).

    Per target a negation, and with weight a product and, for the mean, an addition of the weights.
    """
    n = prod(target)
    mean = reduction in ("mean", 1)
    return arithmetic((1 if weight is None else 3 if mean else 2) * n) + reduced(n, reduction)


@rule("cross_entropy", "cross_entropy_loss")
def cross_entropy(
    x: Shape,
    target: Shape,
    weight: Shape | None = None,
    *,
    reduction: str | int = "mean",
    label_smoothing: float = 0.0,
    out: Any,
) -> Cost:
    """x (n, c, *s), target (n, *s) classes or (n, c, *s) probabilities -> out () or (n, *s).

    log_softmax over the classes, then nll_loss. Probabilities are multiplied and added over all
    classes, 2 per element (3 with weights), and divided once for the mean. Label smoothing adds the
    log-probabilities of all classes and blends the two losses (3).
    """
    classes = 1 if len(x) > 1 else 0
    cost = log_softmax(x, classes, out=x)
    weights = 0 if weight is None else prod(x)
    if len(target) == len(x):
        return cost + arithmetic(2 * prod(x) + weights + (reduction in ("mean", 1)))
    cost += nll_loss(x, target, weight, reduction=reduction, out=out)
    if label_smoothing:
        cost += arithmetic(prod(x) + weights + 3) + reduced(prod(target), reduction)
    return cost


@rule("linear_cross_entropy")
def linear_cross_entropy(x: Shape, weight: Shape, target: Shape, *, reduction: str | int = "mean", out: Any) -> Cost:
    """x (n, i), weight (c, i), target (n,) -> out () or (n,): linear, then cross_entropy."""
    logits = (prod(x[:-1]), weight[0])
    return contraction(prod(logits) * x[-1]) + cross_entropy(logits, (logits[0],), reduction=reduction, out=out)


@rule("multi_margin_loss")
def multi_margin_loss(x: Shape, target: Shape, *, reduction: str | int = "mean", out: Shape) -> Cost:
    """x (n, c), target (n,) -> out () or (n,).

    max(0, margin - x[y] + x[i]) ** p over the classes: 2 sums, a comparison, a power, an addition
    and the division by c.
    """
    return arithmetic(6 * prod(x)) + reduced(prod(target), reduction)


@rule("multilabel_margin_loss", "multilabel_margin_loss_forward")
def multilabel_margin_loss(x: Shape, target: Shape, *, reduction: str | int = "mean", out: Any) -> Cost:
    """x (n, c), target (n, c) -> out () or (n,).

    Every pair of classes is compared, at most: 2 sums, a comparison and an addition each.
    """
    return arithmetic(4 * prod(x) * (x[-1] if x else 1)) + reduced(prod(x[:-1]), reduction)


@rule("kl_div")
def kl_div(x: Shape, target: Shape, *, reduction: str | int = "mean", log_target: bool = False, out: Shape) -> Cost:
    """x (*), target (*) -> out () or (*): t (log t - x) is a log (or an exp), a difference and a product."""
    return arithmetic(3 * prod(x)) + reduced(prod(x), reduction)


@rule("ctc_loss", "_ctc_loss")
def ctc_loss(log_probs: Shape, targets: Shape, *, out: Any) -> Cost:
    """log_probs (t, n, c), targets (n, s) -> out () or (n,).

    The forward recursion over 2s + 1 labels and t steps: a logsumexp of three (12, see logsumexp)
    and an addition each. Targets of shape (sum of lengths,) are shared among the n sequences.
    """
    t, n = (log_probs[0], log_probs[1]) if len(log_probs) == 3 else (log_probs[0], 1)
    labels = 2 * prod(targets) + n
    return arithmetic(13 * t * labels)
