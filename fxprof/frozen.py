"""Frozen dataclasses that are made as fast as others, for records of which a report has thousands."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def quick(frozen: type[T]) -> type[T]:
    """Write another ``__init__`` for a ``@dataclass(frozen=True, slots=True)`` without factories of defaults.

    The one of a frozen dataclass goes through ``object.__setattr__`` for each field, which takes most of its time.
    In this one the record is of an open class of the same layout for as long as its fields are filled in. Nothing
    else changes; a subclass is made the other way.
    """
    given: Any = frozen.__init__
    code = given.__code__
    positional, keyword = code.co_argcount, code.co_kwonlyargcount
    self, *fields = code.co_varnames[: positional + keyword]
    parameters = [self, *fields]
    if keyword:
        parameters.insert(positional, "*")
    by_name = ", ".join(f"{field}={field}" for field in fields)
    lines = [
        f"def __init__({', '.join(parameters)}):",
        f"    if self.__class__ is not _frozen: return _given(self, {by_name})",
        "    _become(self, _open)",
        *[f"    self.{field} = {field}" for field in fields],
        "    self.__class__ = _frozen",
    ]
    plain = {name: getattr(object, name) for name in ("__setattr__", "__delattr__")}
    become = vars(object)["__class__"].__set__
    known = {
        "_frozen": frozen, "_given": given, "_become": become,
        "_open": type(frozen.__name__, (frozen,), {"__slots__": (), **plain}),
    }  # fmt: skip
    exec("\n".join(lines), known)
    made: Any = known["__init__"]
    for name in ("__defaults__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__"):
        setattr(made, name, getattr(given, name))
    frozen.__init__ = made  # type: ignore[method-assign]
    return frozen
