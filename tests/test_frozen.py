"""Records with a quick ``__init__`` are what the dataclass is without it."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from fxprof.frozen import quick


@dataclass(frozen=True, slots=True)
class Plain:
    """As dataclass makes it; its fields are called like what an ``__init__`` may want to use."""

    self_: int
    type: str
    object: tuple[int, ...] = ()
    kind: Plain | None = None
    last: int = field(default=0, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    """The same, quick."""

    self_: int
    type: str
    object: tuple[int, ...] = ()
    kind: Quick | None = None
    last: int = field(default=0, kw_only=True)


def test_signature() -> None:
    """The same parameters, types and defaults."""
    ours, theirs = (str(inspect.signature(kind)) for kind in (Quick, Plain))
    assert ours == theirs.replace("Plain", "Quick")


def test_value() -> None:
    """The same repr, equality, hash, copies and pickles."""
    record = Quick(1, type="a", object=(2,), last=3)
    assert repr(record) == repr(Plain(1, "a", (2,), last=3)).replace("Plain", "Quick")
    assert type(record) is Quick
    for twin in (
        Quick(1, "a", (2,), last=3),
        copy.copy(record),
        copy.deepcopy(record),
        pickle.loads(pickle.dumps(record)),
    ):
        assert twin == record and hash(twin) == hash(record) and type(twin) is Quick
    assert replace(record, type="b") == Quick(1, "b", (2,), last=3) != record


def test_frozen() -> None:
    """A made record cannot be changed."""
    record = Quick(1, "a")
    with pytest.raises(FrozenInstanceError, match="type"):
        record.type = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="kind"):
        del record.kind


def test_missing_argument() -> None:
    """The message that Python gives."""
    with pytest.raises(TypeError, match=r"__init__\(\) missing 1 required positional argument: 'type'"):
        Quick(1)  # type: ignore[call-arg]


def test_subclass() -> None:
    """One that has a dictionary, and is frozen as well."""

    class Below(Quick):
        @property
        def twice(self) -> int:
            return 2 * self.self_

    record = Below(1, "a", last=2)
    assert type(record) is Below and (record.twice, record.object, record.last) == (2, (), 2)
