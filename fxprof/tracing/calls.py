"""One call of a torch function, and the same call on other tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fxprof.tracing.devices import on
from fxprof.tracing.values import Value, map_tensors


@dataclass(slots=True)
class Call:
    """One call to run: its arguments hold the tensors that the model's code holds."""

    func: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    values: list[Value]
    lookup: Callable[[Tensor], Value]

    def with_tensors(self, choose: Callable[[Value], Tensor]) -> Call:
        """The same call on other tensors."""

        def chosen(tensor: Tensor) -> Tensor:
            return choose(self.lookup(tensor))

        args = map_tensors(self.args, chosen)
        kwargs = map_tensors(self.kwargs, chosen) if self.kwargs else self.kwargs
        return Call(self.func, self.name, args, kwargs, self.values, self.lookup)

    def on_support(self) -> Call:
        """The same call on a table that is one where its only tensor can be other than zero."""
        table = self.values[0]
        assert table.support is not None
        known = Value(table.handle, real=table.support.float(), node=table.graph_node(), assumed=table.assumed)
        return Call(self.func, self.name, self.args, self.kwargs, [known], lambda _: known)

    def run(self, device: str) -> Any:
        """Call the function."""
        return self.func(*self.args, **on(device, self.kwargs))


class NeedsIntegers(Exception):
    """An op wants integers and got the floating tensor ``value``; the caller knows which input that was."""

    def __init__(self, op: str, value: Value, module: str) -> None:
        super().__init__(op)
        self.op, self.value, self.module = op, value, module
