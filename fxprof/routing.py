"""Which share of the rows reaches each parameter, where a model routes rows to alternatives.

Rows (tokens, as a rule) are *dispatched* where they are gathered, or contracted with a mask, by what a choice
among alternatives (``topk``, ``argmax``, ...) has decided; they are back where they are written, summed or gathered
into place again. A parameter that meets all dispatched rows is no alternative. One that meets a part of them is,
and its share is the rows it meets over the rows there were: k / E for each of E experts of which a row takes k.
Grouped products, and weights that are gathered by a choice, are alternatives by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from fxprof import ops
from fxprof.alternatives import Choice, choices, is_split, lines, numel, shape
from fxprof.report import Cost
from fxprof.rules import RULES, free
from fxprof.tracing import Trace
from fxprof.tracing.choices import CHOOSING
from fxprof.tracing.graph import Node

_GATHERS = frozenset("getitem index_select gather take_along_dim masked_select index take".split())
_GROUPED = frozenset("grouped_mm _grouped_mm scaled_grouped_mm transformers::grouped_mm_fallback".split())
_PRODUCTS = frozenset("matmul mm bmm einsum linear addmm baddbmm inner".split()) | _GROUPED
# Their result is their first argument with rows put into place.
_PLACES = frozenset(
    "index_add scatter_add scatter index_put index_copy scatter_reduce masked_scatter setitem index_reduce".split()
)
_REDUCES = frozenset("sum mean einsum matmul bmm".split())
_REPEATS = frozenset(
    "repeat_interleave expand repeat unsqueeze view reshape flatten squeeze to contiguous clone".split()
)
_LIKE_ANOTHER = frozenset("expand_as view_as reshape_as type_as".split())
_SLICES = frozenset("getitem select narrow split split_with_sizes chunk unbind tensor_split".split())
_MADE = frozenset("zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full".split())


# Without one of them nothing is routed.
_DECIDING = _GROUPED.union(CHOOSING, ["eq"])


class Rows(NamedTuple):
    """Dispatched rows: where from, and how many for each row there."""

    source: Node
    each: Fraction


_NONE = Choice(0, 0)


def shares(traced: Trace, cost: Callable[[Node, str], Cost | None]) -> dict[str, Fraction]:
    """The share of the rows that reaches each parameter that not all of them reach; ``cost`` counts a call."""
    called = {node.target for node in traced.graph.nodes if node.op in ("call_function", "call_method")}
    if _DECIDING.isdisjoint(map(ops.op_of, called)):
        return {}
    names = {node: ops.op_of(node.target) for node in traced.graph.nodes if node.op in ("call_function", "call_method")}
    chosen = choices(names)
    if not chosen and _GROUPED.isdisjoint(names.values()):
        return {}
    flow = _Flow(traced, names, chosen, cost)
    for node in traced.graph.nodes:
        flow.visit(node)
    return dict(flow.found())


class _Flow:
    """One walk over the graph in order of execution."""

    def __init__(
        self, traced: Trace, names: Mapping[Node, str], chosen: dict[Node, Choice],
        cost: Callable[[Node, str], Cost | None],
    ) -> None:  # fmt: skip
        self._names = names
        self._cost = cost
        self._sizes = {name: tensor.numel() for name, tensor in traced.model.parameters.items()}
        self._neutral: set[Node] = set()  # neither data nor weights
        self._decided = chosen  # and what follows from them, by the first of them
        self._weights: dict[Node, tuple[str, ...]] = {}  # nodes that only move parameters
        self._gathered: set[Node] = set()
        self._rows: dict[Node, Rows] = {}
        self._dispatched: dict[Node, Fraction] = {}
        self._parts: dict[Node, dict[Node, Fraction]] = {}  # which parts of a source were dispatched at all
        self._uses: dict[str, dict[Node, Fraction]] = {}
        self._whole: set[str] = set()

    def found(self) -> Iterator[tuple[str, Fraction]]:
        """The parameters that only a part of the rows reaches, with that part."""
        for name, uses in self._uses.items():
            alternative = all(self._is_part(source, share) for source, share in uses.items())
            share = sum((use / self._covered(source) for source, use in uses.items()), Fraction())
            if name not in self._whole and alternative and share < 1:
                yield name, share

    def _is_part(self, source: Node, share: Fraction) -> bool:
        """Whether it is a part of what was dispatched, and most rows were: a few best ones picked are no routing."""
        dispatched = self._dispatched[source]
        return share < dispatched and 2 * dispatched >= self._covered(source)

    def _covered(self, source: Node) -> Fraction:
        return min(sum(self._parts[source].values(), Fraction()), Fraction(1))

    def visit(self, node: Node) -> None:
        """Take one node into account, after all those that it reads."""
        inputs = node.all_input_nodes
        name = self._names.get(node, "")
        if node.written is not None:
            self._write(node.written, inputs)
        if node.op == "get_attr":
            if str(node.target) in self._sizes:
                self._weights[node] = (str(node.target),)
            else:
                self._neutral.add(node)
        elif name and (name in _MADE or all(source in self._neutral for source in inputs)):
            self._neutral.add(node)
        elif name and self._decides(node, inputs):
            self._decided.setdefault(node, next((self._decided[s] for s in inputs if s in self._decided), _NONE))
        elif name and self._moves_weights(node, name, inputs):
            self._weights[node] = tuple(dict.fromkeys(n for source in inputs for n in self._weights.get(source, ())))
        elif name:
            rows = self._rows_into(node, name, inputs)
            for source in inputs:
                if source in self._weights:
                    rows = self._use(node, name, source, inputs, rows)
            result = self._rows_out(node, name, inputs, rows)
            if result is not None:
                self._rows[node] = result

    def _write(self, target: Node, inputs: list[Node]) -> None:
        """What is written into a new tensor, or into a view of it, says what it is from then on."""
        data = [source for source in inputs if source not in self._neutral]
        while data and target in self._neutral:
            self._neutral.discard(target)
            if all(source in self._decided for source in data):
                self._decided[target] = self._decided[data[0]]
            if not target.all_input_nodes:
                break
            target = target.all_input_nodes[0]

    # -- what a node is ----------------------------------------------------------------------------------

    def _decides(self, node: Node, inputs: list[Node]) -> bool:
        """Whether it follows from choices, and from nothing else that is data."""
        if node in self._decided:
            return True
        if self._names[node] in _LIKE_ANOTHER:
            inputs = inputs[:1]
        decided = [source in self._decided for source in inputs]
        return any(decided) and all(d or s in self._neutral for d, s in zip(decided, inputs))

    def _moves_weights(self, node: Node, name: str, inputs: list[Node]) -> bool:
        """Whether it is made of parameters alone, or gathers some of a parameter's slices."""
        if not inputs or inputs[0] not in self._weights:
            return any(s in self._weights for s in inputs) and all(
                s in self._weights or s in self._neutral for s in inputs
            )
        others = [source for source in inputs if source not in self._weights and source not in self._neutral]
        index = name in ("getitem", "index_select")
        many = index and any(numel(source) > 1 and source in self._decided for source in others)
        if many or inputs[0] in self._gathered:
            self._gathered.add(node)
        return all(index and source in self._decided for source in others)

    # -- the flow of rows --------------------------------------------------------------------------------

    def _rows_into(self, node: Node, name: str, inputs: list[Node]) -> Rows | None:
        if name in _PLACES or node.written is not None:
            return self._rows.get(inputs[0]) if inputs else None
        return next((self._rows[source] for source in inputs if source in self._rows), None)

    def _rows_out(self, node: Node, name: str, inputs: list[Node], rows: Rows | None) -> Rows | None:
        if name in _PLACES or node.written is not None:
            return rows
        data = [s for s in inputs if s not in self._weights and s not in self._neutral and s not in self._decided]
        steered = any(source in self._decided for source in inputs)
        if steered and data and name in _GATHERS | _PRODUCTS - _GROUPED:
            return None if rows is not None else self._dispatch(data[0], node, inputs)
        if rows is None:
            return None
        if name in _REDUCES and lines(node) == lines(rows.source) and numel(node) < max(map(numel, data)):
            return None  # one row again for each that there was
        if any(s not in self._rows and numel(s) == numel(node) for s in data) and name not in _PRODUCTS:
            return None  # put beside rows that were never dispatched
        if name == "cat":
            joined = [self._rows[s] for s in inputs if s in self._rows and self._rows[s].source is rows.source]
            return Rows(rows.source, sum((part.each for part in joined), Fraction()))
        return Rows(rows.source, rows.each * self._part(node, name, inputs))

    def _dispatch(self, data: Node, node: Node, inputs: list[Node]) -> Rows:
        given = self._origin(data, _REPEATS)
        source = self._source(given)
        each = Fraction(numel(node), max(numel(source), 1))
        choice = next(self._decided[s] for s in inputs if s in self._decided)
        if choice.alternatives != lines(given) > choice.rows > 0:  # each row is there once per choice already
            each *= Fraction(lines(given), choice.rows)
        self._dispatched[source] = self._dispatched.get(source, Fraction()) + each
        return Rows(source, each)

    def _source(self, rows: Node) -> Node:
        """What the rows are a part of, where the model's code takes its rows part by part."""
        source = rows
        while self._names.get(source) in _SLICES and len(source.all_input_nodes) == 1:
            whole = source.all_input_nodes[0]
            if not is_split(whole) and shape(whole)[-1:] != shape(source)[-1:]:
                break  # columns
            source = self._origin(whole, _REPEATS)
        self._parts.setdefault(source, {})[rows] = Fraction(numel(rows), max(numel(source), 1))
        return source

    def _origin(self, node: Node, through: frozenset[str]) -> Node:
        """The rows before they were repeated."""
        while self._names.get(node) in through and node.all_input_nodes:
            node = node.all_input_nodes[0]
        return node

    def _part(self, node: Node, name: str, inputs: list[Node]) -> Fraction:
        """Which part of the rows a slice, or an element of a split, is; columns are no rows."""
        source = inputs[0]
        if RULES.get(name) is not free or source not in self._rows or is_split(node):
            return Fraction(1)
        if is_split(source):
            first = source.all_input_nodes[0]
            whole = first if shape(first)[-1:] == shape(node)[-1:] else node
            return Fraction(numel(node), max(numel(whole), 1))
        cut = shape(source)[-1:] == shape(node)[-1:] and numel(node) < numel(source)
        return Fraction(numel(node), numel(source)) if cut else Fraction(1)

    # -- parameters --------------------------------------------------------------------------------------

    def _use(self, node: Node, name: str, weight: Node, inputs: list[Node], rows: Rows | None) -> Rows | None:
        """Note that ``node`` reads a parameter, and return the rows that it meets."""
        names = self._weights[weight]
        data = [source for source in inputs if source not in self._weights and source not in self._neutral]
        if rows is None and data and (name in _GROUPED or weight in self._gathered):
            rows = self._dispatch_by_weight(data[0])
        if rows is None:
            self._whole.update(names)
            return None
        whole = sum(self._sizes[entry] for entry in names)
        share = rows.each / self._slices(node, name, weight, data) * Fraction(numel(weight), max(whole, 1))
        for entry in names:
            uses = self._uses.setdefault(entry, {})
            uses[rows.source] = uses.get(rows.source, Fraction()) + share
        return rows

    def _dispatch_by_weight(self, data: Node) -> Rows:
        """Rows that were not moved: each meets the slice of a weight that was gathered, or grouped, for it."""
        source = self._source(self._origin(data, _REPEATS | _GATHERS))
        rows = Rows(source, Fraction(numel(data), max(numel(source), 1)))
        self._dispatched[source] = self._dispatched.get(source, Fraction()) + rows.each
        return rows

    def _slices(self, node: Node, name: str, weight: Node, data: list[Node]) -> Fraction:
        """Among how many slices of a weight the rows are divided: 1 where all rows meet all of it."""
        cost = self._cost(node, name)
        out = numel(node)
        if name in _PRODUCTS and cost is not None and cost.macs and len(shape(weight)) > 1 and data:
            # (r, n) x (g, n, m) -> (r, m) in r * n * m products: r*n * g*n*m * r*m / (r*n*m)**2 = g
            return max(Fraction(numel(data[0]) * numel(weight) * out, cost.macs**2), Fraction(1))
        if weight in self._gathered and out:
            return max(Fraction(lines(node) * numel(weight), out), Fraction(1))
        return Fraction(1)
