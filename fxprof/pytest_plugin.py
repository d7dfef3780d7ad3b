"""The pytest fixture ``fxprof_budget``, there wherever fxprof is installed; torch is imported when a test uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fxprof.report import Report


@pytest.fixture
def fxprof_budget() -> Callable[..., Report]:
    """Check a model against budgets, as ``fxprof_budget(model, (1, 3, 224, 224), macs="5G")``; return its report.

    Inputs, ``kwargs`` and ``training`` are those of ``fxprof.analyze``. Limits are ``macs``, ``flops``,
    ``params``, ``activations`` and ``peak``, such as ``"5G"`` or ``"16GiB"``; ``modules={"layer*": {"macs": "1G"}}``
    has limits of each module that a glob matches. What is over fails the test and names the heaviest modules.
    """
    return _budget


def _budget(
    model: Any,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    training: bool = False,
    modules: Mapping[str, Mapping[str, Any]] | None = None,
    **limits: Any,
) -> Report:
    __tracebackhide__ = True
    # Not above: pytest imports every installed plugin as it starts.
    import fxprof
    from fxprof.budget import check, from_limits
    from fxprof.views.check import render

    try:
        budgets = from_limits(limits, modules or {})
        report = fxprof.analyze(model, *inputs, kwargs=kwargs, training=training)
        verdicts = check(report, budgets)
    except fxprof.FxprofError as err:
        # It names the line of the model or what is wrong; where in fxprof and torch that was found is of no use.
        raise err.with_traceback(None) from None
    if any(verdict.over for verdict in verdicts):
        pytest.fail(render(report, verdicts), pytrace=False)
    return report
