"""Laws of matching: names and shapes in, a plan out, never sure and wrong."""

from __future__ import annotations

import string
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fxprof.checkpoint.matching import match_names
from fxprof.checkpoint.plan import Plan, Target
from fxprof.records import Shape
from tests.checkpoint import pairs

# -- generated models ------------------------------------------------------------------------------

WORDS = st.text(string.ascii_lowercase, min_size=4, max_size=7)
SIZES = st.sampled_from([2, 3, 4, 5, 7])


@st.composite
def leaves(draw: st.DrawFn, name: str) -> dict[str, Shape]:
    """A linear layer, a convolution, a norm or a raw parameter."""
    a, b = draw(SIZES), draw(SIZES)
    kind = draw(st.sampled_from(["linear", "conv", "norm", "raw", "batch"]))
    if kind == "raw":
        return {name: (1, a, b)}
    if kind == "norm":
        return {f"{name}.weight": (a,), f"{name}.bias": (a,)}
    if kind == "batch":
        own = ("weight", "bias", "running_mean", "running_var")
        return {**{f"{name}.{leaf}": (a,) for leaf in own}, f"{name}.num_batches_tracked": ()}
    return {f"{name}.weight": (a, b) if kind == "linear" else (a, b, 3, 3), f"{name}.bias": (a,)}


@st.composite
def models(draw: st.DrawFn) -> dict[str, Shape]:
    """A stem, numbered blocks of one or two kinds, and a head."""
    names = draw(st.lists(WORDS, min_size=6, max_size=8, unique=True))
    found: dict[str, Shape] = draw(leaves(names[0]))
    inside = draw(st.lists(leaves("X"), min_size=1, max_size=4))
    for number in range(draw(st.integers(1, 4))):
        for local, held in zip(names[2:], inside):
            found.update({key.replace("X", f"{names[1]}.{number}.{local}"): shape for key, shape in held.items()})
    return {**found, **draw(leaves("last"))}


def target(shapes: Mapping[str, Shape]) -> Target:
    """A model that holds these tensors."""
    return Target(dict(shapes))


def sources(plan: Plan, sure: bool = True) -> dict[str, str | tuple[str, ...]]:
    """Target -> source of the sure matches, or of all; counters of batches left out."""
    return {
        match.target: match.source
        for match in plan.matches
        if (match.sure or not sure) and not match.target.endswith("num_batches_tracked")
    }


def weights(shapes: Mapping[str, Shape]) -> set[str]:
    """The names without the counters of batches."""
    return {name for name in shapes if not name.endswith("num_batches_tracked")}


def owner(name: str) -> str:
    """The leaf module of a tensor; a raw parameter is its own."""
    parent, _, leaf = name.rpartition(".")
    return parent if leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked") else name


# -- laws ------------------------------------------------------------------------------------------


@given(models(), st.lists(st.sampled_from(["module", "_orig_mod", "model", "backbone", "net"]), max_size=3))
def test_a_model_matches_itself_under_any_stacked_prefixes(shapes, prefixes):
    """Every tensor finds itself, and nothing is left."""
    prefix = "".join(f"{part}." for part in prefixes)
    plan = match_names({prefix + name: shape for name, shape in shapes.items()}, target(shapes))

    assert {name: prefix + name for name in weights(shapes)} == sources(plan)
    assert not plan.missing_keys and not plan.unexpected_keys and not plan.ambiguous
    assert plan.coverage.model == plan.coverage.checkpoint == 1.0


@given(models(), st.data())
def test_a_prefix_on_some_of_the_keys_is_dropped(shapes, data):
    """Wrapper names may sit on any part of the keys."""
    wrapped = data.draw(st.sets(st.sampled_from(sorted(shapes))))
    keys = {name: f"module.{name}" if name in wrapped else name for name in shapes}

    plan = match_names({keys[name]: shape for name, shape in shapes.items()}, target(shapes))

    assert {name: keys[name] for name in weights(shapes)} == sources(plan)


@given(models())
def test_a_prefix_that_only_the_model_has_is_found(shapes):
    """A checkpoint of a backbone loads into the model around it."""
    plan = match_names(shapes, target({f"body.{name}": shape for name, shape in shapes.items()}))

    assert {f"body.{name}": name for name in weights(shapes)} == sources(plan)
    assert plan.prefix == "+body."


@given(models(), st.randoms(use_true_random=False), st.sampled_from(["auto", "best"]))
def test_the_order_of_keys_changes_nothing_that_is_sure(shapes, chance, rename):
    """A file may list its keys in any order."""
    other = renamed(shapes, chance)
    keys = list(other)
    chance.shuffle(keys)

    one = match_names(other, target(shapes), rename=rename)
    two = match_names({key: other[key] for key in keys}, target(shapes), rename=rename)

    assert sources(one) == sources(two)
    assert one.missing_keys == two.missing_keys
    assert set(one.unexpected_keys) == set(two.unexpected_keys)
    assert {name: set(found) for name, found in one.ambiguous.items()} == {
        name: set(found) for name, found in two.ambiguous.items()
    }


def renamed(shapes, chance):
    """Every word by a fresh one, the same everywhere; numbers and leaf names stay."""
    words: dict[str, str] = {}
    kept = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}

    def fresh(token: str) -> str:
        if token.isdigit() or token in kept:
            return token
        return words.setdefault(
            token, "z" + "".join(chance.choices(string.ascii_lowercase, k=6)) + str(len(words)) + "x"
        )

    found = {".".join(map(fresh, name.split("."))): shape for name, shape in shapes.items()}
    assert len(found) == len(shapes)
    return found


@given(models(), st.randoms(use_true_random=False))
def test_a_renaming_is_recovered_or_reported_never_guessed(shapes, chance):
    """With fresh words everywhere, what is sure is right, and the rest is ambiguous with the right candidate."""
    other = renamed(shapes, chance)
    right = dict(zip(shapes, other))

    plan = match_names(other, target(shapes))

    for name, source in sources(plan).items():
        assert source == right[name]
    for name in weights(shapes) - sources(plan).keys():
        assert right[name] in plan.ambiguous[name]


@given(models(), st.data())
def test_dropped_and_added_modules_make_nothing_wrong(shapes, data):
    """What a checkpoint lacks or has beside does not move what it holds."""
    owners = sorted({owner(name) for name in shapes})
    gone = data.draw(st.sampled_from(owners))
    kept = {name: shape for name, shape in shapes.items() if owner(name) != gone}
    assume(len(owners) > 2)  # of two, the tower that holds both is the better source
    extra = {f"tower.{name}": shape for name, shape in shapes.items()} if data.draw(st.booleans()) else {}

    plan = match_names({**extra, **kept}, target(shapes))

    assert {name: name for name in weights(kept)} == sources(plan)


@given(models(), models(), st.sampled_from(["auto", "best"]))
def test_every_tensor_has_one_place(one, other, rename):
    """No key is taken twice, and every name of the model is listed exactly once."""
    plan = match_names(one, target(other), rename=rename)

    taken = [key for match in plan.matches for key in match.sources]
    assert len(taken) == len(set(taken))
    for match in plan.matches:
        assert match.how in ("reshape",) or one[match.sources[0]] == other[match.target]
    listed = [*sources(plan, sure=False), *plan.missing_keys, *plan.mismatched_keys]
    listed += [name for name in plan.ambiguous if name not in sources(plan, sure=False)]
    assert sorted(name for name in listed if not name.endswith("tracked")) == sorted(weights(other))


@given(models(), st.randoms(use_true_random=False))
def test_the_users_renames_settle_everything(shapes, chance):
    """A mapping, patterns and a callable say the same."""
    other = renamed(shapes, chance)
    back = dict(zip(other, shapes))
    patterns = [(f"^{key.replace('.', '[.]')}$", name) for key, name in back.items()]

    for rename in (back, patterns, back.__getitem__):
        plan = match_names(other, target(shapes), rename=rename)

        assert {name: key for key, name in back.items() if name in weights(shapes)} == sources(plan)
        assert {match.how for match in plan.matches} <= {"renamed", "exact"}


# -- real names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [list, sorted, lambda keys: sorted(keys, key=hash)], ids=["given", "sorted", "any"])
@pytest.mark.parametrize("name", pairs.MAKERS)
def test_names_of_other_libraries_find_torchvisions(name, ordered):
    """What is sure is right, and everything is found."""
    shapes, right = pairs.there(name), pairs.truth(name)

    plan = match_names({key: shapes[key] for key in ordered(shapes)}, pairs.here(name))

    for match in plan.matches:
        assert match.sources == right[match.target]
    assert not plan.unexpected_keys and not plan.ambiguous


@pytest.mark.parametrize("name", pairs.MAKERS)
def test_torchvisions_names_find_other_libraries(name):
    """The other way round, fused tensors are split."""
    shapes, back = pairs.there(name), {key: mine for key, (mine, _) in pairs.table(name).items()}

    plan = match_names(pairs.here(name).shapes, target(shapes))

    for match in plan.matches:
        assert match.source == back[match.target]
    assert not plan.missing_keys and not plan.ambiguous


# -- size ------------------------------------------------------------------------------------------


def test_ten_thousand_keys_are_matched_in_steps_that_grow_with_them(monkeypatch):
    """Comparisons of names, the one thing that could be quadratic, stay few."""
    from fxprof.checkpoint.pairing import evidence

    def deep(count: int, block: str, local: str) -> dict[str, Shape]:
        return {
            f"{block}.{number}.{local}{index}.{leaf}": (4, 4) if leaf == "weight" else (4,)
            for number in range(count)
            for index in range(10)
            for leaf in ("weight", "bias")
        }

    calls = []
    score = evidence._score
    monkeypatch.setattr(evidence, "_score", lambda one, other: calls.append(1) or score(one, other))
    plan = match_names(deep(500, "layers", "fc"), target(deep(500, "blocks", "linear")))

    assert len(plan.matches) == 10_000
    assert all(match.sure for match in plan.matches)
    assert len(calls) < 10_000
