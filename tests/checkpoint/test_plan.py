"""A plan is a value: it survives JSON, prints as a table, and refuses what it did not write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxprof.checkpoint.matching import match_names
from fxprof.checkpoint.plan import Container, Coverage, Match, Plan, Target
from fxprof.errors import InputError
from fxprof.views.plan import collapse, render
from tests.checkpoint import pairs

TEXT = st.text(max_size=8)
KEYS = st.one_of(TEXT, st.lists(TEXT, min_size=2, max_size=3).map(tuple))
SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)
NAMES = st.lists(TEXT, max_size=3).map(tuple)
PLANS = st.builds(
    Plan,
    matches=st.lists(st.builds(Match, TEXT, KEYS, TEXT, st.booleans(), TEXT), max_size=3).map(tuple),
    missing_keys=NAMES,
    unexpected_keys=NAMES,
    mismatched_keys=st.dictionaries(TEXT, st.tuples(SHAPES, SHAPES), max_size=2),
    ambiguous=st.dictionaries(TEXT, NAMES, max_size=2),
    container=st.builds(Container, NAMES, st.dictionaries(TEXT, st.integers(0, 9), max_size=2), NAMES),
    prefix=TEXT,
    coverage=st.builds(Coverage, *[st.integers(0, 9)] * 3, *[st.floats(0, 1)] * 2),
    notes=NAMES,
    excluded=NAMES,
    mismatched_sources=st.dictionaries(TEXT, TEXT, max_size=2),
    tied=st.dictionaries(TEXT, TEXT, max_size=2),
    repeats=st.dictionaries(TEXT, TEXT, max_size=2),
)


@given(PLANS)
def test_a_plan_survives_json(plan):
    """What is read back is equal."""
    assert Plan.from_dict(json.loads(plan.to_json())) == plan


@given(PLANS)
def test_any_plan_prints_without_control_characters(plan):
    """Names come from files, which may come from anywhere."""
    assert all(line.isprintable() for line in str(plan).split("\n"))


HOSTILE = "a\x1b[31mred\x1b[0m\r\nfxprof: all is well\u202e\x07"


def test_a_plan_edited_to_mislead_prints_as_it_is():
    """Every text of a saved plan may be anyone's: nothing of it moves the cursor or begins a line."""
    made = match_names(pairs.there("vit transformers"), pairs.here("vit transformers"))
    data = json.loads(made.to_json())
    edited = json.loads(_replaced(data, HOSTILE))
    assert sum(text.count("\\u001b") for text in [json.dumps(edited)]) > 50

    text = str(Plan.from_dict({**edited, "format": 1}))

    assert "\\x1b[31mred" in text
    assert all(line.isprintable() and not line.startswith("fxprof") for line in text.split("\n"))


def _replaced(data, text):
    """The same JSON with every string value, and every name that is no field's, ending in ``text``."""
    fields = {*Plan((), ()).to_dict(), *Coverage.__slots__, *Container.__slots__, *Match.__slots__}

    def changed(node):
        if isinstance(node, dict):
            return {key if key in fields else key + text: changed(value) for key, value in node.items()}
        if isinstance(node, list):
            return list(map(changed, node))
        return node + text if isinstance(node, str) else node

    return json.dumps(changed(data))


@pytest.mark.parametrize("name", pairs.MAKERS)
def test_the_same_question_gives_the_same_plan(name):
    """Replaying starts from equality."""
    one = match_names(pairs.there(name), pairs.here(name), rename="best")

    assert match_names(pairs.there(name), pairs.here(name), rename="best") == one
    assert Plan.from_dict(one.to_dict()) == one


@pytest.mark.parametrize(
    "field, value",
    [
        ("prefix", 3), ("notes", "text"), ("matches", 5), ("coverage", {}), ("container", None), ("tied", [1]),
        ("matches", [{"target": "a", "source": 1, "how": "exact", "sure": True, "reason": ""}]),
        ("matches", [{"target": "a", "source": "a", "how": "exact", "sure": "yes", "reason": ""}]),
        ("mismatched_keys", {"a": [["\x1b[31m"], [2]]}), ("ambiguous", {"a": "abc"}), ("excluded", [True]),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_named(field, value):
    """A saved plan that was edited wrongly says where."""
    with pytest.raises(InputError, match=f"must hold '{field}' as") as caught:
        Plan.from_dict({**Plan(()).to_dict(), field: value})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("data", [None, [], {"format": 0}, {"format": 1}, {"format": 1, "matches": [1]}])
def test_anything_else_is_refused(data):
    """A saved plan is checked when it is read."""
    with pytest.raises(InputError, match=r"plan must h(ave|old)"):
        Plan.from_dict(data)


def test_the_table_groups_repeated_layers():
    """One line for a template, not one for each key."""
    text = str(match_names(pairs.there("vit transformers"), pairs.here("vit transformers")))

    assert "encoder.layers.encoder_layer_{0,1}.mlp.{0,3}" in text
    assert len(text.split("\n")) < 25


def test_equal_names_are_told_by_their_top_level_parts():
    """Repeated parts are one line, and as many tensors as they hold."""
    names = [f"layer{stage}.{block}.{leaf}.weight" for stage in (1, 2) for block in (0, 1) for leaf in ("conv", "fc")]
    shapes = dict.fromkeys([*names, "head.weight"], (2, 3))

    rows = str(match_names(shapes, Target(shapes))).split("\n")[4:]

    assert [row.split() for row in rows] == [
        ["layer{1,2}.*", "=", "exact", "name", "8"],
        ["head", "=", "exact", "name", "1"],
    ]


@pytest.mark.parametrize("name", [f"a.{'1' * 5000}.weight", "a.01.weight", "a.1.weight"])
def test_numbers_of_names_are_printed_as_they_are(name):
    """Python refuses to read thousands of digits, and 01 is not 1."""
    assert f"\n  {name}\n" in str(match_names({name: (3,)}, Target({"b": (2,)})))


def test_a_prefix_that_no_name_has_is_told():
    """A prefix is whole parts of names."""
    source, target = {"module.fc.weight": (2, 3)}, Target({"fc.weight": (2, 3)})
    assert match_names(source, target, prefix="module").prefix == "module"
    for prefix in ("mod", "modul."):
        plan = match_names(source, target, prefix=prefix)
        assert plan.prefix == ""
        assert f"prefix {prefix!r} is that of no name of the checkpoint or the model." in plan.notes


def test_the_table_says_what_is_left_and_why():
    """Missing, unexpected, mismatched with both shapes, ambiguous with candidates."""
    source = {"fc.weight": (9, 4), "old.weight": (7, 7), "x.alpha.weight": (3,), "x.omega.weight": (3,)}
    target = {"fc.weight": (2, 4), "new.weight": (6, 5), "y.one.weight": (3,), "y.two.weight": (3,)}

    text = str(match_names(source, Target(target)))

    assert "2x4" in text and "9x4" in text
    assert "Missing in the checkpoint (1):\n  new.weight" in text
    assert "Not in the model (1):\n  old.weight" in text
    assert "y.one.weight <- x.alpha.weight, x.omega.weight" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_a_terminal(width):
    """How and by what a tensor was found goes before the names do, and sentences break."""
    plan = match_names(pairs.there("vit transformers"), pairs.here("vit transformers"))
    text = render(plan, width=width)
    assert max(map(len, text.split("\n"))) <= width
    assert "encoder.layers.encoder_layer_{0,1}.mlp.{0,3}" in text or width < 120
    assert text.split() == str(plan).split() or "Left out to fit the width: " in text
    assert " ".join(render(plan, done=True, width=width).split()).split("(")[0].endswith("tensors were loaded ")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5, unique=True))
def test_collapsed_names_hold_every_number(numbers):
    """A range is written only where all of it is there."""
    text = collapse([f"a.{number}.b" for number in numbers])
    inside = text.removeprefix("a.").removesuffix(".b").strip("{}")
    if ".." in inside:
        low, high = map(int, inside.split(".."))
        assert sorted(numbers) == list(range(low, high + 1))
    else:
        assert sorted(numbers) == list(map(int, inside.split(",")))
