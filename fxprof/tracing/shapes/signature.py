"""Whether a call fits a form's parameters; torch takes more spellings than a form has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def fitting(form: Callable[..., Any]) -> Callable[..., Any]:
    """The form, answering NotImplemented to arguments that it has no parameters for."""
    parameters = inspect.signature(form).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return form
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed = sum(p.default is p.empty for p in parameters)
    # By the number of positional arguments: what may, and what must, be given by name.
    optional = [frozenset(named[count:]) for count in range(len(named) + 1)]
    missing = [frozenset(named[count:needed]) for count in range(len(named) + 1)]

    @wraps(form)
    def call(*args: Any, **kwargs: Any) -> Any:
        count = len(args)
        if count > len(named) or not missing[count] <= kwargs.keys() <= optional[count]:
            return NotImplemented
        return form(*args, **kwargs)

    return call
