"""Control flow as an operator (``torch.cond``, ``while_loop``, ``scan``, ``map``): run as the Python it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from fxprof.ops import op_of


def _cond(chosen: Any, true: Any, false: Any, operands: Any = ()) -> Any:
    return (true if chosen else false)(*operands)


def _while_loop(condition: Any, body: Any, carried: Any, more: Any = (), **_: Any) -> Any:
    while condition(*carried, *more):
        carried = body(*carried, *more)
    return tuple(carried)


def _map(body: Any, rows: Any, more: Any = (), **_: Any) -> Any:
    made = [body(*(x[i] for x in rows), *more) for i in range(rows[0].shape[0])]
    return tree_map(lambda *each: torch.stack(each), *made)  # in whatever nesting the body returns


def _scan(body: Any, carried: Any, rows: Any, more: Any = (), **_: Any) -> Any:
    made = []
    for i in range(rows[0].shape[0]):
        results = body(*carried, *(x[i] for x in rows), *more)
        carried = results[: len(carried)]
        made.append(results[len(carried) :])
    return (*carried, *_stacked(made))


def _stacked(rows: list[Any]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(column) for column in zip(*rows))


_RUNS: dict[str, Callable[..., Any]] = {
    f"torch.ops.higher_order.{name}": run
    for name, run in (("cond", _cond), ("while_loop", _while_loop), ("map_impl", _map), ("scan", _scan))
}


def control_flow(func: Any) -> Callable[..., Any] | None:
    """How to run an operator that is control flow; None for another."""
    return _RUNS.get(op_of(func)) if isinstance(func, torch._ops.HigherOrderOperator) else None
