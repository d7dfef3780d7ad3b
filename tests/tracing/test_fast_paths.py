"""What makes a trace fast changes no number: without it the graph and the report are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from fxprof import costs, repeated
from fxprof.tracing import alike, formed, leaves, propagate, repeats, small, tracer
from fxprof.tracing.shapes import special
from tests.tracing.made import module

FAST_PATHS = (
    "modules seen before",
    "calls seen before",
    "calls in closed form",
    "shapes in closed form",
    "costs of calls seen before",
    "small results",
    "reports made before",
)


@contextmanager
def without(path: str) -> Iterator[None]:
    """Run the body with one fast path switched off, and nothing remembered."""
    off: dict[str, list[tuple[Any, str, Any]]] = {
        "modules seen before": [(alike, "key", lambda *_: None)],
        "calls seen before": [(tracer, "recall", _nothing_seen)],
        "calls in closed form": [(tracer, "formed", lambda *_: None), (leaves, "unseen", lambda *_: None)],
        "shapes in closed form": [
            (propagate, "SHAPES", special.SHAPES),
            (formed, "SHAPES", special.SHAPES),
            (formed, "VIEWS", {}),
        ],
        "costs of calls seen before": [(costs, "_CALLS", _Forgetful())],
        "reports made before": [(repeated, "question", lambda *_: None)],
        "small results": [(small, "_NEVER_LARGER", frozenset())],
    }
    with forgotten(), ExitStack() as stack:
        for patch in off[path]:
            stack.enter_context(mock.patch.object(*patch))
        yield


def _nothing_seen(look: repeats.Sight) -> None:
    with mock.patch.object(repeats, "_seen", {}):
        repeats.recall(look)


class _Forgetful(dict[Any, Any]):
    def __setitem__(self, key: Any, value: Any) -> None:
        pass


@contextmanager
def forgotten() -> Iterator[None]:
    """Run the body with nothing remembered from before."""
    kept = ((leaves, "_recipes"), (repeats, "_seen"), (costs, "_CALLS"), (repeated, "_reports"))
    with ExitStack() as stack:
        for where, name in kept:
            stack.enter_context(mock.patch.object(where, name, {}))
        yield


ZOO = ("resnet18", "mobilenet_v3_small", "swin_t", "vit_b_32", "googlenet", "raft_small", "fasterrcnn_resnet50_fpn")


@pytest.mark.parametrize("name", ZOO)
def test_reports_are_the_same_without_any_of_them(name: str) -> None:
    """A sample of the zoo: convolutions, windows, attention, branches, loops, boxes."""
    from tests.tracing.models import small  # needs torchvision, which the other laws do not

    built = small(name, "meta")
    with forgotten():
        report = fxprof.analyze(built.model.eval(), *built.inputs)
    for _ in range(3):  # traced with what is remembered, and at last given again
        assert fxprof.analyze(built.model, *built.inputs) == report
    for path in FAST_PATHS:
        with without(path):
            assert fxprof.analyze(built.model, *built.inputs) == report, path


STEPS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "view": lambda x, y: x.reshape(-1),
    "transpose": lambda x, y: x.transpose(0, -1),
    "slice": lambda x, y: x[..., 1:] if x.shape[-1] > 1 else x,
    "row": lambda x, y: x[:1],
    "split": lambda x, y: x.split(1)[0],
    "unbind": lambda x, y: torch.stack(x.unbind(0)),
    "chunk": lambda x, y: torch.cat(x.chunk(2, -1), -1),
    "add": lambda x, y: x + y if x.shape == y.shape else x + 1,
    "subtract from": lambda x, y: 2 - x,
    "in place": lambda x, y: x.mul_(2),
    "relu in place": lambda x, y: F.relu(x, inplace=True),
    "sum": lambda x, y: x.sum(-1, keepdim=True).expand_as(x),
    "largest": lambda x, y: x.max(-1, keepdim=True)[0] + x,
    "position": lambda x, y: x.gather(-1, x.argmax(-1, keepdim=True)),
    "softmax": lambda x, y: x.softmax(-1),
    "mask": lambda x, y: x.masked_fill(torch.ones(x.shape[-1], dtype=torch.bool), 0.0),
    "table": lambda x, y: x[torch.arange(x.shape[0]).flip(0)],
    "to": lambda x, y: x.to(torch.float16).float(),
    "same": lambda x, y: x.contiguous().to(x.dtype),
    "norm": lambda x, y: F.layer_norm(x, x.shape[-1:]),
    "unsqueeze in place": lambda x, y: x.unsqueeze_(0)[0],
    "view by name": lambda x, y: torch.transpose(input=x, dim0=0, dim1=-1),
    "view by name, flat": lambda x, y: torch.flatten(input=x),
    "squeeze": lambda x, y: x.unsqueeze(0).squeeze() if x.numel() > 1 else x,
    "expand": lambda x, y: x.unsqueeze(0).expand(2, *x.shape),
    "relu by name": lambda x, y: torch.relu(input=x) + F.relu(input=x),
    "written view": lambda x, y: x.contiguous().view(-1).add_(1).view(x.shape),
    "new": lambda x, y: x + torch.zeros_like(x),
}


def graph(model: nn.Module, *shapes: tuple[int, ...]) -> list[Any]:
    """All there is to a graph, with memory numbered in order of appearance."""
    numbers: dict[int, int] = {}

    def numbered(item: Any) -> Any:
        return tuple(map(numbered, item)) if isinstance(item, tuple) else numbers.setdefault(item, len(numbers))

    return [
        (
            node.name, node.op, str(node.target), str(node.args), str(node.kwargs), node.meta.get("tensor_meta"),
            numbered(node.meta.get("storage")), node.meta.get("module_path"), str(node.meta.get("written")),
        )
        for node in fxprof.trace(model, *shapes).graph.nodes
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4), st.tuples(*[st.integers(1, 3)] * 2))
def test_a_call_seen_before_is_made_again_as_it_was(names: list[str], shape: tuple[int, int]) -> None:
    """Views, in-place changes, several results, control data: the graph is that of a trace that remembers nothing."""

    def forward(self: nn.Module, x: Tensor, y: Tensor) -> Any:
        found = []
        for start in (x * 1, y * 1, x * 1):  # the second and third turn are seen before
            result = start
            for name in names:
                result = STEPS[name](result, y)
            found += [start, result]
        return found

    model = module(forward)
    with without("calls seen before"):
        expected = graph(model, shape, shape)
    with forgotten():
        first = graph(model, shape, shape)
        again = graph(model, shape, shape)

    assert first == expected
    assert again == expected


def test_one_tensor_twice_is_read_once() -> None:
    """Calls that look alike may still differ in how many tensors they read."""
    report = fxprof.analyze(module(lambda self, x, y: (x * y, x * x, y * x)), (2, 3), (2, 3))

    assert [len(op.args) for op in report.ops] == [2, 1, 2]
    assert report.ops[1].bytes_accessed < report.ops[0].bytes_accessed == report.ops[2].bytes_accessed


def test_equal_numbers_of_different_types_are_told_apart() -> None:
    """1, 1.0 and True give other dtypes, and so does another default dtype."""

    def forward(self: nn.Module, x: Tensor) -> Any:
        n = x.argmax(-1)
        found = [n + 1, n + 1.0, n + True]
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        found.append(n + 1.0)
        torch.set_default_dtype(before)
        return found

    sums = [op.output for op in fxprof.analyze(module(forward), (2, 3)).ops if op.op == "add"]

    assert [spec and spec.dtype for spec in sums] == ["int64", "float32", "int64", "float64"]


def test_what_is_remembered_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep over sizes forgets what it has not seen for long."""
    monkeypatch.setattr(repeats, "_LIMIT", 10)
    monkeypatch.setattr(costs, "_LIMIT", 10)
    with forgotten():
        for size in range(1, 30):
            fxprof.analyze(nn.Linear(4, 4), (size, 4))
        assert 0 < len(repeats._seen) <= 10
        assert 0 < len(costs._CALLS) <= 10
