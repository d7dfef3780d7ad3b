"""The recorded graph: names, and what torch.fx makes of it."""

from __future__ import annotations

import gc
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

import fxprof
from fxprof.tracing import record
from fxprof.tracing.graph import Graph, nodes_in, outside
from fxprof.tracing.inventory import Inventory
from tests.tracing.made import module

names = st.one_of(
    st.sampled_from(["add", "conv2d", "sum", "max", "for", "_", "x_1", "x_2", "x", "log_10", "a.b", "1st", "weight-1"]),
    st.text("abz_019.", min_size=1, max_size=4),
)
# torch 2.4 takes x_01 for the first x, and writes x_1.
if fx.Graph().create_node("placeholder", "x", name="x_01").name != "x_01":
    names = names.filter(lambda name: not re.search(r"(^|_|\W)0\d+$", name))


@given(st.lists(names, min_size=1, max_size=12))
def test_each_node_has_a_name_that_torch_fx_takes(wanted: list[str]) -> None:
    """Names that code can have, each once; the graph that torch.fx has of it has the same."""
    graph = Graph()
    given_names = [
        graph.add("call_function", torch.relu, (), {}, name, outside(), ("", 0), True).name for name in wanted
    ]
    assert len(set(given_names)) == len(wanted)
    written = graph.as_fx()
    assert [node.name for node in written.nodes] == given_names
    written.lint()
    free = [name for name in dict.fromkeys(wanted) if name in ("add", "conv2d", "x", "log_10")]
    assert set(free) <= set(given_names)


def test_arguments_are_written_in_their_nesting() -> None:
    """Nodes within lists, tuples, slices and dicts, and what a call writes to."""

    def forward(self: Any, x: Tensor, y: Tensor) -> Any:
        n = torch.tensor(2)
        z = torch.cat([x, y.clone()], dim=0)
        z[1:n] = 0
        return {"z": (z, x[..., None]), "y": [y]}

    recorded = record(Inventory(module(forward)), ((3, 4), (3, 4)), {}).graph
    written = list(fxprof.trace(module(forward), (3, 4), (3, 4)).graph.nodes)
    assert [str(node) for node in recorded.nodes] == [node.name for node in written]
    for ours, theirs in zip(recorded.nodes, written):
        assert list(map(str, ours.all_input_nodes)) == [node.name for node in theirs.all_input_nodes]
        assert list(map(str, dict.fromkeys(nodes_in((ours.args, ours.kwargs))))) == list(
            map(str, theirs.all_input_nodes)
        )
        assert str(ours.written) == str(theirs.meta.get("written"))
    assert [len(node.all_input_nodes) for node in written if node.op == "output"] == [3]


@pytest.mark.parametrize("training", [False, True])
def test_an_analysis_leaves_nothing_to_the_garbage_collector(training: bool) -> None:
    """What an analysis has made is gone when its report is."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    fxprof.analyze(model, (2, 3, 8, 8), training=training)  # imports, and what is kept for the next
    gc.collect()
    gc.disable()
    try:
        fxprof.analyze(model, (2, 3, 8, 8), training=training)
        assert gc.collect() == 0
    finally:
        gc.enable()
