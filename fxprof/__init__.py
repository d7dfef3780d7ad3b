"""fxprof: what a PyTorch model costs, from shapes alone, and which checkpoint tensors fit it.

    model, inputs --> trace --> graph with a shape on every node --> rules --> Report --> views
                                  '--> fx.Graph, which runs (fxprof.trace)

* ``tracing/`` runs forward once on abstract values (meta tensors; control data such as ids and masks
  keeps its values) and records every torch call as a node in torch.fx's terms; an ``fx.Graph`` is written
  from them where one is asked for. Nothing is hooked, copied or changed.
* ``rules/`` holds the cost of each op as a pure function of shapes; ``ops.py`` knows torch's spellings.
* ``analysis.py`` joins the two into a ``Report`` (``report.py``): frozen data without torch. One that was made
  twice for a model that has not changed is given again (``repeated.py``).
* ``dataflow.py``, ``budget.py``, ``compare.py`` and ``sweep.py`` answer questions about one Report or several.
* ``views/`` are functions from these to text; ``cli.py`` and ``commands/`` are ``python -m fxprof``.
* ``conventions/`` holds other tools' ways of counting, as data over a Report.
* ``checkpoint/`` reads checkpoints of any format lazily, matches their names onto a model's (pure, no
  torch), and applies the plan all or nothing.

Imports point downward: errors, units < records < report < rules, conventions, compare, views < ops, tracing,
checkpoint < analysis < cli. torch is imported on the first use of ``analyze``, ``trace`` or ``load``, not by
``import fxprof``; the zoos only by ``zoo/``.

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

# Not on first use: the function has the name of its package, which an import would put in its place.
from fxprof.conventions import Count, conventions
from fxprof.errors import (
    CheckpointError,
    DataDependentError,
    FxprofError,
    InputError,
    RuleError,
    TraceError,
    UncountedError,
)
from fxprof.report import Cost, ModuleProfile, OpProfile, Report, TensorSpec
from fxprof.rules import RULES
from fxprof.rules.taught import rule
from fxprof.version import __version__

if TYPE_CHECKING:
    from fxprof.analysis import analyze
    from fxprof.checkpoint.groups import param_groups
    from fxprof.checkpoint.loading import load
    from fxprof.checkpoint.matching import match
    from fxprof.checkpoint.plan import Match, Plan
    from fxprof.checkpoint.reading import Checkpoint, read
    from fxprof.checkpoint.result import Result
    from fxprof.checkpoint.saving import save
    from fxprof.checkpoint_tools import load_pretrained_weights
    from fxprof.complexity import compute_model_complexity
    from fxprof.doubling import scaling
    from fxprof.tracing import trace

__all__ = [
    "RULES",
    "Checkpoint",
    "CheckpointError",
    "Cost",
    "Count",
    "DataDependentError",
    "FxprofError",
    "InputError",
    "Match",
    "ModuleProfile",
    "OpProfile",
    "Plan",
    "Report",
    "Result",
    "RuleError",
    "TensorSpec",
    "TraceError",
    "UncountedError",
    "__version__",
    "analyze",
    "compute_model_complexity",
    "conventions",
    "load",
    "load_pretrained_weights",
    "match",
    "param_groups",
    "read",
    "rule",
    "scaling",
    "save",
    "trace",
]

# Imported on first use: most of these need torch.
_LAZY = {
    "Checkpoint": "fxprof.checkpoint.reading",
    "Match": "fxprof.checkpoint.plan",
    "Plan": "fxprof.checkpoint.plan",
    "Result": "fxprof.checkpoint.result",
    "analyze": "fxprof.analysis",
    "compute_model_complexity": "fxprof.complexity",
    "load": "fxprof.checkpoint.loading",
    "load_pretrained_weights": "fxprof.checkpoint_tools",
    "match": "fxprof.checkpoint.matching",
    "param_groups": "fxprof.checkpoint.groups",
    "read": "fxprof.checkpoint.reading",
    "scaling": "fxprof.doubling",
    "save": "fxprof.checkpoint.saving",
    "trace": "fxprof.tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fxprof' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
