"""Laws of matrix products, and torch's own counts of them."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, meta, torch_macs
from tests.rules.strategies import distinct, factors, shapes, sizes, with_torch

linear, matmul, addmm = RULES["linear"], RULES["matmul"], RULES["addmm"]


@given(shapes(0, 3), sizes, sizes, factors)
def test_linear_scales_with_the_batch(batch: Shape, n: int, m: int, k: int) -> None:
    """k copies of the input cost k times as much, biases included."""
    one = linear((*batch, n), (m, n), (m,), out=(*batch, m))
    assert linear((k, *batch, n), (m, n), (m,), out=(k, *batch, m)) == one * k


@given(shapes(0, 3), sizes, sizes)
def test_linear_is_matmul_with_the_transposed_weight(batch: Shape, n: int, m: int) -> None:
    """Linear costs what the matrix product costs."""
    assert linear((*batch, n), (m, n), out=(*batch, m)) == matmul((*batch, n), (n, m), out=(*batch, m))


@given(shapes(0, 3), sizes, sizes)
def test_bias_is_one_addition_per_output(batch: Shape, n: int, m: int) -> None:
    """A bias adds as much as adding a tensor to the output does."""
    out = (*batch, m)
    assert linear((*batch, n), (m, n), (m,), out=out) == linear((*batch, n), (m, n), out=out) + RULES["add"](out=out)


@given(sizes, sizes, sizes)
def test_matmul_counts_every_product(i: int, k: int, j: int) -> None:
    """The MACs are the products that three nested loops make."""
    assert matmul((i, k), (k, j), out=(i, j)).macs == sum(1 for _ in product(range(i), range(j), range(k)))


@given(shapes(1, 3), sizes, sizes, sizes)
def test_batched_matmul_is_the_sum_of_its_slices(batch: Shape, i: int, k: int, j: int) -> None:
    """A batched product costs as much as the products of its slices."""
    whole = matmul((*batch, i, k), (*batch, k, j), out=(*batch, i, j))
    assert whole == sum((RULES["mm"]((i, k), (k, j), out=(i, j)) for _ in range(prod(batch))), Cost())


@given(sizes, sizes, sizes)
def test_matmul_grows_with_the_contracted_dimension(i: int, k: int, j: int) -> None:
    """One more contracted element costs strictly more."""
    assert matmul((i, k), (k, j), out=(i, j)).macs < matmul((i, k + 1), (k + 1, j), out=(i, j)).macs


@given(st.integers(0, 2), sizes, sizes)
def test_an_empty_dimension_costs_nothing(which: int, a: int, b: int) -> None:
    """A product with an empty dimension has no products."""
    i, k, j = (0 if position == which else size for position, size in enumerate((a, b, a)))
    assert matmul((i, k), (k, j), out=(i, j)) == Cost()


@given(sizes, sizes, sizes)
def test_addmm_is_linear(i: int, k: int, j: int) -> None:
    """addmm, baddbmm of one slice and linear with a bias are one computation."""
    expected = linear((i, k), (j, k), (j,), out=(i, j))
    assert addmm((j,), (i, k), (k, j), out=(i, j)) == expected
    assert RULES["baddbmm"]((1, i, j), (1, i, k), (1, k, j), out=(1, i, j)) == expected


@given(sizes, sizes, sizes, sizes)
def test_addbmm_is_bmm_with_the_batch_contracted(n: int, i: int, k: int, j: int) -> None:
    """Adding up a batch of products makes as many products as the batch, and adds one bias."""
    summed = RULES["addbmm"]((i, j), (n, i, k), (n, k, j), out=(i, j))
    assert summed.macs == RULES["bmm"]((n, i, k), (n, k, j), out=(n, i, j)).macs
    assert summed.flops - 2 * summed.macs == i * j


@given(sizes, sizes, sizes, sizes)
def test_bilinear_is_its_einsum(n: int, i: int, j: int, m: int) -> None:
    """A bilinear layer costs what the einsum that defines it costs."""
    by_einsum = RULES["einsum"]("ni,mij,nj->nm", (n, i), (m, i, j), (n, j))
    assert RULES["bilinear"]((n, i), (n, j), (m, i, j), out=(n, m)) == by_einsum


@given(sizes, sizes)
def test_outer_accumulates_nothing(i: int, j: int) -> None:
    """An outer product is multiplications alone, unlike the matrix product over one column."""
    assert RULES["outer"]((i,), (j,), out=(i, j)) == Cost(flops=i * j)
    assert matmul((i, 1), (1, j), out=(i, j)) == Cost(macs=i * j, flops=2 * i * j)


@given(sizes, sizes)
def test_vectors_are_matrices_of_one_row_or_column(i: int, k: int) -> None:
    """mv, dot and inner cost what the matrix product of the same numbers costs."""
    assert RULES["mv"]((i, k), (k,), out=(i,)) == matmul((i, k), (k, 1), out=(i, 1))
    assert RULES["dot"]((k,), (k,), out=()) == matmul((1, k), (k, 1), out=(1, 1))
    assert RULES["inner"]((i, k), (k,), out=(i,)) == RULES["mv"]((i, k), (k,), out=(i,))
    assert RULES["linalg_vecdot"]((i, k), (i, k), out=(i,)) == RULES["dot"]((k,), (k,), out=()) * i


@given(st.lists(sizes, min_size=3, max_size=6))
def test_chain_takes_the_cheapest_order(dims: list[int]) -> None:
    """A chain costs the least over every way to set the brackets."""

    def cheapest(i: int, j: int) -> int:
        if j - i == 1:
            return 0
        return min(cheapest(i, k) + cheapest(k, j) + dims[i] * dims[k] * dims[j] for k in range(i + 1, j))

    matrices = [(dims[i], dims[i + 1]) for i in range(len(dims) - 1)]
    assert RULES["chain_matmul"](*matrices, out=(dims[0], dims[-1])).macs == cheapest(0, len(dims) - 1)
    assert RULES["linalg_multi_dot"](matrices, out=(dims[0], dims[-1])).macs == cheapest(0, len(dims) - 1)


def test_chain_takes_vectors_at_its_ends() -> None:
    """A row, a matrix and a column are contracted from either side."""
    # (3, 5) @ (5,) = 15, then (3,) @ (3,) = 3; the other way it is 15 + 5
    assert RULES["linalg_multi_dot"](((3,), (3, 5), (5,)), out=()).macs == 18


@given(sizes, sizes, sizes, st.integers(2, 4))
def test_grouped_mm_is_the_sum_of_its_groups(i: int, k: int, j: int, groups: int) -> None:
    """However rows, columns or products are dealt to groups, each group is a matrix product."""
    grouped = RULES["_grouped_mm"]
    expected = matmul((i, k), (k, j), out=(i, j)) * groups
    assert grouped((groups * i, k), (groups, k, j), out=(groups * i, j)) == expected
    assert grouped((i, groups * k), (groups * k, j), out=(groups, i, j)) == expected
    assert grouped((groups, i, k), (groups, k, j), out=(groups, i, j)) == expected


MATMULS = [
    ((5, 6), (6, 7)),
    ((2, 5, 6), (2, 6, 7)),
    ((2, 5, 6), (6, 7)),
    ((5, 6), (2, 6, 7)),
    ((3, 1, 5, 6), (2, 6, 7)),
]


@pytest.mark.parametrize(("a", "b"), MATMULS)
@pytest.mark.parametrize("target", [torch.matmul, "matmul", "__matmul__", torch.linalg.matmul])
def test_matmul_agrees_with_torch(target: object, a: Shape, b: Shape) -> None:
    """Matrix products of all ranks and broadcasts have the MACs that torch counts."""
    assert cost(target, meta(*a), meta(*b)).macs == torch_macs(target, meta(*a), meta(*b))


@with_torch
@given(shapes(0, 2), distinct(2))
def test_linear_agrees_with_torch(batch: Shape, dims: Shape) -> None:
    """Linear layers on any batch have the MACs that torch counts."""
    n, m = dims
    args = meta(*batch, n), meta(m, n), meta(m)
    assert cost(F.linear, *args).macs == torch_macs(F.linear, *args)


@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
@pytest.mark.parametrize(
    ("target", "args"),
    [
        (torch.addmm, ((7,), (5, 6), (6, 7))),
        (torch.mm, ((5, 6), (6, 7))),
        (torch.bmm, ((2, 5, 6), (2, 6, 7))),
        (torch.baddbmm, ((2, 5, 7), (2, 5, 6), (2, 6, 7))),
        (torch.chain_matmul, ((2, 9), (9, 3), (3, 8), (8, 5))),
    ],
)
def test_products_agree_with_torch(target: object, args: tuple[Shape, ...]) -> None:
    """The named matrix products have the MACs that torch counts."""
    tensors = [meta(*shape) for shape in args]
    expected = torch_macs(target, *tensors)
    assert cost(target, *tensors).macs == expected > 0


def test_multi_dot_agrees_with_torch() -> None:
    """A list of matrices is multiplied in the order that torch takes."""
    chain = [meta(2, 9), meta(9, 3), meta(3, 8), meta(8, 5)]
    assert cost(torch.linalg.multi_dot, chain).macs == torch_macs(torch.linalg.multi_dot, chain)


@pytest.mark.parametrize("dims", [0, 1, 2, ([0, 2], [1, 0]), ([1], [2])])
def test_tensordot_agrees_with_torch(dims: object) -> None:
    """Contracting the last, the named or no dimensions has the MACs that torch counts."""
    a, b = (meta(3, 4, 5), meta(5, 3, 4)) if not isinstance(dims, int) else (meta(2, 4, 5), meta(4, 5, 7))
    if dims == 1:
        a, b = meta(2, 4, 5), meta(5, 4, 7)
    assert cost(torch.tensordot, a, b, dims).macs == torch_macs(torch.tensordot, a, b, dims)


@pytest.mark.parametrize(
    ("target", "args", "macs"),
    [
        (torch.mv, ((5, 6), (6,)), 30),
        (torch.matmul, ((5, 6), (6,)), 30),
        (torch.matmul, ((6,), (2, 6, 7)), 84),  # 2 * 6 * 7
        (torch.dot, ((6,), (6,)), 6),
        (torch.vdot, ((6,), (6,)), 6),
        (torch.inner, ((2, 6), (5, 6)), 60),  # 2 * 5 * 6
        (torch.addmv, ((5,), (5, 6), (6,)), 30),
        (torch.addbmm, ((5, 7), (2, 5, 6), (2, 6, 7)), 420),  # 2 * 5 * 6 * 7
        (torch.linalg.vecdot, ((3, 6), (1, 6)), 18),
        ("__rmatmul__", ((6, 7), (5, 6)), 210),  # (5, 6) @ (6, 7)
        (torch.cov, ((5, 6),), 150),  # 5 * 5 * 6
    ],
)
def test_products_that_torch_does_not_count(target: object, args: tuple[Shape, ...], macs: int) -> None:
    """Products with vectors, for which torch has no formula, count by hand."""
    make = torch.ones if target is torch.cov else meta  # torch.cov has no meta kernel
    tensors = [make(*shape) for shape in args]
    assert cost(target, *tensors).macs == macs


def substituted(n: int, unit: bool) -> int:
    """Count the operations of a forward substitution while solving for one right-hand side."""
    coefficients = [[1 if unit and i == j else i + j + 1 for j in range(n)] for i in range(n)]
    solution: list[float] = []
    operations = 0
    for i in range(n):
        value = 1.0
        for j in range(i):
            value -= coefficients[i][j] * solution[j]
            operations += 2
        if not unit:
            value /= coefficients[i][i]
            operations += 1
        solution.append(value)
    return operations


@given(shapes(0, 2), sizes, sizes, st.booleans(), st.booleans())
def test_solve_triangular_is_a_substitution_per_column(batch: Shape, n: int, k: int, left: bool, unit: bool) -> None:
    """Every right-hand side of every matrix costs one substitution, and no MACs."""
    out = (*batch, n, k) if left else (*batch, k, n)
    found = RULES["linalg_solve_triangular"]((*batch, n, n), out, left=left, unitriangular=unit, out=out)
    assert found == Cost(flops=prod(batch) * k * substituted(n, unit))


def test_solve_triangular_is_found_by_its_torch_name() -> None:
    """The keyword arguments of torch.linalg.solve_triangular reach the rule."""
    a, b = meta(5, 4, 4), meta(5, 4, 3)
    found = cost(torch.linalg.solve_triangular, a, b, upper=False, unitriangular=True)
    assert found == Cost(flops=5 * 3 * 12)
