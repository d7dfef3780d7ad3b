"""Arguments of another kind than they must be are refused in one sentence, by what a load hands out too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import fxprof
from fxprof.checkpoint.plan import Match, Plan

MODEL = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
OPENED = fxprof.read(MODEL.state_dict())
RESULT = fxprof.load(MODEL, OPENED)
GOOD = Match("0.weight", "0.weight", "exact")
WRONG = [None, 3, 2.5, b"x", [1], ("a", 3), {"a": 1}, object(), int, torch.ones(2), {3}, GOOD]


def applied(**parts: Any) -> Any:
    """A plan made by hand, carried out."""
    return fxprof.load(MODEL, OPENED, plan=Plan(**{"matches": (GOOD,), **parts}), force=True)


def applied_with(part: str, value: Any) -> Any:
    """A plan with this for one of its parts."""
    return applied(**{part: value})


PARTS = (
    "matches", "missing_keys", "unexpected_keys", "mismatched_keys", "ambiguous", "container", "prefix",
    "coverage", "notes", "excluded", "mismatched_sources", "tied", "repeats",
)  # fmt: skip
TAKEN: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "tensor": (OPENED.tensor, []),
    "verify": (OPENED.verify, [None]),
    "verify, a name": (lambda value: OPENED.verify([value]), []),
    "param_groups, model": (lambda value: fxprof.param_groups(value, RESULT, lr=0.1), []),
    "param_groups, result": (lambda value: fxprof.param_groups(MODEL, value, lr=0.1), []),
    "param_groups, lr": (lambda value: fxprof.param_groups(MODEL, RESULT, lr=value), [3, 2.5, WRONG[9]]),
    "param_groups, new_lr": (
        lambda value: fxprof.param_groups(MODEL, RESULT, lr=1.0, new_lr=value), [None, 3, 2.5, WRONG[9]]
    ),
    "Match, target": (lambda value: applied(matches=(Match(value, "0.weight", "exact"),)), []),
    "Match, source": (lambda value: applied(matches=(Match("0.weight", value, "exact"),)), []),
    "Match, how": (lambda value: applied(matches=(Match("0.weight", "0.weight", value),)), []),
    "Plan, a match": (lambda value: applied(matches=(value,)), [GOOD]),
    **{f"Plan, {part}": (partial(applied_with, part), []) for part in PARTS},
}  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("argument", TAKEN)
def test_an_argument_of_another_kind_is_refused(argument: str, value: Any) -> None:
    """With a message of one line that is not the whole of what was got."""
    call, taken = TAKEN[argument]
    if any(value is other for other in taken):
        call(value)
        return
    with pytest.raises(fxprof.FxprofError) as raised:
        call(value)
    assert 0 < len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)
