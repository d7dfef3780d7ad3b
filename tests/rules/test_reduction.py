"""Laws of reductions, sorting, losses and Fourier transforms."""

from __future__ import annotations

from itertools import combinations
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
from tests.rules.strategies import factors, shapes, sizes, with_torch

REDUCTIONS = (
    "sum", "prod", "amax", "argmin", "mean", "var", "std", "logsumexp", "linalg_vector_norm", "max", "aminmax",
)  # fmt: skip


@given(st.sampled_from(REDUCTIONS), shapes(1, 3), st.integers(1, 3), factors)
def test_reductions_scale_with_kept_dimensions(name: str, kept: Shape, reduced: int, k: int) -> None:
    """k times the lines cost k times as much."""
    rule = RULES[name]
    assert rule((k, *kept, reduced), out=(k, *kept)) == rule((*kept, reduced), out=kept) * k


@given(shapes(1, 3), sizes, sizes)
def test_a_sum_of_sums_is_a_sum(kept: Shape, a: int, b: int) -> None:
    """Adding up one dimension and then another costs what adding up both at once costs."""
    rule = RULES["sum"]
    both = rule((*kept, a, b), out=kept)
    assert rule((*kept, a, b), out=(*kept, a)) + rule((*kept, a), out=kept) == both
    assert rule((*kept, a, b), out=(*kept, 1, 1)) == both  # keepdim


@given(shapes(0, 2))
def test_empty_reductions_cost_nothing(kept: Shape) -> None:
    """Reducing nothing costs nothing, and no cost is negative."""
    for name in REDUCTIONS:
        assert RULES[name]((*kept, 0), out=kept) == Cost()


@given(shapes(1, 3), sizes)
def test_mean_and_std_add_to_sum_and_var(kept: Shape, n: int) -> None:
    """A mean is a sum and a division, a standard deviation a variance and a root."""
    x = (*kept, n)
    assert RULES["mean"](x, out=kept) == RULES["sum"](x, out=kept) + RULES["div"](out=kept)
    assert RULES["std"](x, out=kept) == RULES["var"](x, out=kept) + RULES["sqrt"](out=kept)


def test_reductions_by_hand() -> None:
    """Reducing 3 x 4 to 3 is 3 lines of 3 steps; torch.max says by its arguments what it is."""
    x, y = meta(3, 4), meta(3, 4)
    assert cost(torch.sum, x, 1).flops == cost("sum", x, dim=1).flops == cost(torch.sum, x, axis=1).flops == 9
    assert cost(torch.max, x, 1).flops == cost(torch.amax, x, 1).flops == 9
    assert cost(torch.max, x).flops == cost("sum", x).flops == 11
    assert cost(torch.max, x, y).flops == cost(torch.maximum, x, y).flops == 12
    assert cost(torch.max, x, other=meta(1, 4)).flops == 12
    assert cost(torch.aminmax, x, dim=1).flops == 18
    # mean 12, centre 12, square 12, variance 12; roots 3
    assert cost(torch.std, x, 1).flops == 51
    assert cost(torch.norm, x).flops == cost(torch.linalg.vector_norm, x).flops == 24


@given(shapes(1, 3), factors, st.data())
def test_cumulative_ops_scale_with_their_lines(x: Shape, k: int, data: st.DataObject) -> None:
    """k times the lines cost k times as much: a line of n takes n - 1 steps."""
    dim = data.draw(st.integers(-len(x), -1))
    for name in ("cumsum", "cumprod", "cummax", "logcumsumexp"):
        assert RULES[name]((k, *x), dim, out=(k, *x)) == RULES[name](x, dim, out=x) * k
    line = (x[dim],)
    assert RULES["cumsum"](line, 0, out=line).flops == x[dim] - 1


@given(st.integers(0, 6), sizes)
def test_sorting_is_merging(log: int, lines: int) -> None:
    """Sorting 2n elements costs two sorts of n and one merge of 2n."""
    n = 2**log

    def sort(size: int) -> int:
        return RULES["sort"]((lines, size), dim=-1, out=None).flops

    assert sort(2 * n) == 2 * sort(n) + lines * 2 * n


@given(st.integers(1, 40), sizes)
def test_sorting_does_not_depend_on_where_the_lines_are(n: int, lines: int) -> None:
    """Lines along the first dimension cost what lines along the last one cost."""
    last = RULES["sort"]((lines, n), out=None)
    assert last == RULES["sort"]((n, lines), dim=0, out=None) == RULES["msort"]((n, lines), out=(n, lines))
    assert RULES["median"]((lines, n), dim=1, out=None) == last


def test_searching_by_hand() -> None:
    """Sorting, selecting and searching 3 x 8, comparison by comparison."""
    x = meta(3, 8)
    assert cost(torch.sort, x).flops == cost("argsort", x, dim=1).flops == 3 * 8 * 3
    assert cost(torch.sort, x, dim=0).flops == 24 * 2
    # heap of 1: one comparison; of 4: one and two
    assert cost(torch.topk, x, 1).flops == 24
    assert cost(torch.topk, x, 4).flops == 24 * 3
    # 7 boundaries make 8 places: three comparisons
    assert cost(torch.searchsorted, meta(7), x).flops == cost(torch.bucketize, x, meta(7)).flops == 72
    assert cost(torch.unique_consecutive, torch.zeros(8)).flops == 7


@given(sizes, sizes, sizes)
def test_cdist_is_a_norm_of_differences(p: int, r: int, m: int) -> None:
    """A distance is the norm of a difference, for every pair."""
    pair = RULES["sub"](out=(m,)) + RULES["linalg_vector_norm"]((m,), out=())
    assert RULES["cdist"]((p, m), (r, m), out=(p, r)) == pair * (p * r)
    assert RULES["pdist"]((p, m), out=(len(list(combinations(range(p), 2))),)) == pair * len(
        list(combinations(range(p), 2))
    )
    assert RULES["cdist"]((p, m), (r, m), out=(p, r)).macs == 0


@given(sizes, sizes, sizes, st.booleans())
def test_embedding_bag_is_a_sum_of_rows(b: int, n: int, e: int, weighted: bool) -> None:
    """A bag is the sum of its rows, and its mean divides once."""
    rule, out, summed = RULES["embedding_bag"], ((b, e),), RULES["sum"]((b, n, e), out=(b, e))
    extra = RULES["mul"](out=(b, n, e)) if weighted else Cost()
    samples = (b, n) if weighted else None
    found = rule(weight=(50, e), input=(b, n), mode="sum", per_sample_weights=samples, out=out)
    assert found == summed + extra
    assert rule(weight=(50, e), indices=(b * n,), mode=1, out=out) == summed + RULES["div"](out=(b, e))
    assert RULES["embedding"]((50, e), (b, n), out=(b, n, e)) == Cost()


def test_embedding_bag_is_the_same_in_both_signatures() -> None:
    """F.embedding_bag and aten's order indices and table differently."""
    table, ids = meta(50, 6), torch.zeros(4, 5, dtype=torch.long, device="meta")
    # 4 * 5 rows of 6 added into 4 means
    assert cost(F.embedding_bag, ids, table).flops == 120
    assert cost(F.embedding_bag, ids, table, mode="sum").flops == 120 - 24


@given(sizes, sizes)
def test_scattered_additions_are_one_each(n: int, m: int) -> None:
    """Adding to indexed places costs one addition per element added."""
    assert RULES["index_add"]((9, m), 0, (n,), (n, m), out=(9, m)).flops == n * m
    assert RULES["scatter_add"]((9, m), 0, (n, m), (n, m), out=(9, m)).flops == n * m
    assert RULES["scatter"]((9, m), 0, (n, m), (n, m), out=(9, m)) == Cost()


# -- losses ------------------------------------------------------------------------------------------

LOSSES = {
    "mse": F.mse_loss, "l1": F.l1_loss, "smooth": F.smooth_l1_loss, "huber": F.huber_loss, "kl": F.kl_div,
    "bce": F.binary_cross_entropy, "logits": F.binary_cross_entropy_with_logits, "soft": F.soft_margin_loss,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_are_a_cost_per_element_and_a_reduction(name: str) -> None:
    """Summing or averaging a loss costs what reducing its elements costs."""
    x, y = meta(3, 5), meta(3, 5)
    each = cost(LOSSES[name], x, y, reduction="none")
    assert cost(LOSSES[name], x, y, reduction="sum") == each + cost(torch.sum, x)
    assert cost(LOSSES[name], x, y) == each + cost(torch.mean, x)
    assert each == cost(LOSSES[name], meta(1, 5), meta(1, 5), reduction="none") * 3


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", ["l1", "kl", "mse", "bce", "logits"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_cost_what_they_are_made_of(name: str, reduction: str) -> None:
    """A loss costs the same through its function and through the aten ops it runs."""
    args = meta(3, 5), meta(3, 5)
    assert cost(LOSSES[name], *args, reduction=reduction) == decomposed(LOSSES[name], *args, reduction=reduction)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_log_softmax_and_nll(shape: Shape, weighted: bool, reduction: str) -> None:
    """Cross entropy on classes costs what the ops that torch makes it of cost."""
    x, y = meta(*shape), torch.zeros(shape[:1] + shape[2:], dtype=torch.long, device="meta")
    weight = meta(5) if weighted else None
    assert cost(F.cross_entropy, x, y, weight, reduction=reduction) == decomposed(
        F.cross_entropy, x, y, weight, reduction=reduction
    )


def test_nll_by_hand() -> None:
    """Three targets are negated, weighted, and averaged over the weights that are added up."""
    rule, x, y = RULES["nll_loss"], (3, 5), (3,)
    assert rule(x, y, reduction="none", out=(3,)).flops == 3
    assert rule(x, y, out=()).flops == 3 + 2 + 1
    assert rule(x, y, (5,), reduction="sum", out=()).flops == 3 + 3 + 2
    assert rule(x, y, (5,), out=()).flops == 3 + 3 + 3 + 2 + 1


def test_cross_entropy_on_probabilities_reads_every_class() -> None:
    """Probabilities cost a product and a sum over all classes, like the ops they are made of up to the last two."""
    x = meta(3, 5)
    found, parts = cost(F.cross_entropy, x, x), decomposed(F.cross_entropy, x, x)
    assert parts.flops == found.flops
    smooth = cost(F.cross_entropy, x, torch.zeros(3, dtype=torch.long, device="meta"), label_smoothing=0.1)
    assert smooth.flops > cost(F.cross_entropy, x, torch.zeros(3, dtype=torch.long, device="meta")).flops


def test_fused_cross_entropy_is_linear_and_cross_entropy() -> None:
    """The head and its loss in one call cost the two calls."""
    found = RULES["linear_cross_entropy"]((6, 8), (5, 8), (6,), out=())
    parts = RULES["linear"]((6, 8), (5, 8), out=(6, 5)) + RULES["cross_entropy"]((6, 5), (6,), out=())
    assert found == parts


# -- Fourier transforms ------------------------------------------------------------------------------


def butterflies(n: int) -> int:
    """FLOPs of a radix-2 transform of n complex points, by recursion: n / 2 butterflies of 10 per level."""
    return 0 if n == 1 else 2 * butterflies(n // 2) + 10 * (n // 2)


@given(st.integers(0, 8), sizes)
def test_fft_is_its_butterflies(log: int, lines: int) -> None:
    """A power of two is transformed by halves, and every line by itself."""
    n = 2**log
    assert RULES["fft_fft"]((lines, n), out=(lines, n)).flops == lines * butterflies(n)


@given(st.integers(1, 6), sizes, st.integers(0, 40))
def test_a_real_transform_is_half_a_complex_one(log: int, lines: int, seed: int) -> None:
    """Real input or output halves the work."""
    n = 2**log
    x, half = (lines, n), (lines, n // 2 + 1)
    assert 2 * RULES["fft_rfft"](x, out=half).flops == lines * butterflies(n)
    assert RULES["fft_irfft"](half, out=x) == RULES["fft_rfft"](x, out=half)


@given(st.integers(0, 4), st.integers(0, 4), sizes)
def test_fft2_is_one_transform_per_dimension(a: int, b: int, lines: int) -> None:
    """Two dimensions are transformed one after the other."""
    x = (lines, 2**a, 2**b)
    one, other = RULES["fft_fft"](x, None, 1, out=x), RULES["fft_fft"](x, None, 2, out=x)
    assert RULES["fft_fft2"](x, out=x) == RULES["fft_fftn"](x, None, (-2, -1), out=x) == one + other


@given(sizes, factors, st.integers(1, 30))
def test_transforms_scale_with_the_batch(lines: int, k: int, n: int) -> None:
    """k times the lines cost k times as much, odd lengths included."""
    for name in ("fft_fft", "fft_rfft"):
        one = RULES[name]((lines, n), out=(lines, n))
        assert RULES[name]((k * lines, n), out=(k * lines, n)) == one * k


FFTS = ["fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "rfft2", "irfft2", "fftn", "rfftn", "irfftn", "ifftn"]


@pytest.mark.parametrize("name", FFTS)
def test_transforms_cost_their_aten_ops(name: str) -> None:
    """torch.fft's functions cost what the transforms that they run cost."""
    target = getattr(torch.fft, name)
    dtype = torch.float if name.startswith("rfft") else torch.cfloat
    x = torch.empty(3, 8, 16, dtype=dtype, device="meta")
    assert cost(target, x) == decomposed(target, x)


def test_stft_is_a_transform_per_frame() -> None:
    """Frames are windowed and transformed; the inverse adds them up again."""
    window, x = torch.ones(16), torch.ones(2, 100)
    found = cost(torch.stft, x, 16, window=window, return_complex=True)
    assert found == decomposed(torch.stft, x, 16, window=window, return_complex=True)
    spectrum = torch.stft(x, 16, window=window, return_complex=True)
    # 26 frames of 2 signals; signals of 100
    assert cost(torch.istft, spectrum, 16, window=window) == found + Cost(flops=2 * 26 * 16 + 200)


@with_torch
@given(st.sampled_from(["none", "mean", "sum"]))
def test_gaussian_loss_is_seven_per_element(reduction: str) -> None:
    """(log v + (x - t) ** 2 / v) / 2 by hand."""
    x = torch.ones(3, 5)
    reduce = {"none": 0, "mean": 15, "sum": 14}[reduction]
    # clamp, log, difference, square, quotient, sum, half
    assert cost(F.gaussian_nll_loss, x, x, x, reduction=reduction).flops == 7 * 15 + reduce


@given(shapes(1, 3))
def test_quantization_is_undone_by_half(x: Shape) -> None:
    """Fake quantization is quantizing and dequantizing."""
    parts = RULES["quantize_per_tensor"](x, out=x) + RULES["dequantize"](x, out=x)
    assert RULES["fake_quantize_per_tensor_affine"](x, out=x) == parts
    assert prod(x) > 0


def test_pointwise_by_hand() -> None:
    """Fused elementwise ops cost the operations in their formula."""
    x: Any = meta(3, 5)
    assert cost(torch.addcmul, x, x, x).flops == 30
    assert cost(torch.addcmul, x, x, x, value=2).flops == cost("addcdiv_", x, x, x, value=0.5).flops == 45
    assert cost(torch.lerp, x, x, 0.5).flops == 45
    assert cost(torch.isclose, x, x).flops == 90
