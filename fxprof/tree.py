"""The module tree: a Report's ops and modules put together, with what adds up in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fxprof.records import Cost, ModuleInfo, OpProfile, StateProfile, TensorSpec, total


class Sums(NamedTuple):
    """What adds up over the modules of a tree: counts, elements and bytes."""

    macs: int
    flops: int
    params: int
    activations: int
    param_bytes: int
    activation_bytes: int
    bytes_accessed: int

    @property
    def cost(self) -> Cost:
        """The MACs and FLOPs among them."""
        return Cost(macs=self.macs, flops=self.flops)


@dataclass(frozen=True, slots=True)
class ModuleProfile:
    """A module, the ops it runs itself, and its children in call order.

    ``own`` is what its ops and state add up to, ``whole`` the same with its children; ``reached`` says
    whether the forward called it, ran an op in it, read its state, or reached a module below it. They follow from
    the rest, and are made with it: a tree grows from its leaves, so that none is too deep.
    """

    path: str
    type: str
    calls: int = 0
    state: tuple[StateProfile, ...] = ()
    ops: tuple[OpProfile, ...] = ()
    children: tuple[ModuleProfile, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()  # of the first call
    own: Sums = field(init=False, repr=False, compare=False)
    whole: Sums = field(init=False, repr=False, compare=False)
    reached: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        below, own = self.children, _own(self.state, self.ops)
        whole = Sums(*map(sum, zip(own, *[child.whole for child in below]))) if below else own
        read = any(entry.used for entry in self.state)
        reached = bool(self.calls or self.ops or read or any(child.reached for child in below))
        for name, value in (("own", own), ("whole", whole), ("reached", reached)):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def own_cost(self) -> Cost:
        """Cost of the ops that this module runs itself."""
        return self.own.cost

    @property
    def cost(self) -> Cost:
        """Cost of this module and everything below it."""
        return self.whole.cost

    @property
    def macs(self) -> int:
        """Multiply-accumulates, children included."""
        return self.whole.macs

    @property
    def flops(self) -> int:
        """FLOPs, children included."""
        return self.whole.flops

    @property
    def own_params(self) -> int:
        """Elements of the parameters registered on this module itself."""
        return self.own.params

    @property
    def params(self) -> int:
        """Elements of the parameters, children included; a shared one counts at its first owner."""
        return self.whole.params

    @property
    def activations(self) -> int:
        """Elements of newly allocated op outputs, children included."""
        return self.whole.activations

    @property
    def activation_bytes(self) -> int:
        """Bytes of newly allocated op outputs, children included."""
        return self.whole.activation_bytes

    @property
    def bytes_accessed(self) -> int:
        """Bytes read and written by the ops, children included."""
        return self.whole.bytes_accessed

    def walk(self, depth: int = 0) -> Iterator[tuple[int, ModuleProfile]]:
        """Yield ``(depth, module)`` for this module and all below it, parents first."""
        stack = [(depth, self)]
        while stack:
            level, module = stack.pop()
            yield level, module
            stack.extend((level + 1, child) for child in reversed(module.children))


def _own(state: Iterable[StateProfile], ops: Iterable[OpProfile]) -> Sums:
    cost = total(op.cost for op in ops)
    params = [entry.spec for entry in state if entry.kind == "parameter"]
    made = [spec for op in ops for spec in op.allocated]
    return Sums(
        cost.macs, cost.flops, sum([spec.numel for spec in params]), sum([spec.numel for spec in made]),
        sum([spec.nbytes for spec in params]), sum([spec.nbytes for spec in made]),
        sum([op.bytes_accessed for op in ops]),
    )  # fmt: skip


def tree(modules: Iterable[ModuleInfo], ops: Iterable[OpProfile]) -> ModuleProfile:
    """The root of the tree. Raises KeyError where a module's parent, or the root, is missing."""
    infos = {info.path: info for info in modules}
    own: dict[str, list[OpProfile]] = {}
    for op in ops:
        own.setdefault(op.module, []).append(op)
    below: dict[str, list[str]] = {path: [] for path in infos}
    for path in infos:
        if path:
            below[path.rpartition(".")[0]].append(path)

    built: dict[str, ModuleProfile] = {}
    for path in sorted(infos, key=lambda p: -(p.count(".") + 1 if p else 0)):
        info = infos[path]
        children = tuple([built[child] for child in below[path]])
        built[path] = ModuleProfile(
            path, info.type, info.calls, info.state, tuple(own.get(path, ())), children, info.outputs
        )
    return built[""]
