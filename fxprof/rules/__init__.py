"""What each op costs, as functions of shapes. Nothing here imports torch.

``RULES`` maps the canonical name of an op to its rule. Rules are called with plain values:

    >>> from fxprof.rules import RULES
    >>> RULES["linear"]((2, 10, 16), (32, 16), (32,), out=(2, 10, 32))
    Cost(macs=10240, flops=21120)

To add a rule, write the function in the file of its family (one file per family, imported below by
name) and register it:

    @rule("linear")
    def linear(x: Shape, weight: Shape, bias: Shape | None = None, *, out: Shape) -> Cost:
        '''x (*, n), weight (m, n), bias (m,) -> out (*, m).

        Each output element is a dot product over n, plus one addition of the bias.
        '''
        return contraction(prod(out) * x[-1], prod(out) if bias is not None else 0)

Positional parameters come in torch's order, a tensor as its shape and a list of tensors as a tuple
of shapes; keyword-only parameters come by torch's own names; ``out`` is the shape of the output,
or a tuple of shapes where the op returns several. The docstring gives the shapes in letters, then
why the count is what it is. Integers, sums and products only. Then add one law or one oracle case
to ``tests/rules``. An op that merely moves data, or takes one operation per output element, is a
name in ``tables.py``. Spellings of torch that differ from the canonical name go to
``fxprof/ops.py``.

Users teach an op of their own with ``fxprof.rule("mylib::op")`` (``taught.py``), or extend by value:
``analyze(model, shape, rules={**fxprof.RULES, "my_op": my_rule})``; with ``free`` and ``elementwise``
ready made: ``{**fxprof.RULES, "batch_norm": free}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fxprof.rules import (
    activation,
    attention,
    contraction,
    conv,
    einsum,
    fft,
    gradients,
    kernels,
    loss,
    norm,
    pointwise,
    pooling,
    quantized,
    recurrent,
    reduction,
    resample,
    tables,
    vision,
)
from fxprof.rules.registry import REGISTERED, Rule, rule
from fxprof.rules.tables import ELEMENTWISE, FREE, elementwise, free

FAMILIES = (
    activation, attention, contraction, conv, einsum, fft, gradients, kernels, loss, norm, pointwise, pooling,
    quantized, recurrent, reduction, resample, tables, vision,
)  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType(REGISTERED)

__all__ = ["ELEMENTWISE", "FAMILIES", "FREE", "RULES", "Rule", "elementwise", "free", "rule"]
