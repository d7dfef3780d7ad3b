"""Laws of the Report: it survives storage, and no two of its numbers disagree."""

from __future__ import annotations

import gc
import json
import pickle
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from fxprof.errors import InputError
from fxprof.report import Cost, ModuleInfo, Report, TensorSpec
from tests.strategies import costs, hand_made, reports, specs


@given(reports())
def test_round_trip(report: Report) -> None:
    """A report equals itself after to_dict, JSON and pickle, totals included."""
    assert Report.from_dict(report.to_dict()) == report
    assert json.loads(report.to_json()) == json.loads(json.dumps(report.to_dict()))
    assert Report.from_dict(json.loads(report.to_json())) == report
    assert Report.from_json(report.to_json(indent=2)) == report
    assert pickle.loads(pickle.dumps(report)) == report
    assert len({report, Report.from_json(report.to_json())}) == 1
    assert Report.from_dict(report.to_dict()).to_dict() == report.to_dict()


@given(reports())
def test_totals_are_sums_over_ops(report: Report) -> None:
    """The root's totals, the report's, and the sum over all ops are the same."""
    total = sum((op.cost for op in report.ops if op.cost), Cost())
    assert report.cost == report.root.cost == total
    assert report.params == report.root.params
    assert report.activations == report.root.activations
    assert report.activation_bytes == report.root.activation_bytes


@given(reports())
def test_groupings_sum_to_the_total(report: Report) -> None:
    """By op and by type, every counted op is in exactly one group."""
    assert sum(report.by_op().values(), Cost()) == report.cost
    assert sum(report.by_type().values(), Cost()) == report.cost


@given(reports())
def test_each_module_is_its_own_ops_and_its_children(report: Report) -> None:
    """At every level the tree adds up, and by_module at any depth agrees with it."""
    for _, module in report.walk():
        assert module.cost == module.own_cost + sum((child.cost for child in module.children), Cost())
        assert report.by_module()[module.path] == module.cost
    assert report.by_module(depth=0) == {"": report.cost}


@given(reports())
def test_walk_visits_every_module_once(report: Report) -> None:
    """The walk is a permutation of the modules, parents before their children."""
    paths = [module.path for _, module in report.walk()]
    assert sorted(paths) == sorted(info.path for info in report.modules)
    seen = set()
    for path in paths:
        assert not path or path.rpartition(".")[0] in seen
        seen.add(path)


def test_a_deep_tree() -> None:
    """Modules may be nested deeper than Python calls functions: the sums, the views and the file have them all."""
    depth = 2 * sys.getrecursionlimit()
    paths = [".".join("m" * level) for level in range(depth + 1)]
    report = replace(hand_made(), modules=tuple(ModuleInfo(path, "Net") for path in paths), calls=())
    lowest = replace(report, ops=tuple(replace(op, module=paths[-1]) for op in report.ops))
    assert lowest.root.cost == lowest.by_module()[paths[-1]] == report.cost
    assert lowest.uncalled == ()
    assert report.uncalled == tuple(paths[1:])
    assert Report.from_json(lowest.to_json()) == lowest
    assert len(lowest.to_csv().splitlines()) == depth + 2


@given(reports())
def test_uncounted_ops_are_all_listed(report: Report) -> None:
    """The calls in ``uncounted`` are exactly the ops without a cost."""
    assert sum(entry.calls for entry in report.uncounted) == sum(op.cost is None for op in report.ops)
    assert report.exact == (not report.uncounted and not report.bounds)


@given(reports())
def test_parameters_partition(report: Report) -> None:
    """Used and unused, trainable and frozen parameters add up to all of them."""
    parameters = [entry for entry in report.state if entry.kind == "parameter"]
    used = sum(entry.spec.numel for entry in parameters if entry.used)
    frozen = sum(entry.spec.numel for entry in parameters if not entry.trainable)
    assert report.params == used + report.unused_params == report.trainable_params + frozen


@given(reports())
def test_peak_is_within_its_bounds(report: Report) -> None:
    """The peak is at least the weights and inputs, and at most those plus everything allocated."""
    floor = report.param_bytes + report.buffer_bytes + sum(entry.spec.nbytes for entry in report.inputs)
    assert floor <= report.peak_bytes <= floor + report.activation_bytes


@given(costs, costs, costs)
def test_cost_is_a_commutative_monoid(a: Cost | None, b: Cost | None, c: Cost | None) -> None:
    """Costs add in any order, Cost() is neutral, and times k is k additions."""
    x, y, z = (cost or Cost() for cost in (a, b, c))
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert x + Cost() == Cost() + x == x
    assert x * 3 == 3 * x == x + x + x == sum([x, x, x], Cost())


@given(specs)
def test_spec_sizes(spec: TensorSpec) -> None:
    """Bytes are elements times the item size, and a spec survives its own fields."""
    assert spec.nbytes % max(spec.numel, 1) == 0
    assert TensorSpec(spec.shape, spec.dtype) == spec


def test_peak_of_a_chain() -> None:
    """In the hand-made chain, the worst moment holds x, a relu and an add, on top of the weights."""
    report = hand_made()
    tensor, weights, buffer = 2 * 4 * 8 * 8 * 4, (2 * (144 + 4) + 40) * 4, 8
    # add_0 reads relu_0 and x while it writes its own: x (kept, an input) + relu_0 + add_0; in the
    # second block conv2d_1 reads add_0, which add_1 still needs: x + add_0 + relu_1 + add_1.
    assert report.peak_bytes == 4 * tensor + weights + buffer


@pytest.mark.parametrize("data", [None, [], {}, {"format": 2}, {"format": 1}, "text"])
def test_from_dict_refuses_anything_else(data: Any) -> None:
    """What is no saved report is refused with a sentence that says so."""
    with pytest.raises(InputError, match="a saved report must"):
        Report.from_dict(data)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("name",), 3, "'name' of Report must be str, got int"),
        (("training",), 1, "'training' of Report must be bool, got int"),
        (("outputs",), [None], "'outputs' of Report must be str, got NoneType"),
        (("ops", 1, "op"), {}, "'op' of OpProfile must be str, got dict"),
        (("ops", 0, "args"), [0.5], "'args' of OpProfile must be str, got float"),
        (("ops", 0, "cost", "macs"), float("nan"), "'macs' of Cost must be int, got float"),
        (("modules", 1, "places"), [], "'places' of ModuleInfo must be int, got list"),
        (("inputs", 0, "name"), 3, "'name' of InputProfile must be str, got int"),
    ],
)
def test_from_dict_names_a_field_of_another_kind(place: tuple[Any, ...], value: Any, message: str) -> None:
    """A report edited by hand is refused when it is read, not where a view stumbles over it."""
    data = json.loads(hand_made().to_json())
    *path, last = place
    inner = data
    for step in path:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(InputError, match=f"a saved report must hold what Report.to_dict writes: TypeError {message}"):
        Report.from_dict(data)


def test_a_report_whose_ops_are_out_of_order_has_a_path() -> None:
    """What an op reads of later ones is left out; two ops of one name, or a share of none, are refused."""
    data = json.loads(hand_made().to_json())
    data["ops"].reverse()
    assert Report.from_dict(data).critical_path()

    data["ops"][1]["name"] = data["ops"][0]["name"]
    with pytest.raises(InputError, match="ops of the same name"):
        Report.from_dict(data)
    data = json.loads(hand_made().to_json())
    state = next(module["state"] for module in data["modules"] if module["state"])
    state[0]["share"] = [1, 0]
    with pytest.raises(InputError, match="ZeroDivisionError"):
        Report.from_dict(data)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff", "[1, 2]", '{"format": 1}'])
@pytest.mark.parametrize("collecting", [True, False])
def test_from_json_refuses_anything_else(text: str | bytes, *, collecting: bool) -> None:
    """What is no JSON is refused like other data; the garbage collector is left as it was."""
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        with pytest.raises(InputError, match="a saved report must"):
            Report.from_json(text)
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("depth", [-1, 0.5, "1"])
def test_by_module_refuses_what_is_no_depth(depth: Any) -> None:
    """A depth is a whole number, zero or more."""
    with pytest.raises(InputError, match="depth must be a whole number, 0 or more, got"):
        hand_made().by_module(depth=depth)


@pytest.mark.parametrize("shape", [(-1,), (1.5,), (True,), ("a",)])
def test_spec_refuses_what_is_no_shape(shape: Any) -> None:
    """A size is a whole number, zero or more."""
    with pytest.raises(InputError, match="a shape must be a tuple of sizes >= 0"):
        TensorSpec(shape)


def test_spec_refuses_unknown_dtypes() -> None:
    """A dtype is one of torch's, by name."""
    with pytest.raises(InputError, match="a dtype must be a torch dtype or its name, got 'float7'"):
        TensorSpec((1,), "float7")
