"""Searches for garbage: none while a view is made, and afterwards as before."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fxprof.garbage import no_garbage_collection
from fxprof.report import Report
from fxprof.views import layers
from tests.strategies import hand_made


@pytest.fixture(params=[True, False], ids=["on", "off"])
def collecting(request: pytest.FixtureRequest) -> Iterator[bool]:
    """The collector switched on or off."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_off_inside_and_as_before_afterwards(*, collecting: bool) -> None:
    """Nested, and also where the body raises."""
    with no_garbage_collection():
        with no_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == collecting
    with pytest.raises(KeyError), no_garbage_collection():
        raise KeyError
    assert gc.isenabled() == collecting


VIEWS: dict[str, Callable[[Report], Any]] = {
    "table": str,
    "layers": layers.render,
    "JSON": Report.to_json,
    "dict": Report.to_dict,
    "markdown": Report.to_markdown,
    "CSV": Report.to_csv,
    "LaTeX": Report.to_latex,
    "DOT": Report.to_dot,
    "networkx": Report.to_networkx,
    "HTML": Report.to_html,
}


# With the slightest occasion for one, a view left to the collector has 15 searches or many more.
FEW = 8


@pytest.mark.parametrize("view", VIEWS)
def test_views_search_for_no_garbage(view: str) -> None:
    """However many objects a view makes, no search interrupts it; a few come before and after."""
    VIEWS[view](hand_made())  # what is imported and remembered on first use
    report = hand_made()
    searches: list[str] = []

    def noted(phase: str, info: dict[str, int]) -> None:
        searches.append(phase)

    threshold, before = gc.get_threshold(), gc.isenabled()
    gc.enable()
    gc.callbacks.append(noted)
    gc.set_threshold(5)
    try:
        VIEWS[view](report)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(noted)
        (gc.enable if before else gc.disable)()
    assert searches.count("start") < FEW
