"""Control data keeps its values; what depends on real data is bounded and declared."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxprof
from fxprof import TensorSpec
from tests.tracing.made import module


def linear() -> nn.Linear:
    """A layer whose 16 MACs per row make rows countable."""
    return nn.Linear(4, 4)


def test_sizes_read_from_integer_inputs_are_exact() -> None:
    """``.item()``, ``nonzero`` and masks on ids work, and nothing is assumed."""

    def forward(self: Any, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        longest = int(lengths.max().item())
        assert mask.any() and not mask.all()
        rows = x[:, :longest][mask[:, :longest]]
        return self.fc(rows)[: len(lengths.nonzero())]

    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
    report = fxprof.analyze(module(forward, fc=linear()), (2, 5, 4), torch.tensor([3, 1]), mask)

    assert report.macs == 4 * 16
    assert report.exact


def test_a_mask_expanded_over_features_keeps_its_values() -> None:
    """A view takes no memory: 3 of 8 tokens are 3 x 2**18 of 2**21 elements, whatever the limit for tables."""

    def forward(self: Any, x: Tensor, mask: Tensor) -> Tensor:
        wide = mask.unsqueeze(-1).expand_as(x)
        assert x[wide].numel() == wide.sum() == 3 << 18
        return self.fc(x[wide].view(-1, 4))

    mask = torch.tensor([[1, 0, 1, 0, 0, 0, 1, 0]], dtype=torch.bool)
    report = fxprof.analyze(module(forward, fc=linear()), (1, 8, 1 << 18), mask)

    assert report.macs == (3 << 18) * 4
    assert report.exact


def test_another_tensor_lends_its_dtype_only() -> None:
    """Control data converted after an abstract tensor is control data still."""

    def forward(self: Any, x: Tensor, mask: Tensor) -> Tensor:
        for converted in (mask.type_as(x), mask.to(x)):
            assert converted.dtype is x.dtype and converted.sum() == 3
        return self.fc(x)

    assert fxprof.analyze(module(forward, fc=linear()), (2, 4), torch.tensor([1, 0, 1, 1])).exact


def test_tables_and_masks_made_in_forward_keep_their_values() -> None:
    """Even where a table is filled in steps, viewed, and turned into booleans."""

    def forward(self: Any, x: Tensor) -> Tensor:
        table = torch.zeros(6, 6, dtype=torch.int64, device=x.device)
        table[2:4, 2:4] = 1
        table.view(-1)[0] = 1
        causal = torch.arange(6)[:, None] >= torch.arange(6)[None]
        return self.fc(x[(table.bool() & causal).nonzero()[:, 0]])

    # (0, 0), and of the block rows and columns 2 and 3 the three with row >= column.
    assert fxprof.analyze(module(forward, fc=linear()), (6, 4)).macs == 4 * 16


def test_abstract_values_written_into_a_table_make_it_abstract() -> None:
    """Also through a view of it; what was read before stays."""

    def forward(self: Any, x: Tensor) -> Tensor:
        table = torch.zeros(3)
        before = int(table.sum())
        view = table[1:]
        view[0] = x.sum()
        return self.fc(x[: before + 1]) if (table > 0).any() else x

    report = fxprof.analyze(module(forward, fc=linear()), (2, 4))

    assert report.macs == 16
    assert [bound.what for bound in report.bounds] == ["a branch on data"]


BOUNDED = {
    "nonzero": (lambda self, x: self.fc(x[(x.sum(1) > 0).nonzero()[:, 0]]), 5, "at most 5"),
    "mask": (lambda self, x: self.fc(x[x.sum(1) > 0]), 5, "at most 5"),
    "masked_select": (lambda self, x: self.fc(x.masked_select(x > 0)[:4]), 1, "at most 20"),
    "where": (lambda self, x: self.fc(x[torch.where(x[:, 0] > 0)[0]]), 5, "at most 5"),
    "unique": (lambda self, x: self.fc(x[torch.unique(x.argmax(1))]), 4, "each equally often"),
    "count": (lambda self, x: self.fc(x[: (x[:, 0] > 0).sum().item()]), 5, "5"),
    "index": (lambda self, x: self.fc(x[: int(x.argmax(dim=1).max())]), 3, "each equally often"),
    "clamped": (lambda self, x: self.fc(x[: int(x.sum().clamp(0, 2) + 1)]), 3, "3"),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_sizes_that_depend_on_data_get_a_declared_upper_bound(name: str) -> None:
    """The count is the bound's, and the report says what was assumed and at which line."""
    forward, rows, assumed = BOUNDED[name]

    report = fxprof.analyze(module(forward, fc=linear()), (5, 4))

    assert report.macs == rows * 16
    assert not report.exact
    assert assumed in [bound.assumed for bound in report.bounds]
    assert all("test_control.py:" in bound.source for bound in report.bounds)


def test_bounds_can_be_given_by_op_and_by_line() -> None:
    """``bounds=`` overrides what would be assumed."""
    model = module(lambda self, x: self.fc(x[(x.sum(1) > 0).nonzero()[:, 0]]), fc=linear())
    source = fxprof.analyze(model, (5, 4)).bounds[0].source.rpartition("/")[2]

    assert fxprof.analyze(model, (5, 4), bounds={"nonzero": 2}).macs == 2 * 16
    assert fxprof.analyze(model, (5, 4), bounds={source: 3}).macs == 3 * 16


def test_a_number_without_any_bound_is_an_error_that_says_what_to_do() -> None:
    """No size is made up."""
    model = module(lambda self, x: self.fc(x[: int(x.sum().long())]), fc=linear())

    with pytest.raises(
        fxprof.DataDependentError, match=r"largest value is not known; .*bounds=\{'test_control.py:\d+': \.\.\.\}"
    ):
        fxprof.analyze(model, (5, 4))


def test_a_branch_on_data_is_taken_and_declared() -> None:
    """True first; false where true raises; and as told where told."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if torch.isnan(x).any():
            raise ValueError("not a number")
        return self.fc(x) if x.mean() > 0 else x

    model = module(forward, fc=linear())
    report = fxprof.analyze(model, (5, 4))

    assert report.macs == 5 * 16
    assert [bound.assumed for bound in report.bounds] == ["False", "True"]
    line = report.bounds[1].source.rpartition("/")[2]
    assert fxprof.analyze(model, (5, 4), bounds={line: False}).macs == 0


def test_a_loop_until_convergence_ends() -> None:
    """It is left after a fixed number of turns, which the report declares."""

    def forward(self: Any, x: Tensor) -> Tensor:
        while x.abs().max() > 1e-3:
            x = self.fc(x)
        return x

    report = fxprof.analyze(module(forward, fc=linear()), (5, 4))

    assert report.macs == 64 * 5 * 16
    assert {(bound.assumed, bound.calls) for bound in report.bounds} == {("True", 64), ("False", 1)}


def test_integers_without_values_are_declared_where_they_steer() -> None:
    """A TensorSpec of integers is taken as ones; only a decision that reads them is a bound."""
    embed = module(lambda self, ids: self.fc(self.emb(ids)), emb=nn.Embedding(10, 4), fc=linear())
    select = module(lambda self, x, ids: self.fc(x[ids == 1]), fc=linear())

    assert fxprof.analyze(embed, TensorSpec((2, 3), torch.int64)).exact
    report = fxprof.analyze(select, (3, 4), TensorSpec((3,), torch.int64))
    assert report.macs == 3 * 16
    assert [bound.what for bound in report.bounds] == ["the values of an input given without data"]


def test_strict_refuses_assumptions_and_unknown_ops() -> None:
    """One error names them all and what to do."""
    model = module(lambda self, x: torch.linalg.svd(x[x[:, 0] > 0])[1], fc=linear())

    with pytest.raises(
        fxprof.UncountedError, match=r"no rule for 'svd' \(1 calls.*number of elements found.*at most 5"
    ):
        fxprof.analyze(model, (5, 4), strict=True)


@pytest.mark.parametrize(
    ("forward", "shape", "advice"),
    [
        (
            lambda self, ids: self.emb(ids),
            (2, 3),
            r"input 'ids' .*embedding in emb needs integers; .*TensorSpec\(\(2, 3\)",
        ),
        (lambda self, ids: self.emb((ids * 2).clone()), (2, 3), "--input ids=2,3:int64"),
        (lambda self, x: torch.zeros(4, 4).gather(0, x), (2, 4), "gather needs integers"),
        (lambda self, x: torch.zeros(4)[x], (2,), "getitem needs integers"),
    ],
)
def test_a_shape_where_integers_are_needed_names_the_input(forward: Any, shape: tuple[int, ...], advice: str) -> None:
    """The message says which input, where it was needed, and how to write it."""
    with pytest.raises(fxprof.FxprofError, match=advice):
        fxprof.analyze(module(forward, emb=nn.Embedding(10, 4)), shape)


def by_comparison(self: Any, x: Tensor) -> Tensor:
    """Each of three experts sees the tokens whose two choices name it."""
    weights, choice = self.gate(x).topk(2)
    out = torch.zeros_like(x)
    for index, expert in enumerate(self.experts):
        token, rank = torch.where(choice == index)
        out[token] += weights[token, rank, None] * expert(x[token])
    return out


def by_encoding(self: Any, x: Tensor) -> Tensor:
    """The same through a one-hot encoding with the experts in front."""
    _, choice = self.gate(x).topk(2)
    chosen = nn.functional.one_hot(choice, num_classes=3).permute(2, 1, 0)
    out = torch.zeros_like(x)
    for index in range(3):
        _, token = torch.where(chosen[index])
        out.index_add_(0, token, self.experts[index](x[token]))
    return out


def by_unique(self: Any, x: Tensor) -> Tensor:
    """The same for the values that occur, with a mask."""
    _, choice = self.gate(x).topk(2)
    rows = x.repeat_interleave(2, 0)
    return torch.cat([self.experts[0](rows[choice.flatten() == index]) for index in torch.unique(choice)])


@pytest.mark.parametrize("forward", [by_comparison, by_encoding, by_unique])
def test_experts_share_the_tokens_exactly(forward: Any) -> None:
    """7 tokens x 2 choices are 14 rows of 16 MACs over all experts, however the loop selects them."""
    model = module(forward, gate=nn.Linear(4, 3), experts=nn.ModuleList(linear() for _ in range(3)))

    report = fxprof.analyze(model, (7, 4))

    assert report.macs == 7 * 4 * 3 + 14 * 16
    assert [(bound.op, bound.what, bound.assumed) for bound in report.bounds] == [
        ("topk", "which 2 of 3 each row takes", "each equally often")
    ]


def test_one_comparison_alone_may_hold_everything() -> None:
    """Only a loop over all values divides the elements."""

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.fc(x[x.argmax(1) == 0]) + self.fc(x[x.argmax(1) == 1])

    assert fxprof.analyze(module(forward, fc=linear()), (7, 4)).macs == 2 * 7 * 16


def draw_before(self: Any, x: Tensor) -> Tensor:
    """A number per layer, one after the other, as in transformers."""
    for layer in self.layers:
        if not (torch.rand([]) < 0.2):
            x = layer(x)
    return x


def draw_at_once(self: Any, x: Tensor) -> Tensor:
    """A number for each layer, over a tensor that is there already."""
    left_out = torch.zeros(len(self.layers)).uniform_(0, 1) < 0.2
    for layer, out in zip(self.layers, left_out):
        x = x if out else layer(x)
    return x


@pytest.mark.parametrize("forward", [draw_before, draw_at_once])
def test_a_layer_that_is_seldom_left_out_is_there(forward: Any) -> None:
    """A draw is taken to be in the middle; two are at a quarter and three quarters; that is declared."""
    model = module(forward, layers=nn.ModuleList([linear(), linear()]))
    state = torch.get_rng_state()

    report = fxprof.analyze(model, (1, 4))

    assert report.macs == 2 * 16
    assert {(bound.what, bound.assumed) for bound in report.bounds} == {
        ("a random draw", "spread evenly over its range")
    }
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_layers_left_out_by_the_dice_of_others_are_always_the_same(draw: Any) -> None:
    """Python's and NumPy's draws are real ones; a report must not depend on what was drawn before it."""

    def forward(self: Any, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x if draw() < 0.5 else layer(x)
        return x

    model = module(forward, layers=nn.ModuleList(linear() for _ in range(32)))
    first = fxprof.analyze(model, (1, 4))
    draw()

    assert fxprof.analyze(model, (1, 4)) == first
    assert 0 < first.macs < 32 * 16


def test_draws_that_steer_nothing_are_not_declared() -> None:
    """Whatever their range is read from: torch wants numbers there."""

    def forward(self: Any, x: Tensor) -> Tensor:
        low = torch.log(torch.tensor([0.5, 2.0]))
        return self.fc(x) * torch.rand(4) + torch.empty(1).uniform_(low[0], low[1])  # type: ignore[arg-type]

    assert fxprof.analyze(module(forward, fc=linear()), (1, 4)).exact


def test_draws_over_abstract_numbers_stay_abstract() -> None:
    """From a range that depends on data, or over more numbers than can steer."""

    def forward(self: Any, x: Tensor) -> Tensor:
        torch.empty(1).uniform_(x[0, 0], x[0, 1])  # type: ignore[arg-type]
        return self.fc(x[torch.rand(1024) < 0.5])

    report = fxprof.analyze(module(forward, fc=linear()), (1024, 4))
    assert report.macs == 1024 * 16


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (torch.cov, (3, 3)), (lambda x: torch.linalg.lstsq(x.T, x.T[:, :1]).solution, (3, 1)),
        (lambda x: torch.histogram(x, 7).hist, (7,)), (lambda x: x.to_sparse().to_dense(), (3, 5)),
    ],
)  # fmt: skip
def test_an_op_of_torch_without_a_meta_kernel_runs_on_zeros(call: Any, shape: tuple[int, ...]) -> None:
    """Its shape is found, and how is declared."""
    model = module(lambda self, x: call(self.fc(x)), fc=nn.Linear(5, 5))

    report = fxprof.analyze(model, (3, 5))

    assert report.ops[-1].outputs[0].shape == shape
    assert report.bounds[0].what == "the shape of its result"


def test_a_permutation_is_one() -> None:
    """A few numbers of it can be read; more have a known range."""

    def forward(self: Any, x: Tensor) -> Tensor:
        few, many = torch.randperm(4), torch.randperm(1024)
        assert sorted(few.tolist()) == [0, 1, 2, 3]
        return self.fc(x[few[:2]]) + self.fc(x[many[:2].tolist()])

    assert fxprof.analyze(module(forward, fc=linear()), (1024, 4)).macs == 2 * 2 * 16


def test_a_number_of_classes_is_read() -> None:
    """Also where it is a tensor."""
    four: Any = torch.tensor(4)
    model = module(lambda self, x: self.fc(F.one_hot(x.argmax(-1), four).float()), fc=linear())

    assert fxprof.analyze(model, (3, 4)).macs == 3 * 16


def test_nested_tensors_are_refused_by_name() -> None:
    """Torch has no meta tensors of that kind."""
    model = module(lambda self, x: torch.nested.nested_tensor([x[0], x[1, :2]], layout=torch.jagged).values())

    with pytest.raises(fxprof.TraceError, match=r"nested tensors cannot be traced.*pad them"):
        fxprof.analyze(model, (2, 4, 8))


def test_one_number_can_be_chosen_from() -> None:
    """A tensor without dimensions has one place to choose."""
    model = module(lambda self, x: self.fc(x) * x.sum().argmax(0) + x.sum().topk(1).values, fc=linear())

    assert fxprof.analyze(model, (1, 4)).exact


def test_variances_are_not_looked_at() -> None:
    """The loss of a Gaussian asks whether one is negative."""
    model = module(lambda self, x: F.gaussian_nll_loss(self.fc(x), x, x.exp(), reduction="none"), fc=linear())

    assert fxprof.analyze(model, (3, 4)).ops[-1].outputs[0].shape == (3, 4)


def pooled(self: Any, x: Tensor) -> Tensor:
    """Two branches at once."""
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda branch: branch(x), (self.fc, self.other))
    return first + second


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_modules_on_threads_of_forward_are_refused(device: str) -> None:
    """What runs there is not recorded, also where it can run on the tensors of the trace."""
    model = module(pooled, fc=linear(), other=linear()).to(device)

    with pytest.raises(
        fxprof.TraceError, match=r"\b(fc|other) was called on one that began meanwhile.*one after another"
    ):
        fxprof.analyze(model, (2, 4))
