"""DeepSpeed's ``get_model_profile`` (0.19.8): patched functions, FLOPs with 2 per multiply-add.

It replaces functions of torch.nn.functional and some of torch and Tensor for the run, so the spelling
decides: ``torch.add`` is counted and ``+`` is not.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from math import prod

from fxprof.conventions.fvcore import einsum_flops, returns_weights
from fxprof.conventions.missed import Missed
from fxprof.conventions.parts import (
    ACTIVATIONS,
    BIAS,
    BROADCAST,
    CONV_OPS,
    ELEMENTWISE,
    GATES,
    NORMS,
    POOLING,
    PRODUCTS,
    RECURRENT_OPS,
    RESIZING,
    ROUNDING,
    SOFTMAX,
    UNIT,
    Convention,
    Item,
    attribute,
    has_bias,
    numel,
)
from fxprof.report import OpProfile, Report

Extra = Mapping[str, int]

# Functions that F names and torch made elsewhere; every other patched one says torch.nn.functional.
BUILT_IN = frozenset(
    ["torch.prelu", "torch.avg_pool1d", "torch.adaptive_avg_pool1d", *(f"torch.{op}" for op in CONV_OPS)]
)
# Patched in torch and on Tensor; not in place, and not as an operator, but for ``@``.
SPELLED = {
    "add": ("torch.add", "Tensor.add"),
    "mul": ("torch.mul", "Tensor.mul"),
    "matmul": ("torch.matmul", "Tensor.matmul", "operator.matmul"),
    "mm": ("torch.mm", "Tensor.mm"),
    "bmm": ("torch.bmm", "Tensor.bmm"),
    "addmm": ("torch.addmm", "Tensor.addmm"),
    "baddbmm": ("torch.baddbmm",),
    "einsum": ("torch.functional.einsum", "torch.einsum"),
}
# Gates, and operations per hidden unit and step beside their products.
GATE_COUNTS = {"rnn": (1, 1), "gru": (3, 7), "lstm": (4, 10)}
# The classes whose calls it hooks instead.
RECURRENT = frozenset(f"{kind}{cell}" for kind in ("RNN", "GRU", "LSTM") for cell in ("", "Cell"))

_ONE_PER_INPUT = {
    **dict.fromkeys("relu relu6 prelu elu leaky_relu silu gelu".split(), ACTIVATIONS),
    **{f"{kind}{n}d": POOLING for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool")
       for n in (1, 2, 3)},
    "softmax": SOFTMAX,
}  # fmt: skip
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
_PRODUCTS = CONV_OPS | frozenset(
    "linear multi_head_attention_forward scaled_dot_product_attention matmul mm bmm addmm baddbmm einsum".split()
)


def _patched(op: OpProfile, missed: Missed) -> bool:
    """Whether the op was called by a name that the tool replaces."""
    if op.op in SPELLED:
        return op.called in SPELLED[op.op]
    if missed.keeps(op):  # as torch.nn.functional had it before
        return False
    return op.called.startswith("torch.nn.functional.") or op.called in BUILT_IN


def _beside(op: OpProfile) -> Extra:
    """What is counted of an op beside its products."""
    if op.op in _ONE_PER_INPUT:
        return {_ONE_PER_INPUT[op.op]: op.inputs[0].numel}
    if op.op in _NORMS:
        return {NORMS: _norm(op)}
    if op.op in ("add", "mul"):
        return {ELEMENTWISE: numel(op)}
    if op.op.startswith("conv") and has_bias(op):
        return {BIAS: numel(op)}
    if op.op in ("addmm", "baddbmm"):
        return {BIAS: op.inputs[0].numel}
    return {RESIZING: _resize(op)} if op.op == "interpolate" else _odd(op)


def _odd(op: OpProfile) -> Extra:
    """Where the tool's own products are not the op's."""
    if op.op == "matmul":
        a, b = op.inputs[0].shape, op.inputs[-1].shape
        return {BROADCAST: 2 * (prod(a) * b[-1] - op.macs)}
    if op.op == "einsum":
        return {ROUNDING: einsum_flops(op) - 2 * op.macs}
    if op.op == "multi_head_attention_forward" and returns_weights(op):
        mask = attribute(op, "attn_mask")  # added by a baddbmm, as large as it was given
        return {
            SOFTMAX: op.outputs[1].numel * _heads(op),
            ELEMENTWISE: prod(mask) if isinstance(mask, tuple) else 0,
        }
    return {}


def _heads(op: OpProfile) -> int:
    """How many times its averaged weights the softmax works on."""
    heads = attribute(op, "num_heads")
    averaged = attribute(op, "average_attn_weights") is not False
    return heads if isinstance(heads, int) and averaged else 1


def _norm(op: OpProfile) -> int:
    """1 per element of a batch norm in evaluation, 2 with weights; else 4 and 5."""
    evaluation = op.op == "batch_norm" and not attribute(op, "training")
    per_element = (1 if evaluation else 4) + (attribute(op, "weight") is not None)
    return per_element * op.inputs[0].numel


def _resize(op: OpProfile) -> int:
    """By ``size`` its product alone; by ``scale_factor`` the output's elements."""
    size = attribute(op, "size")
    if isinstance(size, tuple):
        return prod(size)
    return size if isinstance(size, int) else numel(op)


def _gates(op: OpProfile, parameters: Container[str]) -> Extra:
    """What a recurrent layer counts beside 2 per multiply-add.

    Per layer, direction and step it takes an addition off each of the 2 products of every gate, and adds
    the biases and a few operations per hidden unit.
    """
    gates, others = GATE_COUNTS[op.op.split("_")[0]]
    weights = [spec.shape for arg, spec in zip(op.args, op.inputs) if arg in parameters]
    rows = sum(shape[0] for shape in weights if len(shape) == 2) // 2
    biases = sum(shape[0] for shape in weights if len(shape) == 1)
    steps = prod(op.inputs[0].shape[:-1])
    return {GATES: steps * (rows // gates * others - 2 * rows + biases)}


def _items(report: Report) -> Iterator[Item]:
    missed = Missed(report)
    for op in report.ops:
        if op.macs:
            yield Item(op.op, PRODUCTS, op.macs, op.name)
        patched = _patched(op, missed)
        counted = (op.op in _PRODUCTS and patched) or missed.inside(op, RECURRENT)
        if counted:
            yield Item(op.op, UNIT, op.macs, op.name)
        elif op.macs:
            yield Item(op.op, missed.by_a_table_of_ops(op), -op.macs, op.name)
        beside = _gates(op, missed.parameters) if op.op in RECURRENT_OPS and counted else {}
        for cause, flops in (beside or (_beside(op) if patched else {})).items():
            yield Item(op.op, cause, flops, op.name)


DEEPSPEED = Convention(
    name="deepspeed",
    tool="DeepSpeed 0.19.8 get_model_profile, its FLOPs",
    unit="2 per multiply-add, 1 per input of norms, activations and pools, bias of convolutions",
    source="deepspeed/profiling/flops_profiler/profiler.py, lines 524-1130",
    items=_items,
    misses=(
        "operators but @, methods such as x.relu(), functions that it does not replace (hardswish, sigmoid)",
        "the bias of linear layers",
    ),
    limits=(
        "in a function that calls sum, too, x.add(y) is taken for x + y: the tool counts the first only",
        "a convolution with padding='same' and an even kernel has the size it has: the tool takes it to be smaller",
    ),
)
