"""Budgets: limits on what a model, or some of its modules, may cost, and who is to blame where one is exceeded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from fxprof.errors import InputError
from fxprof.measures import MEASURES, Measure
from fxprof.report import ModuleProfile, Report
from fxprof.units import parse

BLAMED = 5


@dataclass(frozen=True, slots=True)
class Metric:
    """A total that can have a limit; ``measure`` is the same of modules, where it is a sum over them."""

    title: str
    total: Callable[[Report], int]
    measure: Measure | None = None
    unit: str = ""


METRICS: Mapping[str, Metric] = {
    "macs": Metric("MACs", lambda report: report.macs, MEASURES["macs"]),
    "flops": Metric("FLOPs", lambda report: report.flops, MEASURES["flops"]),
    "params": Metric("Parameters", lambda report: report.params, MEASURES["params"]),
    "activations": Metric("Activations", lambda report: report.activations, MEASURES["activations"]),
    "peak": Metric("Peak memory", lambda report: report.peak_bytes, unit="bytes"),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """At most ``limit`` of a metric: in the whole model, or in each module whose path matches the glob ``modules``."""

    metric: str
    limit: int
    modules: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one budget met: the model (``path`` is None) or one module, and what of it weighs most.

    ``heaviest`` names modules with what they hold by themselves, largest first: those to blame where it is over.
    """

    budget: Budget
    path: str | None
    used: int
    heaviest: tuple[tuple[str, int], ...]

    @property
    def over(self) -> bool:
        """Whether the limit is exceeded; a limit that is met exactly is kept."""
        return self.used > self.budget.limit


def check(report: Report, budgets: Iterable[Budget]) -> list[Verdict]:
    """Hold a report against budgets. Raises InputError where a glob matches no module, so that none checks nothing."""
    return [verdict for budget in budgets for verdict in _verdicts(report, budget)]


def _verdicts(report: Report, budget: Budget) -> Iterator[Verdict]:
    metric = METRICS[budget.metric]
    if not budget.modules:
        heavy = _own(report.root, metric.measure) if metric.measure else _peak_by_module(report)
        yield Verdict(budget, None, metric.total(report), _heaviest(heavy))
        return
    if metric.measure is None:
        raise InputError(f"max-{budget.metric} is of the whole model, got one for the modules {budget.modules!r}")
    matching = [module for _, module in report.walk() if fnmatchcase(module.path, budget.modules)]
    if not matching:
        raise InputError(f"no module of {report.name} matches {budget.modules!r}, which max-{budget.metric} is for")
    for module in matching:
        yield Verdict(budget, module.path, metric.measure.whole(module), _heaviest(_own(module, metric.measure)))


def _own(root: ModuleProfile, measure: Measure) -> dict[str, int]:
    return {module.path: measure.own(module) for _, module in root.walk()}


def _heaviest(sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    ordered = sorted(sizes.items(), key=lambda item: -item[1])
    return tuple((path, size) for path, size in ordered[:BLAMED] if size)


def _peak_by_module(report: Report) -> dict[str, int]:
    """Bytes alive at the worst op, by the module that holds them: state it registers, outputs its ops allocated."""
    homes = {op.name: op.module for op in report.ops}
    sizes: dict[str, int] = {}
    for module in report.modules:
        sizes[module.path] = sum(entry.spec.nbytes for entry in module.state)
    for owner, size in report.peak.live.items():
        home = homes.get(owner.split(":")[0], "")  # an input is held by whoever calls the model
        sizes[home] = sizes.get(home, 0) + size
    return sizes


# -- reading them ------------------------------------------------------------------------------


def limit(text: Any) -> int:
    """A limit as a person writes it: ``"5G"``, ``"512MiB"``, ``30_000_000``. Raises InputError on anything else."""
    try:
        if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
            return text
        return parse(str(text))
    except ValueError as err:
        raise InputError(str(err)) from err


def from_limits(limits: Mapping[str, Any], modules: Mapping[str, Mapping[str, Any]]) -> list[Budget]:
    """Budgets of the model by metric, and of the modules that a glob matches.

    Raises InputError on a metric that is none, on a limit that is no number, and where there is no limit at all.
    """
    found = [_budget(metric, value, "") for metric, value in limits.items()]
    found += [_budget(metric, value, glob) for glob, inner in modules.items() for metric, value in inner.items()]
    if not found:
        raise InputError(f"nothing to check: give at least one of {', '.join(METRICS)}")
    return found


def _budget(metric: str, value: Any, glob: str, where: str = "", prefix: str = "") -> Budget:
    if metric not in METRICS:
        known = [prefix + name for name in METRICS]
        close = get_close_matches(prefix + metric, known, n=1)
        hint = f"did you mean {close[0]}" if close else f"known are {', '.join(known)}"
        raise InputError(f"no budget is called {prefix + metric!r}{where}; {hint}")
    try:
        return Budget(metric, limit(value), glob)
    except InputError as err:
        raise InputError(f"{prefix}{metric}{where}: {err}") from err


def from_table(table: Mapping[str, Any]) -> list[Budget]:
    """Read ``[tool.fxprof]``: ``max-macs = "5G"``, and the same keys in ``[tool.fxprof.modules."layer*"]``.

    Raises InputError on any other key: a misspelled budget must not pass for one that is kept.
    """
    found = _limits({key: value for key, value in table.items() if key != "modules"}, "")
    modules = table.get("modules", {})
    if not isinstance(modules, Mapping):
        raise InputError(f"there must be a table per glob in [tool.fxprof.modules], got {modules!r}")
    for glob, inner in modules.items():
        if not glob:
            raise InputError('a glob of [tool.fxprof.modules] must match modules, got ""')
        found += _limits(inner, glob)
    return found


def _limits(table: Any, glob: str) -> list[Budget]:
    where = f' in [tool.fxprof.modules."{glob}"]' if glob else " in [tool.fxprof]"
    if not isinstance(table, Mapping):
        raise InputError(f"there must be a table of limits{where}, got {table!r}")
    found = []
    for key, value in table.items():
        if not key.startswith("max-"):
            known = ", ".join(f"max-{name}" for name in METRICS)
            raise InputError(f"no budget is called {key!r}{where}; known are {known}")
        found.append(_budget(key.removeprefix("max-"), value, glob, where, "max-"))
    return found


def merged(given: Iterable[Budget], configured: Iterable[Budget]) -> list[Budget]:
    """Both, where what was given replaces what is configured for the same metric and modules."""
    found = {(budget.metric, budget.modules): budget for budget in (*configured, *given)}
    return list(found.values())
