"""The registry, the tables, and what holds for every rule."""

from __future__ import annotations

import subprocess
import sys
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof.report import Cost, Shape
from fxprof.rules import ELEMENTWISE, FAMILIES, FREE, RULES, elementwise, free, rule
from fxprof.rules.registry import ceil_log2, lines, numel
from tests.rules.strategies import costs, shapes


def test_rules_do_not_import_torch() -> None:
    """Importing the rules leaves torch out of the process."""
    code = "import sys, fxprof.rules, fxprof.rules.backward; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_register_returns_the_function_and_refuses_a_second() -> None:
    """A rule is registered as it is, and a name that is taken is refused with the name of its owner."""

    def twice(x: Shape, *, out: Shape) -> Cost:
        return Cost()

    with pytest.raises(ValueError, match="'linear' already has a rule: linear"):
        rule("linear")(twice)
    assert RULES["linear"] is not twice


def test_rules_are_read_only() -> None:
    """Nobody can change the rules of everybody."""
    with pytest.raises(TypeError, match="does not support item assignment"):
        RULES["linear"] = free  # type: ignore[index]


def test_every_rule_says_what_it_maps_to_what() -> None:
    """The docstring of a rule shows shapes in and shapes out."""
    assert [name for name, function in RULES.items() if "->" not in (function.__doc__ or "")] == []


def test_tables_have_no_name_twice() -> None:
    """No name is listed twice."""
    names = [*FREE, *ELEMENTWISE]
    assert len(names) == len(set(names))


def test_every_family_is_listed() -> None:
    """Every file of the package that holds rules is imported by name, so that its rules are there."""
    modules = {family.__name__ for family in FAMILIES}
    places = {r.__module__ for r in RULES.values() if hasattr(r, "__module__")}
    assert {place for place in places if place.startswith("fxprof")} <= modules


@given(shapes(), shapes())
def test_free_costs_nothing(x: Shape, out: Shape) -> None:
    """Moving data costs nothing, whatever its size."""
    assert free(x, 3, dim=1, out=out) == Cost()


@given(st.lists(st.integers(0, 6), max_size=4).map(tuple), st.randoms())
def test_elementwise_depends_on_the_number_of_elements(out: Shape, random: object) -> None:
    """Elementwise cost is one FLOP per output element, whatever the inputs and the layout."""
    assert elementwise(out, (), out=out) == elementwise((1,), out=(prod(out),)) == Cost(flops=prod(out))


@given(shapes(), shapes())
def test_elementwise_adds_over_outputs(first: Shape, second: Shape) -> None:
    """An op with two outputs costs what two ops cost, and a scalar or None output nothing."""
    both = elementwise(out=(first, second, None))
    assert both == elementwise(out=first) + elementwise(out=second)


@given(costs, costs, costs)
def test_cost_is_a_commutative_monoid(a: Cost, b: Cost, c: Cost) -> None:
    """Costs add in any order and grouping, and Cost() adds nothing."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Cost() == Cost() + a == a


@given(costs, st.integers(0, 9))
def test_cost_times_is_repeated_addition(a: Cost, k: int) -> None:
    """k times a cost is the sum of k of them."""
    assert a * k == k * a == sum([a] * k, Cost())


@given(st.integers(0, 5000))
def test_ceil_log2_is_the_least_power(n: int) -> None:
    """ceil_log2 is the number of halvings that leave at most one element."""
    b = ceil_log2(n)
    assert 2**b >= n
    assert b == 0 or 2 ** (b - 1) < n


@given(shapes(1, 4), st.data())
def test_lines_times_their_length_is_everything(x: Shape, data: st.DataObject) -> None:
    """The lines along a dimension, negative or not, hold every element once."""
    dim = data.draw(st.integers(-len(x), len(x) - 1))
    assert lines(x, dim) * x[dim] == prod(x) == numel(x)
