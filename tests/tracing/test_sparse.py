"""Sparse tensors, which are counted as dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxprof
from tests.tracing.made import module

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")


class Neighbours(nn.Module):
    """A graph convolution."""

    def __init__(self, adjacency: Tensor) -> None:
        """With the graph in a buffer."""
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.register_buffer("adjacency", adjacency)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Over the graph, and another."""
        found = torch.mm(self.adjacency, self.fc(x))  # type: ignore[arg-type]
        return found if other is None else torch.sparse.mm(other, found)


@pytest.mark.parametrize("sparse", [Tensor.to_sparse, Tensor.to_sparse_csr])
def test_sparse_operands_are_said_to_be_taken_for_dense(sparse: Any) -> None:
    """Buffers and inputs, with what is stored of them; dense ones stay exact."""
    made = Neighbours(sparse(torch.eye(6)))

    [kept] = fxprof.analyze(made, (6, 4)).bounds
    both = fxprof.analyze(made, (6, 4), sparse(torch.ones(6, 6).tril()))

    assert (kept.what, kept.assumed) == ("how many elements of adjacency are stored", "all 36, although 6 are")
    assert "an upper bound" in kept.effect and not kept.source
    assert [bound.assumed for bound in both.bounds] == ["all 36, although 21 are", kept.assumed]
    assert both.macs == 6 * 16 + 2 * 6 * 6 * 4
    assert fxprof.analyze(Neighbours(torch.eye(6)), (6, 4)).exact


SPARSE: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], int]] = {  # result and FLOPs, as if dense
    "sum": (lambda x: torch.sparse.sum(x), (), 15),  # 16 elements into 1
    "sum of rows": (lambda x: torch.sparse.sum(x, dim=1).to_dense(), (4,), 12),  # 3 in each of 4 rows
    "softmax": (lambda x: torch.sparse.softmax(x, dim=1).to_dense(), (4, 4), 72),  # 5 per element less 2 per row
    "values": (lambda x: x.coalesce().values() * 2, (5,), 5),  # those that are stored
    "indices": (lambda x: x.coalesce().indices(), (2, 5), 0),
    "number": (lambda x: torch.ones(2).expand(x._nnz(), 2), (5, 2), 0),
    "asked": (lambda x: x.to_dense() if x.is_sparse else x * 2, (4, 4), 0),
    "smm": (lambda x: torch.smm(x, torch.ones(4, 3)).to_dense(), (4, 3), 96),  # 2 x 4 x 4 x 3
}


@pytest.mark.parametrize("place", ["input", "buffer"])
@pytest.mark.parametrize("name", SPARSE)
def test_a_sparse_tensor_is_asked_what_it_stores(name: str, place: str) -> None:
    """Its functions are counted as of a dense one, and the assumption is listed."""
    function, shape, flops = SPARSE[name]
    stored = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 3, 0, 3]])
    graph = torch.sparse_coo_tensor(stored, torch.ones(5), (4, 4))
    made = module(lambda self, x: function(x if place == "input" else self.graph))
    made.register_buffer("graph", graph)

    report = fxprof.analyze(made, graph if place == "input" else (1,))
    [result] = [op.outputs[0] for op in report.ops if op.name in report.outputs]

    assert (result.shape, report.flops, report.uncounted) == (shape, flops, ())
    assert [bound.assumed for bound in report.bounds if bound.op == "sparse"][:1] == ["all 16, although 5 are"]
