"""What forward returns, as an argument of the graph's output node."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from fxprof.tracing.tracer import Tracer


def output_argument(tracer: Tracer, result: Any) -> Any:
    """Nodes in the same nesting; a node of its own builds each dict subclass, dataclass and named tuple again."""
    if isinstance(result, Tensor):
        return tracer.values[result].graph_node()
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = {
            f.name: output_argument(tracer, getattr(result, f.name)) for f in dataclasses.fields(result) if f.init
        }
        return tracer.nodes.made(type(result), (), {k: v for k, v in fields.items() if v is not None})
    if isinstance(result, dict):
        items = {key: output_argument(tracer, item) for key, item in result.items()}
        return items if type(result) is dict else tracer.nodes.made(type(result), (items,), {})
    if isinstance(result, (tuple, list)):
        elements = [output_argument(tracer, item) for item in result]
        if type(result) in (tuple, list):
            return type(result)(elements)
        named = hasattr(result, "_fields")  # a named tuple takes its fields, torch.return_types and others a sequence
        return tracer.nodes.made(type(result), tuple(elements) if named else (elements,), {})
    if isinstance(result, (bool, int, float, str, type(None), complex)):
        return result
    if hasattr(result, "__dict__"):
        return {key: output_argument(tracer, item) for key, item in vars(result).items()}
    return tracer.nodes.constant(result)
