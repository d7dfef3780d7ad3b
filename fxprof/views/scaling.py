"""A scaling check: one row per module, with the power of each dimension that its cost grows with."""

from __future__ import annotations

import json
from math import inf

from fxprof.growth import GROWING, Doubling, Scaling
from fxprof.views.grid import BOLD, YELLOW, paint, prose, table
from fxprof.views.listing import Column
from fxprof.views.rows import SCREEN
from fxprof.views.text import listed, safe

_TITLES = {"macs": "MACs", "activations": "Activations"}


def render(scaling: Scaling, *, width: int | None = None, colour: bool = False) -> str:
    """Render the orders of each module down to the depth that fits a screen, and what is odd about them."""
    observed = [doubling for doubling in scaling.doublings if not doubling.error]
    body = _table(observed, width, colour) if observed else ""
    lines = [_heading(doubling) for doubling in scaling.doublings]
    return "\n\n".join(
        filter(
            None,
            [
                f"{paint(safe(scaling.model), BOLD, on=colour)}: orders of growth of each module",
                body,
                "\n".join(prose(lines, width)),
                "\n".join(prose(_odd(scaling), width, YELLOW, on=colour)),
            ],
        )
    )


def to_json(scaling: Scaling) -> str:
    """All of it as data."""
    return json.dumps(scaling.to_dict(), indent=2)


def _table(doublings: list[Doubling], width: int | None, colour: bool) -> str:
    columns = [Column("Module", name=True), Column("Type", name=True, spare=1)]
    columns += [Column(f"{_TITLES[total]} ~ {d.dimension}^", right=True) for d in doublings for total in GROWING]
    orders: dict[str, list[str]] = {}
    for doubling in doublings:
        for module in doubling.modules:
            cells = orders.setdefault(module.path, [])
            cells += [_order(doubling.order(module, total)) for total in GROWING]
    modules = [m for m in doublings[0].modules if len(orders[m.path]) == len(columns) - 2]
    modules = [m for m in modules if any(cell != "-" for cell in orders[m.path])]
    depth = max((d for d in range(1, 64) if sum(m.depth <= d for m in modules) <= SCREEN), default=1)
    rows = [[safe(m.path) or "the model itself", m.type, *orders[m.path]] for m in modules if m.depth <= depth]
    return table(columns, rows, width=width, colour=colour)


def _order(order: float | None) -> str:
    if order is None:
        return "-"
    return {inf: "appears", -inf: "vanishes"}.get(order) or f"{abs(order) if round(order, 2) == 0 else order:.2f}"


def _heading(doubling: Doubling) -> str:
    sizes = f"{doubling.dimension} from {doubling.before:g} to {doubling.after:g}"
    return f"Not counted at {sizes}: {doubling.error}" if doubling.error else f"Observed with {sizes}."


def _odd(scaling: Scaling) -> list[str]:
    names = [safe(path) or "the model itself" for path in scaling.odd]
    return [f"Not in proportion to the batch: the MACs of {listed(names)}."] if names else []
