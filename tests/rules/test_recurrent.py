"""Laws of recurrent layers: they are their cells, unrolled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from tests.rules.oracle import cost, decomposed, meta, torch_macs
from tests.rules.strategies import factors, sizes, with_torch

# Name -> gates, cell.
KINDS = {"lstm": (4, "lstm_cell"), "gru": (3, "gru_cell"), "rnn_tanh": (1, "rnn_tanh_cell")}
kinds = st.sampled_from(sorted(KINDS))


def params(kind: str, i: int, h: int, layers: int, directions: int, *, bias: bool) -> list[Shape]:
    """Weights as torch lays them out: per layer and direction w_ih, w_hh and the biases."""
    g = KINDS[kind][0] * h
    result: list[Shape] = []
    for layer in range(layers):
        width = i if layer == 0 else directions * h
        for _ in range(directions):
            result += [(g, width), (g, h), *([(g,), (g,)] if bias else [])]
    return result


def layer(kind: str, x: Shape, h: int, layers: int = 1, directions: int = 1, *, bias: bool = True) -> Cost:
    """The rule of a whole layer on x (t, n, i)."""
    state: Any = (layers * directions, x[1], h)
    hx = (state, state) if kind == "lstm" else state
    out = ((*x[:2], directions * h), state)
    weights = tuple(params(kind, x[-1], h, layers, directions, bias=bias))
    return RULES[kind](x, hx, weights, out=out)


def cell(kind: str, n: int, i: int, h: int, *, bias: bool = True) -> Cost:
    """The rule of one step on x (n, i)."""
    hx: Any = ((n, h), (n, h)) if kind == "lstm" else (n, h)
    return RULES[KINDS[kind][1]]((n, i), hx, *params(kind, i, h, 1, 1, bias=bias), out=hx)


@given(kinds, sizes, sizes, sizes, sizes, st.booleans())
def test_a_layer_is_its_cells_unrolled(kind: str, t: int, n: int, i: int, h: int, bias: bool) -> None:
    """One layer over t steps costs what t steps of its cell cost."""
    assert layer(kind, (t, n, i), h, bias=bias) == sum((cell(kind, n, i, h, bias=bias) for _ in range(t)), Cost())


@given(kinds, sizes, sizes, sizes, sizes, st.integers(1, 3), st.integers(1, 2))
def test_layers_and_directions_add_up(kind: str, t: int, n: int, i: int, h: int, layers: int, directions: int) -> None:
    """A stack costs what its layers cost one after the other, each once per direction."""
    widths = [i] + [directions * h] * (layers - 1)
    parts = [layer(kind, (t, n, width), h) for width in widths for _ in range(directions)]
    assert layer(kind, (t, n, i), h, layers, directions) == sum(parts, Cost())


@given(kinds, sizes, sizes, sizes, sizes, factors)
def test_layers_scale_with_the_batch(kind: str, t: int, n: int, i: int, h: int, k: int) -> None:
    """k times the sequences cost k times as much."""
    assert layer(kind, (t, k * n, i), h, 2, 2) == layer(kind, (t, n, i), h, 2, 2) * k


@given(kinds, sizes, sizes, sizes)
def test_gates_are_linear_layers(kind: str, n: int, i: int, h: int) -> None:
    """The MACs of a step are those of one linear layer per gate on the input and one on the state."""
    gates = KINDS[kind][0]
    on_input = RULES["linear"]((n, i), (h, i), out=(n, h))
    on_state = RULES["linear"]((n, h), (h, h), out=(n, h))
    assert cell(kind, n, i, h).macs == gates * (on_input + on_state).macs


@given(kinds, sizes, sizes, sizes)
def test_biases_are_two_additions_per_gate(kind: str, n: int, i: int, h: int) -> None:
    """Each gate adds a bias of the input and one of the state."""
    gates = KINDS[kind][0]
    assert cell(kind, n, i, h) == cell(kind, n, i, h, bias=False) + Cost(flops=2 * gates * n * h)


@given(sizes, sizes, sizes, st.integers(2, 5))
def test_projection_is_a_linear_layer(t: int, n: int, i: int, h: int) -> None:
    """proj_size shrinks the state and adds a linear layer from h to it per step."""
    p = h - 1
    weights = ((4 * h, i), (4 * h, p), (p, h))
    projected = RULES["lstm"]((t, n, i), ((1, n, p), (1, n, h)), weights, out=None)
    full = layer("lstm", (t, n, i), h, bias=False)
    saved = RULES["linear"]((t * n, h - p), (4 * h, h - p), out=(t * n, 4 * h))
    added = RULES["linear"]((t * n, h), (p, h), out=(t * n, p))
    assert projected + saved == full + added


@given(kinds, st.lists(sizes, min_size=1, max_size=4), sizes, sizes)
def test_packed_sequences_count_their_real_steps(kind: str, lengths: list[int], i: int, h: int) -> None:
    """A packed batch costs what its sequences cost one by one."""
    lengths = sorted(lengths, reverse=True)
    batch_sizes = tuple(sum(length > step for length in lengths) for step in range(lengths[0]))
    state = (1, len(lengths), h)
    hx = (state, state) if kind == "lstm" else state
    weights = tuple(params(kind, i, h, 1, 1, bias=True))
    x = (sum(lengths), i)
    packed = RULES[kind](x, (len(batch_sizes),), hx, weights, out=None)
    assert packed == sum((layer(kind, (length, 1, i), h) for length in lengths), Cost())


MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn_tanh": torch.nn.RNNCell}
FUNCTIONS = {"lstm": torch._VF.lstm, "gru": torch._VF.gru, "rnn_tanh": torch._VF.rnn_tanh}


def call(kind: str, bidirectional: bool, layers: int, bias: bool, proj: int = 0) -> tuple[Any, tuple[Any, ...]]:
    """A call of torch.lstm, torch.gru or torch.rnn_tanh as the module makes it, on x (5, 3, 7)."""
    options = {"proj_size": proj} if proj else {}
    module = MODULES[kind](7, 4, layers, bias=bias, bidirectional=bidirectional, device="meta", **options)
    count = layers * (2 if bidirectional else 1)
    state: Any = meta(count, 3, 4)
    hx = (meta(count, 3, proj or 4), state) if kind == "lstm" else state
    return FUNCTIONS[kind], (meta(5, 3, 7), hx, module._flat_weights, bias, layers, 0.0, False, bidirectional, False)


@with_torch
@given(kinds, st.booleans(), st.integers(1, 2), st.booleans())
def test_layers_agree_with_torch(kind: str, bidirectional: bool, layers: int, bias: bool) -> None:
    """Stacks in one or two directions have the MACs that torch counts, and the FLOPs of the ops they are made of."""
    target, args = call(kind, bidirectional, layers, bias)
    found = cost(target, *args)
    assert found.macs == torch_macs(target, *args)
    assert found == decomposed(target, *args)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_projections_agree_with_torch(bidirectional: bool) -> None:
    """An LSTM with projections has the MACs that torch counts."""
    target, args = call("lstm", bidirectional, 2, True, proj=2)
    assert cost(target, *args).macs == torch_macs(target, *args)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("bias", [False, True])
def test_cells_agree_with_torch(kind: str, bias: bool) -> None:
    """A cell costs what the ops that torch makes it of cost."""
    module = CELLS[kind](7, 4, bias=bias, device="meta")
    hx = (meta(3, 4), meta(3, 4)) if kind == "lstm" else meta(3, 4)
    weights = [w for w in (module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh) if w is not None]
    target = getattr(torch._VF, KINDS[kind][1])
    assert cost(target, meta(3, 7), hx, *weights) == decomposed(target, meta(3, 7), hx, *weights)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_packed_overloads_are_told_apart(kind: str) -> None:
    """A packed call of torch.lstm, torch.gru or torch.rnn_tanh is counted by its tokens."""
    packed = pack_padded_sequence(torch.zeros(5, 3, 7), torch.tensor([5, 3, 2]))
    target, _ = call(kind, False, 1, True)
    module = MODULES[kind](7, 4)
    state = torch.zeros(1, 3, 4)
    hx: Any = (state, state) if kind == "lstm" else state
    args = packed.data, packed.batch_sizes, hx, module._flat_weights, True, 1, 0.0, False, False
    # 5 + 3 + 2 = 10 steps of a batch of one
    assert cost(target, *args) == cell(kind, 1, 7, 4) * 10
