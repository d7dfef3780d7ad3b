"""The result: frozen data, no torch, nothing live.

A Report stores what was observed (ops in execution order, modules in call order, assumptions);
every total is derived from that on demand, so no two numbers can disagree. Units: counts are
plain integers, sizes are bytes. A Report pickles, compares equal, and round-trips through JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from fxprof.errors import InputError

Shape = tuple[int, ...]

# 1: first format.
FORMAT = 1

ITEMSIZE: Mapping[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "quint8": 1, "qint8": 1,
    "uint16": 2, "int16": 2, "float16": 2, "bfloat16": 2,
    "uint32": 4, "int32": 4, "float32": 4, "qint32": 4, "complex32": 4,
    "uint64": 8, "int64": 8, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor without its data: ``TensorSpec((1, 128), torch.int64)``.

    ``dtype`` is a torch dtype or its name (``"int64"``), kept as the name so that a Report needs
    no torch; None stands for the floating dtype of the model.
    """

    shape: Shape
    dtype: str | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.shape)
        if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
            raise InputError(f"a shape must be a tuple of sizes >= 0, got {self.shape!r}")
        object.__setattr__(self, "shape", shape)
        if self.dtype is not None:
            name = str(self.dtype).removeprefix("torch.")
            name = {"float": "float32", "half": "float16", "double": "float64", "long": "int64", "int": "int32"}.get(name, name)
            if name not in ITEMSIZE:
                raise InputError(f"a dtype must be a torch dtype or its name, got {self.dtype!r}; for example int64 or float32")
            object.__setattr__(self, "dtype", name)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, dense; a spec without a dtype counts as float32."""
        return self.numel * ITEMSIZE[self.dtype or "float32"]

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return shape if self.dtype in (None, "float32") else f"{shape}:{self.dtype}"


@dataclass(frozen=True, slots=True)
class OpProfile:
    """One call of one op.

    ``args`` names the producer of each entry of ``inputs`` (an op, an input or a parameter).
    ``memory`` says for each output whose memory it lives in: the op's own name (with ``:i`` for
    the i-th of several) where it allocates, the allocating op's where it is a view or in-place,
    an input's name, or ``""`` for the model's own parameters and buffers.
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
        return tuple(spec for spec, owner in zip(self.outputs, self.memory) if owner.split(":")[0] == self.name)

    @property
    def activations(self) -> int:
        """Elements of newly allocated outputs."""
        return sum(spec.numel for spec in self.allocated)

    @property
    def activation_bytes(self) -> int:
        """Bytes of newly allocated outputs."""
        return sum(spec.nbytes for spec in self.allocated)


@dataclass(frozen=True, slots=True)
class StateProfile:
    """One parameter or buffer, listed once, at the module that registered it first."""

    name: str  # qualified: "layer1.0.conv1.weight"
    spec: TensorSpec
    kind: str  # "parameter" or "buffer"
    trainable: bool = False
    used: bool = False  # the forward reads it


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What was seen of one module: ``calls`` is how often it was called."""

    path: str  # as named_modules(): "" is the root
    type: str
    calls: int = 0
    state: tuple[StateProfile, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()  # of the first call


@dataclass(frozen=True, slots=True)
class Bound:
    """A value that depends on data and was assumed: ``what`` was taken to be ``assumed``."""

    op: str
    what: str
    assumed: str
    module: str = ""
    source: str = ""
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An op without a rule: how often it ran, where first, and how many elements it wrote."""

    op: str
    calls: int
    module: str
    elements: int


@dataclass(frozen=True, slots=True)
class InputProfile:
    """One tensor that the model takes, by the name of its placeholder."""

    name: str
    spec: TensorSpec


@dataclass(frozen=True)
class ModuleProfile:
    """A module, the ops it runs itself, and its children in call order.

    Totals include the children; ``own`` totals are sums over ``ops`` and ``state``.
    """

    path: str
    type: str
    calls: int = 0
    state: tuple[StateProfile, ...] = ()
    ops: tuple[OpProfile, ...] = ()
    children: tuple[ModuleProfile, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()  # of the first call

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @cached_property
    def own_cost(self) -> Cost:
        """Cost of the ops that this module runs itself."""
        return sum((op.cost for op in self.ops if op.cost), Cost())

    @cached_property
    def cost(self) -> Cost:
        """Cost of this module and everything below it."""
        return sum((child.cost for child in self.children), self.own_cost)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, children included."""
        return self.cost.macs

    @property
    def flops(self) -> int:
        """FLOPs, children included."""
        return self.cost.flops

    @property
    def own_params(self) -> int:
        """Elements of the parameters registered on this module itself."""
        return sum(s.spec.numel for s in self.state if s.kind == "parameter")

    @cached_property
    def params(self) -> int:
        """Elements of the parameters, children included; a shared one counts at its first owner."""
        return self.own_params + sum(child.params for child in self.children)

    @cached_property
    def activations(self) -> int:
        """Elements of newly allocated op outputs, children included."""
        return sum(op.activations for op in self.ops) + sum(child.activations for child in self.children)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of newly allocated op outputs, children included."""
        return sum(op.activation_bytes for op in self.ops) + sum(child.activation_bytes for child in self.children)

    @cached_property
    def reached(self) -> bool:
        """Whether the forward called it, ran an op in it, read its state, or reached a module below it."""
        read = any(entry.used for entry in self.state)
        return bool(self.calls or self.ops or read or any(child.reached for child in self.children))

    def walk(self, depth: int = 0) -> Iterator[tuple[int, ModuleProfile]]:
        """Yield ``(depth, module)`` for this module and all below it, parents first."""
        stack = [(depth, self)]
        while stack:
            level, module = stack.pop()
            yield level, module
            stack.extend((level + 1, child) for child in reversed(module.children))


@dataclass(frozen=True)
class Report:
    """What a model costs. Made by ``fxprof.analyze``; ``str(report)`` is the table."""

    name: str
    inputs: tuple[InputProfile, ...]
    ops: tuple[OpProfile, ...]  # in execution order
    modules: tuple[ModuleInfo, ...]  # in order of first call, the uncalled ones last
    bounds: tuple[Bound, ...] = ()
    outputs: tuple[str, ...] = ()  # names of the ops whose results the model returns
    training: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    # -- totals --------------------------------------------------------------------------------

    @cached_property
    def cost(self) -> Cost:
        """MACs and FLOPs of the whole batch."""
        return sum((op.cost for op in self.ops if op.cost), Cost())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, matrix products, attention and RNN gates."""
        return self.cost.macs

    @property
    def flops(self) -> int:
        """2 x MACs plus bias additions plus the arithmetic of every other counted op."""
        return self.cost.flops

    @cached_property
    def state(self) -> tuple[StateProfile, ...]:
        """Every parameter and buffer once, in registration order within a module."""
        return tuple(entry for module in self.modules for entry in module.state)

    def _parameters(self) -> Iterator[StateProfile]:
        return (entry for entry in self.state if entry.kind == "parameter")

    @cached_property
    def params(self) -> int:
        """Elements of all parameters, each counted once however often it is used."""
        return sum(p.spec.numel for p in self._parameters())

    @cached_property
    def trainable_params(self) -> int:
        """Elements of the parameters that require a gradient."""
        return sum(p.spec.numel for p in self._parameters() if p.trainable)

    @cached_property
    def unused_params(self) -> int:
        """Elements of the parameters that the forward never reads."""
        return sum(p.spec.numel for p in self._parameters() if not p.used)

    @cached_property
    def buffers(self) -> int:
        """Elements of all buffers."""
        return sum(b.spec.numel for b in self.state if b.kind == "buffer")

    @cached_property
    def param_bytes(self) -> int:
        """Bytes of all parameters in their own dtypes."""
        return sum(p.spec.nbytes for p in self._parameters())

    @cached_property
    def buffer_bytes(self) -> int:
        """Bytes of all buffers in their own dtypes."""
        return sum(b.spec.nbytes for b in self.state if b.kind == "buffer")

    @cached_property
    def activations(self) -> int:
        """Elements of all op outputs that take new memory (no views, no in-place results)."""
        return sum(op.activations for op in self.ops)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of all op outputs that take new memory."""
        return sum(op.activation_bytes for op in self.ops)

    @cached_property
    def bytes_accessed(self) -> int:
        """Bytes read and written: inputs, weights and outputs of each op once, unfused."""
        return sum(op.bytes_accessed for op in self.ops)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs per byte accessed."""
        return self.flops / self.bytes_accessed if self.bytes_accessed else 0.0

    @cached_property
    def peak_bytes(self) -> int:
        """Largest sum of weights, buffers, inputs and live op outputs at any op of the forward.

        Each output is live from its op to its last reader; the model's inputs and its returned
        values stay. Workspaces and allocator slack are not included.
        """
        sizes = {entry.name: entry.spec.nbytes for entry in self.inputs}
        owners: dict[str, tuple[str, ...]] = {entry.name: (entry.name,) for entry in self.inputs}
        last: dict[str, int] = {}
        for step, op in enumerate(self.ops):
            owners[op.name] = op.memory
            sizes.update((owner, spec.nbytes) for spec, owner in zip(op.outputs, op.memory) if owner not in sizes and owner)
            for owner in (*op.memory, *(o for arg in op.args for o in owners.get(arg, ()))):
                last[owner] = step
        kept = {entry.name for entry in self.inputs} | {o for name in self.outputs for o in owners.get(name, ())}
        live = sum(entry.spec.nbytes for entry in self.inputs)
        peak = live
        dying: dict[int, int] = {}
        for owner, step in last.items():
            if owner not in kept:
                dying[step] = dying.get(step, 0) + sizes.get(owner, 0)
        for step, op in enumerate(self.ops):
            live += op.activation_bytes
            peak = max(peak, live)
            live -= dying.get(step, 0)
        return peak + self.param_bytes + self.buffer_bytes

    # -- where it goes -------------------------------------------------------------------------

    @cached_property
    def root(self) -> ModuleProfile:
        """The module tree."""
        infos = {info.path: info for info in self.modules}
        own: dict[str, list[OpProfile]] = {}
        for op in self.ops:
            own.setdefault(op.module, []).append(op)
        below: dict[str, list[str]] = {path: [] for path in infos}
        for path in infos:
            if path:
                below[path.rpartition(".")[0]].append(path)

        built: dict[str, ModuleProfile] = {}
        for path in sorted(infos, key=lambda p: -(p.count(".") + 1 if p else 0)):
            info = infos[path]
            children = tuple(built[child] for child in below[path])
            built[path] = ModuleProfile(path, info.type, info.calls, info.state, tuple(own.get(path, ())), children, info.outputs)
        return built[""]

    def walk(self) -> Iterator[tuple[int, ModuleProfile]]:
        """Yield ``(depth, module)`` over the module tree, parents first."""
        return self.root.walk()

    def by_op(self) -> dict[str, Cost]:
        """Cost per op, in order of first call; an op without a rule is left out."""
        return _grouped((op.op, op.cost) for op in self.ops)

    def by_type(self) -> dict[str, Cost]:
        """Cost per module type, of the ops that modules of that type run themselves."""
        types = {info.path: info.type for info in self.modules}
        return _grouped((types[op.module], op.cost) for op in self.ops)

    def by_module(self, depth: int | None = None) -> dict[str, Cost]:
        """Cost per module path with everything below it; the root is ``""`` at depth 0."""
        return {module.path: module.cost for level, module in self.walk() if depth is None or level <= depth}

    # -- how sure ------------------------------------------------------------------------------

    @cached_property
    def uncounted(self) -> tuple[Uncounted, ...]:
        """Ops without a rule, by op, in order of first call."""
        seen: dict[str, list[OpProfile]] = {}
        for op in self.ops:
            if op.cost is None:
                seen.setdefault(op.op, []).append(op)
        return tuple(
            Uncounted(name, len(ops), ops[0].module, sum(spec.numel for op in ops for spec in op.outputs))
            for name, ops in seen.items()
        )

    @property
    def exact(self) -> bool:
        """Whether every op was counted and no size was assumed."""
        return not self.uncounted and not self.bounds

    @cached_property
    def uncalled(self) -> tuple[str, ...]:
        """Paths of the modules that the forward never reaches."""
        return tuple(module.path for _, module in self.walk() if not module.reached)

    # -- views ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a ``format`` number; ``Report.from_dict`` reads it back."""
        return {"format": FORMAT, **asdict(self), "versions": dict(self.versions), "totals": self._totals()}

    def _totals(self) -> dict[str, Any]:
        names = (
            "macs", "flops", "params", "trainable_params", "unused_params", "buffers", "param_bytes", "buffer_bytes",
            "activations", "activation_bytes", "bytes_accessed", "intensity", "peak_bytes", "exact",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def to_json(self, indent: int | None = None) -> str:
        """The complete report as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read what ``to_dict`` wrote; totals are derived again. Raises InputError on anything else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise InputError(f"a saved report must have format {FORMAT}, got {got!r}; make it again with this fxprof")
        try:
            return cls(
                name=data["name"],
                inputs=tuple(InputProfile(i["name"], _spec(i["spec"])) for i in data["inputs"]),
                ops=tuple(map(_op, data["ops"])),
                modules=tuple(map(_module, data["modules"])),
                bounds=tuple(Bound(**bound) for bound in data["bounds"]),
                outputs=tuple(data["outputs"]),
                training=data["training"],
                versions=dict(data["versions"]),
            )
        except (KeyError, TypeError, AttributeError) as err:
            raise InputError(f"a saved report must hold what Report.to_dict writes: {type(err).__name__} {err}") from err

    def __str__(self) -> str:
        from fxprof.views.table import render

        return render(self)


def _grouped(pairs: Iterator[tuple[str, Cost | None]]) -> dict[str, Cost]:
    totals: dict[str, Cost] = {}
    for key, cost in pairs:
        if cost is not None:
            totals[key] = totals.get(key, Cost()) + cost
    return totals


def _spec(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(tuple(data["shape"]), data["dtype"])


def _op(data: Mapping[str, Any]) -> OpProfile:
    cost = None if data["cost"] is None else Cost(**data["cost"])
    specs = {side: tuple(map(_spec, data[side])) for side in ("inputs", "outputs")}
    names = {side: tuple(data[side]) for side in ("args", "memory")}
    return OpProfile(**{**data, **specs, **names, "cost": cost})


def _module(data: Mapping[str, Any]) -> ModuleInfo:
    state = tuple(StateProfile(**{**entry, "spec": _spec(entry["spec"])}) for entry in data["state"])
    return ModuleInfo(data["path"], data["type"], data["calls"], state, tuple(map(_spec, data["outputs"])))
