"""What a convention is made of: items with a cause each, and the count they add up to.

Every convention starts from the same items, the multiply-adds of every op of the graph (PRODUCTS),
and adds items for whatever it counts beyond them or fails to count, each under the name of its cause.
So a tool's number is the sum of its items, and two tools differ by the items they do not share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fxprof.report import ModuleInfo, OpProfile, Report

# -- causes: what is counted beyond the multiply-adds ------------------------------------------

PRODUCTS = "multiply-adds"
UNIT = "unit: a multiply-add is 2 FLOPs"
BIAS = "bias"
NORMS = "norms"
ACTIVATIONS = "activations"
SOFTMAX = "softmax"
POOLING = "pooling"
RESIZING = "resizing"
ELEMENTWISE = "elementwise and other arithmetic"
GATES = "gates of recurrent layers"
EMBEDDING = "embedding tables"

# -- causes: what is counted wrong or not at all -----------------------------------------------

ATTENTION_MISSED = "attention missed"
MATMUL_MISSED = "matrix products missed"
FUNCTIONAL_MISSED = "functional calls missed"
CLASS_MISSED = "layers of other classes missed"
RECURRENT_MISSED = "recurrent layers missed"
OPS_MISSED = "ops without a formula"
TRANSPOSED = "transposed convolutions counted by their output"
BATCH = "batch and inner dimensions dropped"
SIZES = "sizes misread"
BROADCAST = "broadcasting ignored"
ROUNDING = "rounding"
SHARED = "shared modules counted again"


class Item(NamedTuple):
    """Some FLOPs of a convention: of what type of layer or op, why, how many, and at which op."""

    kind: str
    cause: str
    flops: int
    op: str


@dataclass(frozen=True)
class Count:
    """What a tool would print: ``by_type`` has a Count per type of layer or op, in call order."""

    flops: int = 0
    params: int = 0
    by_type: Mapping[str, Count] = field(default_factory=dict)
    activations: int | None = None  # only from the tools that count them


# Parameters as a tool adds them up: the type of layer they belong to ("" for none), and how many.
Params = Iterable[tuple[str, int]]


def all_params(report: Report) -> Params:
    """Every parameter once, and no layer's."""
    return [("", report.params)]


@dataclass(frozen=True)
class Convention:
    """How one tool counts.

    ``unit`` says what its number is; ``misses`` what it cannot see by its nature; ``limits`` where the
    convention is known not to follow the tool; ``source`` where its formulas were read. ``items`` and
    ``params`` are functions of a Report alone.
    """

    name: str
    tool: str
    unit: str
    source: str
    items: Callable[[Report], Iterator[Item]]
    params: Callable[[Report], Params] = all_params
    misses: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    activations: Callable[[Report], int] | None = None

    def count(self, report: Report) -> Count:
        """Add the items up."""
        flops: dict[str, int] = {}
        params: dict[str, int] = {}
        for kind, number in self.params(report):
            params[kind] = params.get(kind, 0) + number
        for item in self.items(report):
            flops[item.kind] = flops.get(item.kind, 0) + item.flops
        kinds = [kind for kind in dict.fromkeys([*params, *flops]) if kind and (kind in params or flops[kind])]
        by_type = {kind: Count(flops.get(kind, 0), params.get(kind, 0)) for kind in kinds}
        activations = self.activations(report) if self.activations else None
        return Count(sum(flops.values()), sum(params.values()), by_type, activations)


# -- families of ops ---------------------------------------------------------------------------

CONV_OPS = frozenset(f"conv{mode}{n}d" for mode in ("", "_transpose") for n in (1, 2, 3))
ATTENTION_OPS = frozenset(["scaled_dot_product_attention", "multi_head_attention_forward"])
RECURRENT_OPS = frozenset("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell".split())
MATMUL_OPS = frozenset(
    "matmul mm bmm mv dot vdot inner addmm addmv baddbmm addbmm einsum tensordot chain_matmul multi_dot outer".split()
)
_FAMILIES = {
    SOFTMAX: "softmax _softmax log_softmax softmin logsumexp",
    ACTIVATIONS: "relu relu6 elu celu selu gelu silu mish leaky_relu prelu rrelu hardtanh hardswish hardsigmoid "
    "sigmoid tanh softplus softsign logsigmoid threshold hardshrink softshrink tanhshrink glu",
    RESIZING: "interpolate upsample grid_sample grid_sampler affine_grid fold",
    EMBEDDING: "embedding embedding_bag",
}
_FAMILY_OF = {op: family for family, ops in _FAMILIES.items() for op in ops.split()}


def family(op: str) -> str:
    """The cause that an op's own arithmetic is named by."""
    if op in _FAMILY_OF:
        return _FAMILY_OF[op]
    if op.endswith("_norm") or op in ("normalize", "renorm"):
        return NORMS
    if "_pool" in op:
        return POOLING
    return GATES if op in RECURRENT_OPS else ELEMENTWISE


def native(info: ModuleInfo) -> str:
    """The class name of a module if it is torch's own class and no subclass; else nothing."""
    qualified = info.bases[0] if info.bases else "torch.nn.modules."
    return info.type if qualified.startswith("torch.nn.modules.") else ""


# -- shapes ------------------------------------------------------------------------------------


def attribute(op: OpProfile, name: str) -> object:
    """A recorded argument of an op, or None."""
    return dict(op.attributes).get(name)


def has_bias(op: OpProfile) -> bool:
    """Whether a linear layer or a convolution was given a bias: its third tensor."""
    return len(op.inputs) > 2


def numel(op: OpProfile) -> int:
    """Elements of the first output."""
    return op.outputs[0].numel if op.outputs else 0
