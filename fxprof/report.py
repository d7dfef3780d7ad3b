"""The Report: what was observed, and every total derived from it on demand.

It stores ops in execution order, modules in call order and assumptions; no total is stored, so no
two numbers can disagree. A Report pickles, compares equal, and round-trips through JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from fxprof import saved
from fxprof.errors import InputError, check_natural
from fxprof.exports import Exports
from fxprof.garbage import no_garbage_collection
from fxprof.liveness import Peak, peak
from fxprof.records import (
    ITEMSIZE,
    Bound,
    CallProfile,
    Cost,
    InputProfile,
    ModuleInfo,
    OpProfile,
    Shape,
    StateProfile,
    TensorSpec,
    Uncounted,
    Weight,
    total,
)
from fxprof.shown import Shown
from fxprof.tree import ModuleProfile, tree

__all__ = [
    "FORMAT",
    "ITEMSIZE",
    "Bound",
    "CallProfile",
    "Cost",
    "InputProfile",
    "ModuleInfo",
    "ModuleProfile",
    "OpProfile",
    "Report",
    "Shape",
    "StateProfile",
    "TensorSpec",
    "Uncounted",
    "Weight",
]

# 1: first format.
FORMAT = 1


@dataclass(frozen=True)
class Report(Exports, Shown):
    """What a model costs. Made by ``fxprof.analyze``; ``str(report)`` is the table."""

    name: str
    inputs: tuple[InputProfile, ...]
    ops: tuple[OpProfile, ...]  # in execution order
    modules: tuple[ModuleInfo, ...]  # in order of first call, the uncalled ones last
    bounds: tuple[Bound, ...] = ()
    outputs: tuple[str, ...] = ()  # names of the ops whose results the model returns
    training: bool = False
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    calls: tuple[CallProfile, ...] = ()  # of modules, in call order

    # -- totals --------------------------------------------------------------------------------

    @cached_property
    def cost(self) -> Cost:
        """MACs and FLOPs of the whole batch."""
        return total(op.cost for op in self.ops)

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
    def active_params(self) -> int:
        """Elements of the parameters that one token uses: k of E experts, and all that every token meets.

        Each parameter that the forward reads counts by the share of the rows that reaches it
        (``StateProfile.share``). Without routing these are the parameters that the forward reads:
        ``params - unused_params``. Where the code runs every token through every expert, and only
        weighs the results, all of them are active; rows that pad an expert to a capacity count. Where rows are
        picked outside torch (NumPy, lists of positions), what they meet counts whole.
        """
        sizes: dict[tuple[int, int], int] = {}
        for entry in self._parameters():
            if entry.used:
                sizes[entry.share] = sizes.get(entry.share, 0) + entry.spec.numel
        return round(sum(size * Fraction(*share) for share, size in sizes.items()))

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
        return self.peak.bytes + self.param_bytes + self.buffer_bytes

    @cached_property
    def peak(self) -> Peak:
        """The op at which most bytes are alive, and which tensors those are, weights and buffers left out."""
        return peak(self.inputs, self.ops, self.outputs)

    # -- where it goes -------------------------------------------------------------------------

    @cached_property
    @no_garbage_collection()
    def root(self) -> ModuleProfile:
        """The module tree."""
        return tree(self.modules, self.ops)

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
        check_natural("depth", depth)
        return {module.path: module.cost for level, module in self.walk() if depth is None or level <= depth}

    # -- how sure ------------------------------------------------------------------------------

    @cached_property
    def uncounted(self) -> tuple[Uncounted, ...]:
        """Ops without a rule, by op, in order of first call."""
        seen: dict[str, list[OpProfile]] = {}
        for op in self.ops:
            if op.cost is None:
                seen.setdefault(op.op, []).append(op)
        return tuple(map(_uncounted, seen.values()))

    @property
    def exact(self) -> bool:
        """Whether every op was counted and no size was assumed."""
        return not self.uncounted and not self.bounds

    @cached_property
    def uncalled(self) -> tuple[str, ...]:
        """Paths of the modules that the forward never reaches."""
        return tuple(module.path for _, module in self.walk() if not module.reached)

    # -- storage ----------------------------------------------------------------------------------

    @no_garbage_collection()
    def to_dict(self) -> dict[str, Any]:
        """Plain data with a ``format`` number; ``Report.from_dict`` reads it back."""
        plain: dict[str, Any] = saved.plain(self._stored())
        return plain

    def _stored(self) -> dict[str, Any]:
        """What is saved, in records."""
        return {"format": FORMAT, **saved.fields_of(self), "versions": dict(self.versions), "totals": self._totals()}

    def _totals(self) -> dict[str, Any]:
        names = (
            "macs", "flops", "params", "active_params", "trainable_params", "unused_params", "buffers", "param_bytes",
            "buffer_bytes", "activations", "activation_bytes", "bytes_accessed", "intensity", "peak_bytes", "exact",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def _check_names(self) -> None:
        if len({op.name for op in self.ops}) < len(self.ops):
            raise ValueError("ops of the same name")
        paths = {info.path for info in self.modules}
        strays = sorted({call.path for call in self.calls} - paths)
        if strays:
            raise ValueError(f"calls of modules that it does not list: {', '.join(strays[:3])}")

    @no_garbage_collection()
    def to_json(self, indent: int | None = None) -> str:
        """The complete report as JSON: ``to_dict``, written record by record; ``Report.from_json`` reads it back."""
        check_natural("indent", indent)
        return json.dumps(self._stored(), indent=indent, default=saved.fields_of, check_circular=False)

    @classmethod
    @no_garbage_collection()
    def from_json(cls, text: str | bytes) -> Report:
        """Read what ``to_json`` wrote, faster than with ``json.loads``. Raises InputError on anything else."""
        try:
            data = json.loads(text)
        except (TypeError, ValueError, RecursionError) as err:
            said = f"{type(err).__name__}: {err}"
            raise InputError(f"{said}; a saved report must be JSON, as Report.to_json writes it") from err
        return cls.from_dict(data)

    @classmethod
    @no_garbage_collection()
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read what ``to_dict`` wrote; totals are derived again. Raises InputError on anything else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise InputError(f"a saved report must have format {FORMAT}, got {got!r}; make it again with this fxprof")
        try:
            report = cls(
                name=data["name"],
                inputs=tuple(InputProfile(i["name"], saved.spec(i["spec"])) for i in data["inputs"]),
                ops=tuple(map(saved.op, data["ops"])),
                modules=tuple(map(saved.module, data["modules"])),
                bounds=tuple(Bound(**bound) for bound in data["bounds"]),
                outputs=tuple(data["outputs"]),
                training=data["training"],
                versions=dict(data["versions"]),
                calls=tuple(map(saved.call, data["calls"])),
            )
            saved.check(report)
            report._totals(), report.by_type(), report.by_module()  # fails where parts do not fit together
            report._check_names()
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as err:
            said = f"{type(err).__name__} {err}"
            raise InputError(f"a saved report must hold what Report.to_dict writes: {said}") from err
        return report

    def __str__(self) -> str:
        from fxprof.views.table import render

        return render(self)


def _uncounted(ops: Sequence[OpProfile]) -> Uncounted:
    """The calls of one op without a rule."""
    written = [sum(spec.numel for spec in op.outputs) for op in ops]
    macs = sum(out * sum(spec.numel for spec in op.inputs) for out, op in zip(written, ops))
    return Uncounted(ops[0].op, len(ops), ops[0].module, sum(written), Cost(macs=macs, flops=2 * macs))


def _grouped(pairs: Iterator[tuple[str, Cost | None]]) -> dict[str, Cost]:
    totals: dict[str, Cost] = {}
    for key, cost in pairs:
        if cost is not None:
            totals[key] = totals.get(key, Cost()) + cost
    return totals
