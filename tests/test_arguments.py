"""Arguments of another kind than they must be are refused in one sentence, by every function of the analyzer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxprof
from tests.tracing.made import module

SHAPE = (1, 3, 8, 8)
MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
REPORT = fxprof.analyze(MODEL, SHAPE)
# Of each of these, an argument takes one at most.
WRONG = [3, -1, 2.5, "yes", b"x", [1], ("a",), {1: 2}, {"conv2d": "x"}, object(), int, torch.ones(2), {3}, REPORT]

TAKEN: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "model": (lambda value: fxprof.analyze(value, SHAPE), []),
    "kwargs": (lambda value: fxprof.analyze(MODEL, SHAPE, kwargs=value), []),
    "rules": (lambda value: fxprof.analyze(MODEL, SHAPE, rules=value), []),
    "a rule": (lambda value: fxprof.analyze(MODEL, SHAPE, rules={**fxprof.RULES, "conv2d": value}), []),
    "training": (lambda value: fxprof.analyze(MODEL, SHAPE, training=value), []),
    "strict": (lambda value: fxprof.analyze(MODEL, SHAPE, strict=value), []),
    "bounds": (lambda value: fxprof.analyze(MODEL, SHAPE, bounds=value), []),
    "a bound": (lambda value: fxprof.analyze(MODEL, SHAPE, bounds={"nonzero": value}), [3, -1, 2.5]),
    "name": (lambda value: fxprof.analyze(MODEL, SHAPE, name=value), ["yes"]),
    "trace, kwargs": (lambda value: fxprof.trace(MODEL, SHAPE, kwargs=value), []),
    "trace, bounds": (lambda value: fxprof.trace(MODEL, SHAPE, bounds=value), []),
    "count": (REPORT.count, []),
    "explain": (REPORT.explain, []),
    "explain, base": (lambda value: REPORT.explain("thop", value), []),
    "depth": (REPORT.by_module, [3]),
    "to_dot, depth": (lambda value: REPORT.to_dot(depth=value), [3]),
    "to_json, indent": (REPORT.to_json, [3]),
    "from_json": (fxprof.Report.from_json, []),
    "from_dict": (fxprof.Report.from_dict, []),
    "scaling, model": (lambda value: fxprof.scaling(value, SHAPE), []),
    "scaling, kwargs": (lambda value: fxprof.scaling(MODEL, SHAPE, kwargs=value), []),
    "scaling, dimensions": (lambda value: fxprof.scaling(MODEL, SHAPE, dimensions=value), []),
    "compute_model_complexity, model": (lambda value: fxprof.compute_model_complexity(value, SHAPE), []),
    "compute_model_complexity, size": (lambda value: fxprof.compute_model_complexity(MODEL, value), []),
    "TensorSpec": (fxprof.TensorSpec, [[1], {3}]),
    "TensorSpec, dtype": (lambda value: fxprof.TensorSpec((1,), value), []),
}


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("argument", TAKEN)
def test_an_argument_of_another_kind_is_refused(argument: str, value: Any) -> None:
    """With a message of one line that is not the whole of what was got."""
    call, taken = TAKEN[argument]
    if any(value is other for other in taken) or (isinstance(value, (int, list, set)) and value in taken):
        call(value)
        return

    with pytest.raises(fxprof.FxprofError) as raised:
        call(value)

    assert 0 < len(str(raised.value)) < 700
    assert "\n" not in str(raised.value)


def nonzero(self: Any, x: Tensor) -> Tensor:
    """As many rows as the data says."""
    return self.fc(x[(x.sum(1) > 0).nonzero()[:, 0]])


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"nonzzero": 2}, r"got 'nonzzero'; did you mean 'nonzero'\?; it reads nonzero at test_arguments.py:\d+"),
        ({"test_arguments.py:1": 2}, r"did you mean 'test_arguments.py:\d+'\?; it reads"),
        ({"nonzero": 2, "conv2d": 2}, "got 'conv2d'; it reads nonzero"),
        ({"nonzero": -1}, r"the bound of nonzero at test_arguments.py:\d+ must be a whole number, 0 or more, got -1"),
        ({"nonzero": 2.5}, "must be a whole number, 0 or more, got 2.5"),
    ],
)
def test_a_bound_that_names_nothing_is_refused(bounds: dict[str, Any], said: str) -> None:
    """It would have changed nothing."""
    with pytest.raises(fxprof.InputError, match=said):
        fxprof.analyze(module(nonzero, fc=nn.Linear(4, 4)), (5, 4), bounds=bounds)


def test_bounds_of_ops_that_read_from_data_serve_several_models() -> None:
    """Whether a model comes by them or not."""
    assert fxprof.analyze(module(nonzero, fc=nn.Linear(4, 4)), (5, 4), bounds={"nonzero": 2, "nms": 7}).macs == 2 * 16
    assert fxprof.analyze(MODEL, SHAPE, bounds={"nms": 7, "item": 3}) == REPORT


@pytest.mark.parametrize("cost", [fxprof.Cost(macs=1.5), fxprof.Cost(flops=None)])  # type: ignore[arg-type]
def test_a_rule_that_counts_in_fractions_is_refused(cost: fxprof.Cost) -> None:
    """Counts are whole."""
    with pytest.raises(fxprof.RuleError, match="must return a Cost of ints"):
        fxprof.analyze(MODEL, SHAPE, rules={**fxprof.RULES, "conv2d": lambda *_, out: cost})
