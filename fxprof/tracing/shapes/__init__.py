"""Result shapes in closed form, for functions whose meta kernel is slow, demanding or missing.

``FORMS[function]`` takes what the function takes, on meta tensors, and returns what it returns, strides
included; or NotImplemented where its form does not cover the arguments, and the function itself decides.
``SHAPES`` are those that only read shapes, strides and dtypes: tensors of any device will do. ``VIEWS`` may return
a view of their first argument, a meta tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fxprof.tracing.names import SYMBOLS
from fxprof.tracing.shapes import elementwise, layers, moving, pooling, products, recurrent, sparse, special
from fxprof.tracing.shapes.signature import fitting

_FAMILIES = (elementwise, layers, moving, pooling, products, recurrent, sparse, special)
SHAPES: dict[Any, Callable[..., Any]] = {
    function: fitting(form) for family in _FAMILIES for function, form in family.SHAPES.items()
}
SHAPES.update({symbol: SHAPES[method] for method, symbol in SYMBOLS.items() if method in SHAPES})
VIEWS = moving.VIEWS
FORMS: dict[Any, Callable[..., Any]] = {**SHAPES, **VIEWS}
