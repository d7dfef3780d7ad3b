"""Mixtures of experts: exact in total whatever the data, and the parameters that one token uses."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from fxprof.report import Report
from tests.tracing import experts
from tests.tracing.experts import CHOSEN, EXPERT, EXPERTS, HIDDEN, ROUTER, WIDTH
from tests.tracing.made import module

TOKENS = 40


@pytest.mark.parametrize("name", experts.EXACT)
def test_every_implementation_costs_its_chosen_experts(name: str) -> None:
    """Tokens x k x expert, beside the router, and as many active parameters as one token meets."""
    model = experts.EXACT[name]()

    report = fxprof.analyze(model, (TOKENS, WIDTH))

    assert report.macs == TOKENS * (ROUTER + CHOSEN * EXPERT)
    assert report.params == ROUTER + EXPERTS * EXPERT
    assert report.active_params == ROUTER + CHOSEN * EXPERT
    assert not report.uncounted


@pytest.mark.parametrize("name", [*sorted(set(experts.EXACT) - {"Grouped"}), "Capacity", "Dense"])
def test_the_total_is_that_of_a_run_on_data(name: str) -> None:
    """torch's own counter, on random numbers, which route as they happen to; on the CPU it has no grouped product."""
    model = getattr(experts, name)()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.randn(TOKENS, WIDTH))

    assert fxprof.analyze(model, (TOKENS, WIDTH)).macs * 2 == counter.get_total_flops()


def test_experts_that_everything_passes_are_all_active() -> None:
    """Weights of zero save no work: the code multiplies every token with every expert."""
    report = fxprof.analyze(experts.Dense(), (TOKENS, WIDTH))

    assert report.macs == TOKENS * (ROUTER + EXPERTS * EXPERT)
    assert report.active_params == report.params


def test_experts_of_a_capacity_count_their_slots() -> None:
    """As many slots as there are choices, so that the part of a token is k experts."""
    report = fxprof.analyze(experts.Capacity(), (TOKENS, WIDTH))

    assert report.active_params == ROUTER + CHOSEN * EXPERT


@pytest.mark.parametrize("tokens", [1, 3, 7, 40])
def test_uneven_numbers_of_tokens_add_up(tokens: int) -> None:
    """Also where they do not divide among the experts, or not every expert gets one."""
    report = fxprof.analyze(experts.Where(), (tokens, WIDTH))

    assert report.macs == tokens * (ROUTER + CHOSEN * EXPERT)
    assert report.active_params == ROUTER + CHOSEN * EXPERT


def test_tables_too_large_to_keep_are_let_go() -> None:
    """One-hot encodings of many tokens over many layers keep their values, and add up."""
    layers = [experts.SkipsEmpty() for _ in range(3)]
    tokens = 1 << 17  # x 2 x 5: above what control data may have

    report = fxprof.analyze(nn.Sequential(*layers), (tokens, WIDTH))

    assert report.macs == 3 * tokens * (ROUTER + CHOSEN * EXPERT)


def test_the_choice_is_declared_once_with_what_it_could_change() -> None:
    """One bound per router, and an exact total is no exact report."""
    report = fxprof.analyze(experts.Where(), (TOKENS, WIDTH))

    (bound,) = report.bounds
    assert (bound.op, bound.what, bound.assumed) == ("topk", "which 2 of 5 each row takes", "each equally often")
    assert "experts.py:" in bound.source
    assert bound.effect.startswith("how the rows spread")
    assert not report.exact


def test_active_params_go_through_json_and_into_the_table() -> None:
    """Shares of every parameter are part of the report."""
    report = fxprof.analyze(experts.GatheredWeights(), (TOKENS, WIDTH))

    assert Report.from_dict(report.to_dict()) == report
    assert report.to_dict()["totals"]["active_params"] == ROUTER + CHOSEN * EXPERT
    assert re.search(r"Active parameters +552 +552  used by one token", str(report))
    assert {entry.name: entry.share for entry in report.state}["up"] == (CHOSEN, EXPERTS)


def test_without_routing_what_the_forward_reads_is_active() -> None:
    """Also after rows are selected: a pooled head and the picks of a detector serve every input."""

    def forward(self: Any, x: Tensor) -> Tensor:
        best = self.score(x)[:, 0].topk(5).indices
        return self.head(self.body(x[best]).amax(0))

    parts = {name: nn.Linear(WIDTH, WIDTH) for name in ("score", "body", "head", "spare")}
    report = fxprof.analyze(module(forward, **parts), (TOKENS, WIDTH))

    assert report.active_params == report.params - report.unused_params == 3 * WIDTH * (WIDTH + 1)
    assert "Active parameters" not in str(report)  # those that nothing reads are called unused


def test_ids_that_choose_an_expert_route_too() -> None:
    """Hash layers know their rows from the ids; a token still meets one expert of three."""

    def forward(self: Any, x: Tensor, ids: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        for index, each in enumerate(self.experts):
            mask = ids % 3 == index
            out[mask] = each(x[mask])
        return out

    model = module(forward, experts=nn.ModuleList(experts.expert() for _ in range(3)))
    report = fxprof.analyze(model, (TOKENS, WIDTH), torch.arange(TOKENS))

    assert (report.macs, report.exact) == (TOKENS * EXPERT, True)
    assert report.active_params == EXPERT


def test_a_batch_put_together_in_new_memory_is_data() -> None:
    """As detectors do with images: the layers behind it see all rows, though the memory was made from nothing."""

    def forward(self: Any, x: Tensor) -> Tensor:
        batch = x.new_full((TOKENS, WIDTH), 0)
        batch[: len(x)].copy_(x)
        found = self.body(batch)
        labels = self.head(found).argmax(-1)
        return torch.cat([found[labels == 0], found[labels == 1]])

    model = module(forward, body=nn.Linear(WIDTH, WIDTH), head=nn.Linear(WIDTH, 2))
    report = fxprof.analyze(model, (TOKENS // 2, WIDTH))

    assert report.active_params == report.params


def test_tables_looked_up_by_position_are_whole() -> None:
    """A bias per relative position serves every row, also beside masks of several values."""

    def forward(self: Any, x: Tensor) -> Tensor:
        where = torch.arange(TOKENS) % 4
        return self.fc(x + self.table[where]) + ((where == 0) | (where == 1))[:, None]

    model = module(forward, fc=nn.Linear(WIDTH, WIDTH), table=nn.Parameter(torch.ones(4, WIDTH)))

    report = fxprof.analyze(model, (TOKENS, WIDTH))

    assert report.active_params == report.params


class Pooled(nn.Module):
    """Two layers of experts with residuals between a stem and a head that sees one token."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH, bias=False)
        self.first, self.second = kind(), kind()
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.first(self.norm(x))
        x = x + self.second(self.norm(x))
        return self.head(x[:1])


@pytest.mark.parametrize("name", experts.EXACT)
def test_only_experts_are_routed(name: str) -> None:
    """What comes before, between and after them is used whole."""
    report = fxprof.analyze(Pooled(experts.EXACT[name]), (TOKENS, WIDTH))

    dense = WIDTH * WIDTH + WIDTH + 3 * WIDTH
    assert report.active_params == dense + 2 * (ROUTER + CHOSEN * EXPERT)


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="this torch has no grouped product")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_grouped_products_of_any_dtype_and_size(dtype: torch.dtype) -> None:
    """The kernel's wishes for bfloat16 and strides of 16 bytes do not concern the count."""
    functions = [torch._grouped_mm, getattr(torch.nn.functional, "grouped_mm", torch._grouped_mm)]
    ends = torch.tensor([1, 3, 8, 10], dtype=torch.int32)
    for function in functions:
        model = module(lambda self, x, ends, f=function: f(x, self.w, offs=ends), w=nn.Parameter(torch.ones(4, 7, 9)))
        report = fxprof.analyze(model.to(dtype), (10, 7), ends)

        assert (report.macs, report.exact, report.active_params) == (10 * 7 * 9, True, 7 * 9)


def test_mixtral_has_its_published_sizes() -> None:
    """46.7 and 12.9 billion parameters, whichever way transformers computes its experts."""
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(num_hidden_layers=2)
    reports = []
    for kind in ("eager", "grouped_mm", "batched_mm"):
        config._experts_implementation = kind
        with torch.device("meta"):
            model = transformers.MixtralForCausalLM(config)
        reports.append(fxprof.analyze(model, kwargs={"input_ids": torch.arange(16)[None]}))

    layer = reports[0].by_module()["model.layers.0"].macs
    assert {(report.macs, report.params, report.active_params) for report in reports} == {
        (reports[0].macs, reports[0].params, reports[0].active_params)
    }
    assert layer > 0
    # 30 more layers, each an attention, a router and two norms, and 8 experts of which 2 are used
    dense = 4096 * (4096 + 1024) * 2 + 8 * 4096 + 2 * 4096
    expert = 3 * 4096 * 14336
    assert round((reports[0].params + 30 * (dense + 8 * expert)) / 1e9, 1) == 46.7
    assert round((reports[0].active_params + 30 * (dense + 2 * expert)) / 1e9, 1) == 12.9


def test_every_example_is_tested() -> None:
    """No class of the examples is left out of the lists above."""
    classes = {name for name, made in inspect.getmembers(experts, inspect.isclass) if "forward" in vars(made)}

    assert classes == {*experts.EXACT, "Grouped", "Capacity", "Dense"}
    assert HIDDEN > WIDTH
