"""Which kernel torch's scaled_dot_product_attention takes on a CPU: a fused one, or two products and a softmax."""

from __future__ import annotations

from collections.abc import Container

from fxprof.conventions.parts import attribute
from fxprof.records import Shape
from fxprof.report import OpProfile, Report

# No gradient flows through these.
_CUT = ("detach", "detach_copy", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like")


def is_fused(op: OpProfile, learned: Container[str]) -> bool:
    """Whether the fused kernel takes the call (torch 2.15, ATen/native/transformers/sdp_utils_cpp).

    ``learned`` has what gradients flow through (``learned_from``): a mask must not be one of them. Up to torch 2.13
    none is taken whose tensors have no heads.
    """
    shapes = {name: _shape(op, name) for name in ("query", "key", "value", "attn_mask")}
    given = shapes["attn_mask"]
    if len(shapes["query"]) == 3:
        shapes = {name: (*shape[:1], 1, *shape[1:]) if len(shape) == 3 else shape for name, shape in shapes.items()}
    query, key, value, mask = shapes.values()
    if not (len(query) == len(key) == len(value) == 4) or 0 in (query[2], key[2]):
        return False
    alike = query[:2] == key[:2] == value[:2] and query[3] == key[3] == value[3]
    if not alike or attribute(op, "unit_stride") is False or attribute(op, "dropout_p"):
        return False
    if attribute(op, "attn_mask") is None:
        return True
    fits = all(size in (1, wanted) for size, wanted in zip(reversed(mask), (key[2], query[2], query[1], query[0])))
    return fits and len(mask) in (2, 4) and not _is_learned(op, given, learned)


def _shape(op: OpProfile, name: str) -> Shape:
    found = attribute(op, name)
    return found if isinstance(found, tuple) else ()


def _is_learned(op: OpProfile, mask: Shape, learned: Container[str]) -> bool:
    """Whether the mask, the last input of its shape, comes out of what is learned."""
    givers = [arg for arg, spec in zip(op.args, op.inputs) if spec.shape == mask]
    return bool(givers) and givers[-1] in learned


def learned_from(report: Report) -> frozenset[str]:
    """The trainable parameters, and the ops that gradients would flow through to them."""
    found = {state.name for info in report.modules for state in info.state if state.trainable}
    for op in report.ops:
        floating = op.output is not None and "float" in (op.output.dtype or "float")
        if floating and op.op not in _CUT and not found.isdisjoint(op.args):
            found.add(op.name)
    return frozenset(found)
