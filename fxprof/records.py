"""The parts of a Report: tensors, ops, modules, assumptions. Frozen data, no torch, nothing live.

Units: counts are plain integers, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError, shown
from fxprof.frozen import quick

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]
# Names with plain values: numbers, texts, None, or tuples of numbers.
Attributes = tuple[tuple[str, Any], ...]

ITEMSIZE: Mapping[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1, "quint8": 1, "qint8": 1,
    "uint16": 2, "int16": 2, "float16": 2, "bfloat16": 2,
    "uint32": 4, "int32": 4, "float32": 4, "qint32": 4, "complex32": 4,
    "uint64": 8, "int64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
_INT = frozenset([int])
_SHORT = {"float": "float32", "half": "float16", "double": "float64", "long": "int64", "int": "int32", "short": "int16"}


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Arithmetic of one or many ops; ``Cost()`` is zero and ``+`` adds.

    ``macs`` counts multiply-accumulates of contractions only; ``flops`` is 2 x macs plus bias
    additions plus the arithmetic of every other counted op.
    """

    macs: int = 0
    flops: int = 0

    def __add__(self, other: object) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(macs=self.macs + other.macs, flops=self.flops + other.flops)

    def __radd__(self, other: object) -> Cost:
        return self if other == 0 else NotImplemented  # so that sum() works

    def __mul__(self, times: int) -> Cost:
        return Cost(macs=self.macs * times, flops=self.flops * times)

    __rmul__ = __mul__


def total(costs: Iterable[Cost | None]) -> Cost:
    """The sum of costs, those of ops without a rule left out."""
    macs = flops = 0
    for cost in costs:
        if cost is not None:
            macs += cost.macs
            flops += cost.flops
    return Cost(macs=macs, flops=flops)


@dataclass(frozen=True, slots=True, init=False)
class TensorSpec:
    """A tensor without its data: ``TensorSpec((1, 128), torch.int64)``.

    ``dtype`` is a torch dtype or its name (``"int64"``), kept as the name so that a Report needs
    no torch; None stands for the floating dtype of the model.
    """

    shape: Shape
    dtype: str | None

    def __init__(self, shape: Iterable[int], dtype: str | torch.dtype | None = None) -> None:
        if type(shape) is not tuple and not (
            isinstance(shape, Iterable) and not isinstance(shape, (str, bytes, Mapping))
        ):
            raise InputError(f"a shape must be a tuple of sizes >= 0, got {shown(shape)}")
        sizes = tuple(shape)
        plain = _INT.issuperset(map(type, sizes)) or all(isinstance(s, int) and type(s) is not bool for s in sizes)
        if not plain or (sizes and min(sizes) < 0):
            raise InputError(f"a shape must be a tuple of sizes >= 0, got {shape!r}")
        object.__setattr__(self, "shape", sizes)
        name = None if dtype is None else str(dtype).removeprefix("torch.")
        name = _SHORT.get(name, name) if name is not None else None
        if name is not None and name not in ITEMSIZE:
            raise InputError(
                f"a dtype must be a torch dtype or its name, got {shown(dtype)}; for example int64 or float32"
            )
        object.__setattr__(self, "dtype", name)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, dense; a spec without a dtype counts as float32."""
        return prod(self.shape) * ITEMSIZE[self.dtype or "float32"]

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return shape if self.dtype in (None, "float32") else f"{shape}:{self.dtype}"


@quick
@dataclass(frozen=True, slots=True)
class OpProfile:
    """One call of one op.

    ``args`` names the producer of each entry of ``inputs`` (an op, an input or a parameter).
    ``memory`` says for each output whose memory it lives in: the op's own name (with ``:i`` for
    the i-th of several) where it allocates, the allocating op's where it is a view or in-place,
    an input's name, or ``""`` for the model's own parameters and buffers. ``called`` is the
    spelling the model's code used (``operator.add``, ``torch.add``); ``attributes`` are the few
    arguments without which other tools' formulas cannot be evaluated.
    """

    name: str
    op: str
    module: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    cost: Cost | None
    args: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    bytes_accessed: int = 0
    source: str = ""
    called: str = ""
    attributes: Attributes = ()

    @property
    def output(self) -> TensorSpec | None:
        """The first output, or None for an op that returns no tensor."""
        return self.outputs[0] if self.outputs else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 where the op has no rule."""
        return self.cost.macs if self.cost else 0

    @property
    def flops(self) -> int:
        """FLOPs; 0 where the op has no rule."""
        return self.cost.flops if self.cost else 0

    @property
    def allocated(self) -> tuple[TensorSpec, ...]:
        """The outputs that take new memory: neither views nor in-place results."""
        own = self.name
        if self.memory == (own,):  # as almost always
            return self.outputs[:1]
        found = [s for s, owner in zip(self.outputs, self.memory) if owner == own or owner.partition(":")[0] == own]
        return tuple(found)

    @property
    def activations(self) -> int:
        """Elements of newly allocated outputs."""
        return sum(spec.numel for spec in self.allocated)

    @property
    def activation_bytes(self) -> int:
        """Bytes of newly allocated outputs."""
        return sum(spec.nbytes for spec in self.allocated)


@quick
@dataclass(frozen=True, slots=True)
class StateProfile:
    """One parameter or buffer, listed once, at the module that registered it first.

    ``share`` is the part of the rows (tokens) that reaches it, as a fraction (numerator, denominator):
    (1, 4) for each of 8 experts of which a token takes 2, or for the one tensor that holds them all.
    """

    name: str  # qualified: "layer1.0.conv1.weight"
    spec: TensorSpec
    kind: str  # "parameter" or "buffer"
    trainable: bool = False
    used: bool = False  # the forward reads it
    share: tuple[int, int] = (1, 1)


@quick
@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What was seen of one module: ``calls`` is how often it was called.

    ``bases`` names its class and those above it, nn.Module left out. ``weights`` are the parameters it
    holds itself, shared ones too (``state`` lists each once in the whole model). ``places`` is how often
    a walk over children reaches it, ``first`` the path it is reached by first. ``attributes`` are the
    hyper-parameters that formulas ask for, and the functions that it keeps (``torch.nn.functional.gelu``).
    """

    path: str  # as named_modules(): "" is the root
    type: str
    calls: int = 0
    state: tuple[StateProfile, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()  # of the first call
    bases: tuple[str, ...] = ()
    leaf: bool = True  # it has no children
    places: int = 1
    first: str = ""
    weights: tuple[Weight, ...] = ()
    attributes: Attributes = ()


@quick
@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter by the name its module has for it."""

    name: str  # "weight"
    shape: Shape
    trainable: bool = False

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@quick
@dataclass(frozen=True, slots=True)
class CallProfile:
    """One call of a module: its positional tensors, what it returned, and ``ops[start:stop]`` that ran in it."""

    path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """A value that depends on data and was assumed: ``what`` was taken to be ``assumed``.

    ``effect`` says what another value could change.
    """

    op: str
    what: str
    assumed: str
    module: str = ""
    source: str = ""
    calls: int = 1
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An op without a rule: how often it ran, where first, how many elements it wrote, and what it may cost.

    ``bound`` is what it costs where each element written is made of every element read, one MAC each, as
    in a product with a full matrix: more than any one contraction. An iterative op may repeat itself.
    """

    op: str
    calls: int
    module: str
    elements: int
    bound: Cost = Cost()


@dataclass(frozen=True, slots=True)
class InputProfile:
    """One tensor that the model takes, by the name of its placeholder."""

    name: str
    spec: TensorSpec
