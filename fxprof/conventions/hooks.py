"""Tools that hook module calls: a table of layer types to what one call counts.

What runs outside a layer of a known type is invisible to such a tool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from fxprof.conventions.missed import Missed
from fxprof.conventions.parts import BATCH, PRODUCTS, SHARED, SIZES, TRANSPOSED, Item, native
from fxprof.report import CallProfile, ModuleInfo, OpProfile, Report, Shape


@dataclass(frozen=True)
class Layer:
    """One call of a module: what a hook on it gets to see."""

    info: ModuleInfo
    call: CallProfile
    ops: tuple[OpProfile, ...]

    @property
    def x(self) -> Shape:
        """Shape of the first input."""
        return self.call.inputs[0].shape if self.call.inputs else ()

    @property
    def y(self) -> Shape:
        """Shape of the first output."""
        return self.call.outputs[0].shape if self.call.outputs else ()

    @property
    def size(self) -> int:
        """Elements of the first output."""
        return prod(self.y) if self.call.outputs else 0

    @property
    def native(self) -> str:
        """The class name if it is torch's own class and no subclass; else nothing."""
        return native(self.info)

    def weight(self, name: str = "weight") -> Shape | None:
        """Shape of a parameter of the module itself, or None."""
        return next((weight.shape for weight in self.info.weights if weight.name == name), None)

    def number(self, name: str, default: int = 0) -> int:
        """A hyper-parameter that is a number or a truth value."""
        value = dict(self.info.attributes).get(name, default)
        return int(value) if isinstance(value, (bool, int, float)) else default

    def window(self, dims: int) -> int:
        """Elements of a pooling window."""
        size: Shape | int = dict(self.info.attributes).get("kernel_size", 1)
        return prod(size) if isinstance(size, tuple) else size**dims

    @property
    def params(self) -> int:
        """Elements of its own parameters."""
        return sum(weight.numel for weight in self.info.weights)


# What one call counts, by cause; PRODUCTS stands for what the tool takes the multiply-adds to be.
Formula = Callable[[Layer], Mapping[str, int]]


def layers(report: Report) -> Iterator[Layer]:
    """Every module call, in order."""
    infos = {info.path: info for info in report.modules}
    for call in report.calls:
        yield Layer(infos[call.path], call, report.ops[call.start : call.stop])


def leaves(report: Report) -> Iterator[Layer]:
    """Every call of a module without children."""
    return (layer for layer in layers(report) if layer.info.leaf)


def items(
    report: Report,
    seen: Callable[[Report], Iterator[Layer]],
    formula: Callable[[Layer], Formula | None],
    times: Callable[[Layer], int] = lambda layer: 1,
) -> Iterator[Item]:
    """The items of every op; ``times`` is how often a tool counts a call of a module with several parents."""
    kinds: dict[str, str] = {}
    for layer in seen(report):
        count = formula(layer)
        if count is not None:
            fresh = [op for op in layer.ops if op.name not in kinds]
            kinds.update((op.name, layer.info.type) for op in fresh)
            yield from _of_layer(layer, count(layer), fresh, times(layer))
    missed = Missed(report)
    for op in report.ops:
        if op.macs:
            kind = kinds.get(op.name, op.op)
            yield Item(kind, PRODUCTS, op.macs, op.name)
            if op.name not in kinds:
                yield Item(kind, missed.by_a_table_of_modules(op), -op.macs, op.name)


def _of_layer(layer: Layer, counted: Mapping[str, int], ops: list[OpProfile], times: int) -> Iterator[Item]:
    """What the tool counts at one call, beyond the multiply-adds of the ops in it."""
    place = max(ops, key=lambda op: op.macs).name if ops else layer.call.path
    kind = layer.info.type
    macs = sum(op.macs for op in ops)
    for cause, flops in counted.items():
        if cause != PRODUCTS:
            yield Item(kind, cause, flops, place)
    for cause, flops in _off(layer, counted.get(PRODUCTS, 0), macs):
        yield Item(kind, cause, flops, place)
    if times != 1:
        yield Item(kind, SHARED, (times - 1) * sum(counted.values()), place)


def _off(layer: Layer, counted: int, macs: int) -> Iterator[tuple[str, int]]:
    """Why a layer's formula does not give its multiply-adds."""
    inputs = prod(layer.x[2:])
    if "ConvTranspose" in layer.info.type and inputs:
        # Each input element meets the whole kernel; by the output, it is as if each output element did.
        by_output = macs * prod(layer.y[2:]) // inputs
        yield TRANSPOSED, by_output - macs
        macs = by_output
    if counted != macs:
        yield BATCH if counted < macs else SIZES, counted - macs
