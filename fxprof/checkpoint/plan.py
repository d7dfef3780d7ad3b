"""The plan: which tensor of a checkpoint goes to which of the model's, and why. Frozen data, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fxprof.errors import InputError
from fxprof.records import Shape
from fxprof.shown import Shown

# The adaptations that make one tensor of the parts in which it is kept, or these parts of it.
COMPUTED = ("weight-norm", "pruning", "spectral-norm")

# 1: first format.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Match:
    """One tensor of the model and where its values come from.

    ``source`` is a checkpoint key, or several that fuse into one tensor. ``how`` is "exact", "prefix",
    "renamed", or the name of the adaptation:

    * "qkv": the sources' rows (q, k, v in this order) are concatenated;
    * "qkv[1/3]": the target is block 1 (from 0) of 3 equal blocks of the source's rows;
    * "qkv[32:48]": the target is these rows of the source, as k and v are smaller than q;
    * "reshape": the same elements in the same order under another shape;
    * "transpose": the 2-D source is transposed;
    * "weight-norm": v scaled to the norms g; "pruning": weight and mask multiplied; "spectral-norm": the weight
      divided by its norm along u and v;
    * "weight-norm[g:0]", "weight-norm[v:0]": the source taken apart, its norms along axis 0 in g (without an axis: the
      norm of all);
    * "first-conv", "head-rows", "pos-embed", "rope": see ``adapt=``.

    ``reason`` says what the choice rests on: name (equal names too), structure, number, vote, graph,
    order, guess or user. A match that is not ``sure`` is applied only when asked for.
    """

    target: str
    source: str | tuple[str, ...]
    how: str
    sure: bool = True
    reason: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoint keys, always as a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def is_computed(self) -> bool:
        """Whether it turns parts into what they make, or that into parts."""
        return self.how.partition("[")[0] in COMPUTED


@dataclass(frozen=True, slots=True)
class Container:
    """What was unwrapped: the path to the tensors, other dicts of tensors, and what else the file holds."""

    path: tuple[str, ...] = ()
    alternatives: Mapping[str, int] = field(default_factory=dict)  # dotted path -> number of tensors
    extras: tuple[str, ...] = ()
    joined: Mapping[str, str] = field(default_factory=dict)  # dotted paths of dicts -> their modules


@dataclass(frozen=True, slots=True)
class Coverage:
    """What would load: tensors, and share of all parameters' elements (0 to 1), on both sides."""

    tensors: int
    model_tensors: int
    checkpoint_tensors: int
    model: float
    checkpoint: float


@dataclass(frozen=True)
class Target:
    """A model as the matcher sees it: every name of its state_dict, in the order of registration.

    ``order`` lists names in the order of first use, ``feeds`` the tensors whose op comes right before;
    both are empty where the model was not traced.
    """

    shapes: Mapping[str, Shape]
    buffers: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)  # second name of a tied tensor -> its first
    order: tuple[str, ...] = ()
    feeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()  # names of the state_dict that are no parameter and no buffer


@dataclass(frozen=True)
class Plan(Shown):
    """What ``load`` would do; made by ``match`` without touching the model. ``str(plan)`` is a table."""

    matches: tuple[Match, ...]
    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    mismatched_keys: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)  # model shape, checkpoint shape
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # target -> candidate sources
    container: Container = Container()
    prefix: str = ""
    coverage: Coverage = Coverage(0, 0, 0, 0.0, 0.0)
    notes: tuple[str, ...] = ()  # one sentence each, the cause that explains most leftovers first
    excluded: tuple[str, ...] = ()  # targets left out by include= and exclude=
    mismatched_sources: Mapping[str, str] = field(default_factory=dict)  # mismatched target -> checkpoint key
    tied: Mapping[str, str] = field(default_factory=dict)  # alias in the model -> the target that gets the value
    # Checkpoint key -> target that another key fills already (a tied tensor saved twice): values must agree.
    repeats: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        from fxprof.views.plan import render  # the view imports this module

        return render(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a ``format`` number; ``Plan.from_dict`` reads it back."""
        return {"format": FORMAT, **asdict(self)}

    def to_json(self, indent: int | None = 1) -> str:
        """The plan as JSON, to be read, edited and replayed."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Read what ``to_dict`` wrote. Raises InputError on anything else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise InputError(f"a saved plan must have format {FORMAT}; make it again with fxprof match")
        found = {}
        for name, read in _READERS.items():
            try:
                found[name] = read(data.get(name, {}) if name in _LATER else data[name])
            except (KeyError, TypeError, ValueError, AttributeError) as err:
                raise InputError(f"a plan must hold {name!r} as Plan.to_dict writes it: {_said(err)}") from err
        return cls(**found)

    def checked(self) -> Plan:
        """This plan, every entry of the kind that it must be. Raises InputError on one that is not, made by hand."""
        try:
            data = self.to_dict()
        except Exception as err:  # whatever copying a foreign object raises
            raise InputError(f"a plan must be plain data: {type(err).__name__} {err}") from err
        return type(self).from_dict(data)


# -- reading a saved plan, which may have been edited by hand --------------------------------------


def _said(err: Exception) -> str:
    return f"there is no {err}" if isinstance(err, KeyError) else str(err)


def _matches(data: Any) -> tuple[Match, ...]:
    return tuple(map(_match, _of((list, tuple), data)))


def _match(data: Any) -> Match:
    source = _dict(data)["source"]
    key = source if isinstance(source, str) else _texts(source)
    return Match(_text(data["target"]), key, _text(data["how"]), _of(bool, data["sure"]), _text(data["reason"]))


def _container(data: Any) -> Container:
    others = {_text(name): _count(count) for name, count in _dict(_dict(data)["alternatives"]).items()}
    return Container(_texts(data["path"]), others, _texts(data["extras"]), _names(data.get("joined", {})))


def _coverage(data: Any) -> Coverage:
    shares = [float(_of((int, float), _dict(data)[side])) for side in ("model", "checkpoint")]
    return Coverage(*(_count(data[f"{side}tensors"]) for side in ("", "model_", "checkpoint_")), *shares)


def _shapes(data: Any) -> dict[str, tuple[Shape, Shape]]:
    return {_text(name): (_shape(mine), _shape(theirs)) for name, (mine, theirs) in _dict(data).items()}


def _candidates(data: Any) -> dict[str, tuple[str, ...]]:
    return {_text(name): _texts(found) for name, found in _dict(data).items()}


def _names(data: Any) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in _dict(data).items()}


def _dict(value: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _of(Mapping, value)
    return found


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(_text, _of((list, tuple), values)))


def _text(value: Any) -> str:
    found: str = _of(str, value)
    return found


def _shape(values: Any) -> Shape:
    return tuple(map(_count, _of((list, tuple), values)))


def _count(value: Any) -> int:
    found: int = _of(int, value)
    return found


def _of(kind: Any, value: Any) -> Any:
    """The value, if it is of the kind that ``to_dict`` writes there."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"got {repr(value)[:60]} in it")
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "matches": _matches, "missing_keys": _texts, "unexpected_keys": _texts, "mismatched_keys": _shapes,
    "ambiguous": _candidates, "container": _container, "prefix": _text, "coverage": _coverage, "notes": _texts,
    "excluded": _texts, "mismatched_sources": _names, "tied": _names, "repeats": _names,
}  # fmt: skip
_LATER = ("mismatched_sources", "tied", "repeats")  # may be missing
