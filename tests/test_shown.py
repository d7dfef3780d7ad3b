"""Results in a notebook: the last value of a cell is shown as it is printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import fxprof

LAYER = nn.Linear(3, 4)
RESULTS: dict[str, Callable[[], Any]] = {
    "analyze": lambda: fxprof.analyze(LAYER, (1, 3)),
    "explain": lambda: fxprof.analyze(LAYER, (1, 3)).explain("thop"),
    "scaling": lambda: fxprof.scaling(LAYER, (1, 3)),
    "match": lambda: fxprof.match(LAYER, LAYER.state_dict()),
    "load": lambda: fxprof.load(LAYER, LAYER.state_dict()),
}


class Printer:
    """IPython's, as far as it is used."""

    def __init__(self) -> None:
        self.written = ""

    def text(self, text: str) -> None:
        """Take what is to be shown."""
        self.written += text


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_what_print_does(name: str) -> None:
    """The repr, which is all of the data, stays what code sees."""
    result = RESULTS[name]()
    printer = Printer()
    vars(type(result))["_repr_pretty_"](result, printer, cycle=False)  # IPython asks no base class
    assert printer.written == str(result)
    assert repr(result).startswith(f"{type(result).__name__}(") and repr(result) != str(result)
