"""Sizes, branches and numbers that depend on data: what is assumed, and where.

Each op whose result size depends on values gets its upper bound; a branch on data is taken as true
first; an integer read out of a tensor takes its largest possible value. Every such assumption is
one ``Bound`` of the report. ``bounds={"file.py:12": value}`` or ``{"nonzero": 100}`` overrides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from numbers import Number
from operator import index
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from fxprof.errors import DataDependentError, InputError, check_named, check_natural, shown
from fxprof.report import Bound
from fxprof.tracing import names
from fxprof.tracing.choices import Assumed, Choice, Choices
from fxprof.tracing.spans import Span
from fxprof.tracing.values import Value

_PLACES = 8  # that a message lists
_LOOP_LIMIT = 64  # turns after which one frame's `while tensor:` is left
_BRANCH_EFFECT = "what the other branch runs is not counted"
_NUMBER_EFFECT = "sizes and loops that it sets (an integer is taken at its largest), and work done outside torch"
SPARSE_EFFECT = "an upper bound: its products cost in proportion to the elements that are stored"
SIZE_EFFECT = "an upper bound: fewer elements cost less"


class Assumptions:
    """What was assumed in one trace; keeps the branch decisions over repeated attempts."""

    def __init__(self, given: Mapping[str, Any] | None) -> None:
        check_named("bounds", given, 'numbers by op name or "file.py:line"')
        self._given = dict(given or {})
        for key, value in self._given.items():
            if not isinstance(value, Number):
                raise InputError(
                    f"bounds must be numbers, or True or False for a branch, got {shown(value)} for {key!r}"
                )
        self._asked: dict[tuple[str, str], None] = {}  # what the given ones could have named
        self._flipped: set[str] = set()
        self.choices = Choices()
        self.reset()

    def reset(self) -> None:
        """Forget what the last attempt recorded, but not what it taught about branches and choices."""
        self.choices.reset()
        self._bounds: dict[tuple[str, str, str], Bound] = {}
        self._guessed: list[str] = []
        self._noted: set[Assumed] = set()
        self.made = 0  # how many, so that a caller sees whether a call made one
        self._turns: dict[tuple[FrameType | None, str], int] = {}

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Every assumption made, in order."""
        return tuple(self._bounds.values())

    def given(self, op: str, source: str) -> Any:
        """What the caller said about this op or source line, or None."""
        if self._given:
            self._asked[op, source] = None
        return next((value for key, value in self._given.items() if _names(key, op, source)), None)

    def size(self, op: str, source: str) -> int | None:
        """The same, of a size."""
        given = self.given(op, source)
        check_natural(f"the bound of {op} at {_short(source)}", given)
        return None if given is None else index(given)

    def check_given(self) -> None:
        """Raise InputError where a given bound named nothing that was read from data, and is no op that could be."""
        for key in self._given:
            if key in _OPS or any(_names(key, *asked) for asked in self._asked):
                continue
            known = dict.fromkeys((*(_short(source) for _, source in self._asked), *_OPS))
            close = get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            read = ", ".join([f"{op} at {_short(source)}" for op, source in self._asked][:_PLACES]) or "nothing"
            raise InputError(f"bounds must name what forward reads from data, got {key!r}{hint}; it reads {read}")

    def note(self, op: str, what: str, assumed: object, effect: str, module: str, source: str) -> None:
        """Record one assumption; the same one at the same place counts calls."""
        self.made += 1
        key = (op, source, str(assumed))
        seen = self._bounds.get(key, Bound(op, what, str(assumed), module, source, calls=0, effect=effect))
        self._bounds[key] = replace(seen, calls=seen.calls + 1)

    def note_made_up(self, op: str, assumed: Iterable[Assumed], module: str, source: str) -> None:
        """Record that made-up values steer ``op``: inputs at every op they steer, a choice where it was made."""
        for fact in assumed:
            if fact not in self._noted:
                self.note(
                    fact.op or op, fact.what, fact.assumed, fact.effect, fact.module or module, fact.source or source
                )
            if isinstance(fact, Choice):
                self._noted.add(fact)

    def note_sparse(self, name: str, tensor: Tensor, module: str, source: tuple[str, int]) -> None:
        """Record that a sparse tensor is taken to be dense."""
        stored = "" if tensor.is_meta else f", although {tensor._nnz():,} are"
        place = f"{source[0]}:{source[1]}" if source[0] else ""
        what = f"how many elements of {name} are stored"
        self.note("sparse", what, f"all {tensor.numel():,}{stored}", SPARSE_EFFECT, module, place)

    def branch(self, op: str, module: str, source: str, frame: FrameType | None) -> bool:
        """Decide a branch on data at ``source``: given, else true, else (if that failed before) false."""
        given = self.given(op, source)
        if given is not None:
            taken = bool(given)
        else:
            turns = self._turns[frame, source] = self._turns.get((frame, source), 0) + 1
            taken = source not in self._flipped and turns <= _LOOP_LIMIT
            if source not in self._flipped:
                self._guessed.append(source)
        self.note(op, "a branch on data", taken, _BRANCH_EFFECT, module, source)
        return taken

    def likely(self, taken: bool, op: str, module: str, source: str) -> bool:
        """Decide a branch on made-up values: given, else what they say, else (if that failed before) the other."""
        given = self.given(op, source)
        if given is None and source not in self._flipped:
            self._guessed.append(source)
            return taken
        taken = not taken if given is None else bool(given)
        self.note(op, "a branch on data", taken, _BRANCH_EFFECT, module, source)
        return taken

    def flip_last(self) -> bool:
        """After a failure: turn the latest guess around; False when no guess is left."""
        if not self._guessed:
            return False
        self._flipped.add(self._guessed[-1])
        return True

    def number(self, value: Value, op: str, module: str, source: str) -> int | float:
        """The number to use where the code reads one out of an abstract tensor."""
        given = self.given(op, source)
        if given is not None:
            number: int | float = given
        elif (span := value.known_span()) is not None:
            # An integer is a size, of which the largest is the bound; for anything else the middle is as good.
            number = sum(span) / 2 if value.handle.dtype.is_floating_point and op != "int" else int(span[1])
        elif (value.handle.dtype.is_floating_point or value.handle.dtype.is_complex) and op != "int":
            number = 1.0
        else:
            raise DataDependentError(
                f"{op} at {source or module} reads an integer that depends on data, and its largest value "
                f"is not known; pass the tensor it comes from as a real tensor, or say it: "
                f"bounds={{{_short(source)!r}: ...}}"
            )
        self.note(op, "a number read from data", number, _NUMBER_EFFECT, module, source)
        return number


def _names(key: str, op: str, source: str) -> bool:
    """Whether the key of a given bound is an op, or a line of code by as much of its path as it says."""
    return key == op or source == key or source.endswith("/" + key)


def _short(source: str) -> str:
    return source.rpartition("/")[2] or "op name"


# -- shapes of ops whose result size depends on data ------------------------------------------------


def _rows(size: int, given: Any) -> int:
    return size if given is None else min(size, int(given))


def _empty(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _nonzero(given: Any, x: Tensor, *, as_tuple: bool = False, out: Any = None) -> Any:
    rows = _rows(x.numel(), given)
    return tuple(_empty(rows) for _ in range(max(x.dim(), 1))) if as_tuple else _empty(rows, x.dim())


def _where(given: Any, condition: Tensor) -> Any:
    return _nonzero(given, condition, as_tuple=True)


def _masked_select(given: Any, x: Tensor, mask: Tensor, *, out: Any = None) -> Tensor:
    shape = torch.broadcast_shapes(x.shape, mask.shape)  # type: ignore[no-untyped-call]
    return _empty(_rows(torch.Size(shape).numel(), given), dtype=x.dtype)


def _unique(
    given: Any, x: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None, *, span: Span | None = None,
) -> Any:  # fmt: skip
    size = x.numel() if dim is None else x.shape[dim]
    rows = _rows(size if span is None or dim is not None else min(size, int(span[1] - span[0]) + 1), given)
    shape = (rows,) if dim is None else (*x.shape[: dim % x.dim()], rows, *x.shape[dim % x.dim() + 1 :])
    values = _empty(*shape, dtype=x.dtype)
    inverse = _empty(*(x.shape if dim is None else (size,)))
    found = (values, *((inverse,) if return_inverse else ()), *((_empty(rows),) if return_counts else ()))
    return found if len(found) > 1 else values


def _unique_consecutive(
    given: Any, x: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    return _unique(given, x, True, return_inverse, return_counts, dim)


def _bincount(
    given: Any, x: Tensor, weights: Tensor | None = None, minlength: int = 0, *, span: Span | None = None
) -> Any:
    if given is None and span is None:
        raise DataDependentError(
            "bincount has as many results as the largest value, which depends on data; "
            "say the number of bins with minlength, or bounds={'bincount': ...}"
        )
    bins = int(span[1] if given is None and span else given - 1) + 1
    return _empty(max(bins, minlength), dtype=torch.int64 if weights is None else torch.float64)


def _one_hot(given: Any, x: Tensor, num_classes: int = -1, *, span: Span | None = None) -> Tensor:
    if num_classes < 0:
        num_classes = _bincount(given, x, span=span).numel()
    return _empty(*x.shape, num_classes)


def _nms(given: Any, boxes: Tensor, *_: Any, **__: Any) -> Tensor:
    return _empty(_rows(boxes.shape[0], given))


def _repeat_interleave(
    given: Any, x: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None,
    span: Span | None = None,
) -> Tensor:  # fmt: skip
    if output_size is None:
        if given is None and span is None:
            raise DataDependentError(
                "repeat_interleave has as many results as the repeats add up to, which depends on data; "
                "give output_size, or bounds={'repeat_interleave': ...}"
            )
        counts = x if repeats is None else repeats
        size = x.numel() if dim is None or repeats is None else x.shape[dim]
        per_item = int(span[1]) if span else 0
        output_size = int(given) if given is not None else per_item * max(counts.numel(), size)
    assert output_size is not None
    if repeats is None:
        return _empty(output_size)
    if dim is None:
        return _empty(output_size, dtype=x.dtype)
    return _empty(*x.shape[:dim], output_size, *x.shape[dim % x.dim() + 1 :], dtype=x.dtype)


# op -> (shape function, which argument's span it takes, whether the size really is a bound here)
SIZES: dict[str, Callable[..., Any]] = {
    "nonzero": _nonzero,
    "argwhere": _nonzero,
    "where": _where,
    "masked_select": _masked_select,
    "unique": _unique,
    "_unique2": _unique,
    "unique_consecutive": _unique_consecutive,
    "bincount": _bincount,
    "one_hot": _one_hot,
    "nms": _nms,
    "repeat_interleave": _repeat_interleave,
}
# What a bound may be given for although a forward does not come by it: it names an op rather than a line.
_OPS = frozenset([*SIZES, *(name.strip("_") for name in names.ESCAPES), "getitem"])
MASK_POSITION = {"nonzero": 0, "argwhere": 0, "where": 0, "masked_select": 1}
TAKES_SPAN = {"unique": 0, "_unique2": 0, "bincount": 0, "one_hot": 0, "repeat_interleave": 1}


def size_depends_on_data(op: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call's result size depends on the values of its arguments."""
    if op == "where":
        return len(args) + len(kwargs) == 1
    if op == "repeat_interleave":
        repeats = args[1] if len(args) > 1 else kwargs.get("repeats", args[0] if args else None)
        return isinstance(repeats, Tensor) and kwargs.get("output_size") is None
    if op == "one_hot":
        return bool((args[1] if len(args) > 1 else kwargs.get("num_classes", -1)) == -1)
    return op in SIZES
