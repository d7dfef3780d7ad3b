"""How the cost of each module grows when one dimension of the inputs is doubled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf, log
from typing import Any

from fxprof.report import Report
from fxprof.shown import Shown

GROWING = ("macs", "activations")


@dataclass(frozen=True)
class ModuleGrowth:
    """One module, everything below it included, before and after: totals by name."""

    path: str
    type: str
    depth: int
    before: Mapping[str, int]
    after: Mapping[str, int]


@dataclass(frozen=True)
class Doubling:
    """One dimension (``batch``, ``size`` or ``seq``) at two sizes; ``error`` says why the second was not counted."""

    dimension: str
    before: float
    after: float
    modules: tuple[ModuleGrowth, ...] = ()
    error: str = ""

    def order(self, module: ModuleGrowth, total: str) -> float | None:
        """The power of the dimension with which a total grows; None where there is nothing at both sizes."""
        first, second = module.before.get(total, 0), module.after.get(total, 0)
        if not first and not second:
            return None
        if not first or not second:
            return inf if second else -inf
        return log(second / first) / log(self.after / self.before)


@dataclass(frozen=True)
class Scaling(Shown):
    """The doublings of one model; ``str(scaling)`` is a table."""

    model: str
    doublings: tuple[Doubling, ...]

    def order(self, dimension: str, total: str, path: str = "") -> float | None:
        """The observed order of one module (the whole model: ``""``); None where it was not observed."""
        for doubling in self.doublings:
            for module in doubling.modules:
                if (doubling.dimension, module.path) == (dimension, path):
                    return doubling.order(module, total)
        return None

    @property
    def odd(self) -> tuple[str, ...]:
        """Innermost modules whose MACs do not grow in proportion to the batch: one item's cost depends on others."""
        found = []
        for doubling in self.doublings:
            orders = {m.path: doubling.order(m, "macs") for m in doubling.modules if doubling.dimension == "batch"}
            paths = [path for path, order in orders.items() if order is not None and abs(order - 1) > 1e-9]
            found += [p for p in paths if not any(o != p and o.startswith(f"{p}." if p else "") for o in paths)]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the orders of every module."""
        doublings = []
        for doubling in self.doublings:
            data = asdict(doubling)
            for entry, module in zip(data["modules"], doubling.modules):
                entry["orders"] = {total: _finite(doubling.order(module, total)) for total in GROWING}
            doublings.append(data)
        return {"model": self.model, "doublings": doublings, "odd": list(self.odd)}

    def __str__(self) -> str:
        from fxprof.views.scaling import render

        return render(self)


def compared(before: Report, after: Report) -> Iterator[ModuleGrowth]:
    """Every module of both reports, with its totals in each."""
    later = {module.path: module for _, module in after.walk()}
    for depth, module in before.walk():
        if module.path in later:
            first, second = ({total: getattr(m, total) for total in GROWING} for m in (module, later[module.path]))
            yield ModuleGrowth(module.path, module.type, depth, first, second)


def _finite(order: float | None) -> float | None:
    return None if order is None or abs(order) == inf else order
