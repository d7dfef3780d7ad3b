"""Laws of einsum: it is the products that it can be written as."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, left_to_right, meta, torch_macs
from tests.rules.strategies import shapes, sizes, with_torch

einsum, matmul = RULES["einsum"], RULES["matmul"]


@given(shapes(0, 2), sizes, sizes, sizes)
def test_einsum_is_matmul(batch: Shape, i: int, k: int, j: int) -> None:
    """A matrix product written as an einsum costs the same, on any batch, whatever its indices are called."""
    a, b = (*batch, i, k), (*batch, k, j)
    expected = matmul(a, b, out=(*batch, i, j))
    assert einsum("...ik,...kj->...ij", a, b) == einsum(" ...Zq, ...qa -> ...Za ", a, b) == expected


@given(sizes, sizes, sizes, sizes)
def test_einsum_is_bmm(n: int, i: int, k: int, j: int) -> None:
    """A batch index costs as a batch does; operands may come as one list."""
    expected = RULES["bmm"]((n, i, k), (n, k, j), out=(n, i, j))
    assert einsum("nik,nkj->nij", (n, i, k), (n, k, j)) == expected
    assert einsum("nik,nkj->nij", ((n, i, k), (n, k, j))) == expected


@given(sizes, sizes, sizes, sizes)
def test_einsum_is_tensordot(i: int, k: int, q: int, j: int) -> None:
    """Two contracted indices cost as a tensordot over two dimensions does."""
    assert einsum("ikq,kqj->ij", (i, k, q), (k, q, j)) == RULES["tensordot"]((i, k, q), (k, q, j), dims=2, out=(i, j))


@given(sizes, sizes, sizes, sizes)
def test_einsum_contracts_from_left_to_right(a: int, b: int, c: int, d: int) -> None:
    """Three operands are the product of the first two, and of that with the third."""
    chain = matmul((a, b), (b, c), out=(a, c)) + matmul((a, c), (c, d), out=(a, d))
    assert einsum("ab,bc,cd->ad", (a, b), (b, c), (c, d)) == chain


@given(sizes, sizes, sizes, sizes)
def test_einsum_follows_a_path(a: int, b: int, c: int, d: int) -> None:
    """A path says which two operands come first."""
    chain = matmul((b, c), (c, d), out=(b, d)) + matmul((a, b), (b, d), out=(a, d))
    assert einsum("ab,bc,cd->ad", (a, b), (b, c), (c, d), path=[1, 2, 0, 1]) == chain


@given(sizes, sizes)
def test_implicit_output_is_what_occurs_once(i: int, j: int) -> None:
    """Without an arrow, indices that occur once are kept, in alphabetical order."""
    assert einsum("ij,j", (i, j), (j,)) == einsum("ij,j->i", (i, j), (j,))
    assert einsum("...i,...i", (j, i), (j, i)) == einsum("...i,...i->...", (j, i), (j, i))


@given(sizes, sizes)
def test_an_outer_product_has_no_macs(i: int, j: int) -> None:
    """Without a contracted index every output is one multiplication."""
    assert einsum("i,j->ij", (i,), (j,)) == einsum("ij,ij->ij", (i, j), (i, j)) == Cost(flops=i * j)


@given(sizes, sizes)
def test_one_operand_is_a_sum(i: int, j: int) -> None:
    """A single operand is summed, and its diagonal or transpose is free."""
    assert einsum("ij->i", (i, j)) == RULES["sum"]((i, j), out=(i,))
    assert einsum("ij->ji", (i, j)) == einsum("ii->i", (i, i)) == Cost()


@given(sizes, sizes, sizes)
def test_an_index_of_one_operand_is_summed_before(i: int, j: int, k: int) -> None:
    """An index that nobody else has costs its additions, not a contraction."""
    assert einsum("ij,kj->i", (i, j), (k, j)) == RULES["sum"]((k, j), out=(j,)) + einsum("ij,j->i", (i, j), (j,))


@given(st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_two_operands_count_every_product(dims: list[int]) -> None:
    """The MACs of a contraction are the products of nested loops over all of its indices."""
    i, j, k = dims
    loops = sum(1 for _ in product(range(i), range(j), range(k)))
    assert einsum("ijk,kj->i", (i, j, k), (k, j)).macs == loops


EQUATIONS = [
    "ij,jk->ik", "bij,bjk->bik", "bhid,bhjd->bhij", "bij,bkj->bki", "ij,ij->", "ab,bc,cd->ad", "abc,cd,de->abe",
    "...ij,...jk->...ik", "b...i,oi->b...o", "iij,jk->ik", "ab,cb->a", "abcd,ce,df->abef", "nhwc,hkc->nhwk", "ab,ab->a",
    "bi,oij,bj->bo", "ab,bc", "ij,jk,kl,lm->im", "a,b,ab->", "ab,b,bc->c", "bqhd,bkhd->bhqk",
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_agrees_with_torch(equation: str) -> None:
    """Equations of one to four operands have the MACs that torch counts."""
    size = {letter: 2 + n for n, letter in enumerate("abcdefhijklmnoqw")}
    terms = equation.split("->")[0].split(",")
    operands = []
    for term in terms:
        letters = term.replace("...", "+")
        operands.append(meta(*(s for c in letters for s in ((3, 19) if c == "+" else (size[c],)))))
    with left_to_right():
        assert cost(torch.einsum, equation, *operands).macs == torch_macs(torch.einsum, equation, *operands)


@with_torch
@given(st.data())
def test_random_equations_agree_with_torch(data: st.DataObject) -> None:
    """Random equations of two operands have the MACs that torch counts."""
    indices = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map("".join)
    left, right = data.draw(indices), data.draw(indices)
    output = "".join(c for c in "abcd" if c in left + right and data.draw(st.booleans()))
    size = dict(zip("abcd", (2, 3, 5, 7)))
    operands = [meta(*(size[c] for c in term)) for term in (left, right)]
    equation = f"{left},{right}->{output}"
    assert cost(torch.einsum, equation, *operands).macs == torch_macs(torch.einsum, equation, *operands)
