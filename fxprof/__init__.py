"""fxprof: what a PyTorch model costs, from shapes alone, and which checkpoint tensors fit it.

    model, inputs --> trace --> fx.Graph with a shape on every node --> rules --> Report --> views

* ``tracing/`` runs forward once on abstract values (meta tensors; control data such as ids and masks
  keeps its values) and records every torch call as a torch.fx node. Nothing is hooked, copied or changed.
* ``rules/`` holds the cost of each op as a pure function of shapes; ``ops.py`` knows torch's spellings.
* ``analysis.py`` joins the two into a ``Report`` (``report.py``): frozen data without torch.
* ``views/`` are functions from a Report to text; ``cli.py`` is ``python -m fxprof``.

Imports point downward: errors, units < report < rules, views < ops, tracing < analysis < cli. torch is
imported on the first use of ``analyze`` or ``trace``, not by ``import fxprof``; torchvision only by ``zoo.py``.

Counting semantics:

1. A MAC is one multiply-accumulate of a contraction: convolution, the matmul family, attention
   products, RNN gates. ``macs`` counts those and nothing else.
2. ``flops`` = 2 x MACs + bias additions + the arithmetic of every other counted op (norms, activations,
   softmax, pooling, elementwise, reductions). exp, log, sqrt, erf, division, comparison count 1 each.
3. Padding counts as if multiplied; a causal mask is not discounted.
4. Totals are for the whole batch. A parameter counts once however often it is used.
5. Data movement (views, cat, pad, gather, embedding look-up) costs 0 FLOPs and its bytes.

A number is what the operators ask for, not a measurement of a machine.

    >>> import fxprof, torch
    >>> fxprof.analyze(torch.nn.Linear(16, 32), (2, 10, 16)).macs
    10240
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fxprof.errors import DataDependentError, FxprofError, InputError, TraceError, UncountedError
from fxprof.report import Cost, ModuleProfile, OpProfile, Report, TensorSpec
from fxprof.rules import RULES
from fxprof.version import __version__

if TYPE_CHECKING:
    from fxprof.analysis import analyze
    from fxprof.tracing import trace

__all__ = [
    "RULES",
    "Cost",
    "DataDependentError",
    "FxprofError",
    "InputError",
    "ModuleProfile",
    "OpProfile",
    "Report",
    "TensorSpec",
    "TraceError",
    "UncountedError",
    "__version__",
    "analyze",
    "trace",
]

_IMPORT_TORCH = {"analyze": "fxprof.analysis", "trace": "fxprof.tracing"}


def __getattr__(name: str) -> Any:
    if name not in _IMPORT_TORCH:
        raise AttributeError(f"module 'fxprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_IMPORT_TORCH[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
