"""Recurrent layers and cells: gate products over every step, layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules.registry import contraction, is_shape, rule

# Arithmetic per hidden element and step, after the gate products and their biases:
# the sum of the two products per gate and its activation, then the state update.
LSTM = 4 + 4 + 5  # c = f * c + i * g; h = o * tanh(c)
GRU = 2 + 2 + 3 + 3  # n = tanh(x + r * h); h = (h - n) * z + n
RNN = 1 + 1


def gates(tokens: int, params: Sequence[Shape], hidden: int, update: int) -> Cost:
    """Every matrix of ``params`` multiplies every token once, every vector is added to every token once."""
    macs = tokens * sum(prod(p) for p in params if len(p) == 2)
    biases = tokens * sum(prod(p) for p in params if len(p) == 1)
    return contraction(macs, biases + tokens * hidden * update)


def packed(second: Any, third: Any, fourth: Any) -> tuple[Any, Sequence[Shape]]:
    """The initial state and the parameters of either overload.

    torch.lstm takes (input, hx, params, ...) or, for a packed sequence, (data, batch_sizes, hx,
    params, ...): only there is the fourth argument a list.
    """
    return (third, fourth) if isinstance(fourth, (tuple, list)) else (second, third)


@rule("lstm")
def lstm(x: Shape, second: Any, third: Any, fourth: Any = None, *, out: Any) -> Cost:
    """x (t, n, i), hx ((l, n, p), (l, n, h)), params per layer and direction -> out (t, n, d * p).

    l counts layers times directions d. Each token meets every weight matrix once, (4h, i), (4h, p)
    and, with projections, (p, h), and every bias; the gates then take 13 per hidden element: 4
    sums, 4 activations, 5 for the cell and the output. Packed sequences have x (tokens, i).
    """
    (_, cell), params = packed(second, third, fourth)
    return gates(prod(x[:-1]), params, cell[0] * cell[-1], LSTM)


@rule("gru")
def gru(x: Shape, second: Any, third: Any, fourth: Any = None, *, out: Any) -> Cost:
    """x (t, n, i), hx (l, n, h), params per layer and direction -> out (t, n, d * h).

    Each token meets every weight matrix once, (3h, i) and (3h, h), and every bias; the gates take
    10 per hidden element: 2 sums, 2 sigmoids, 3 for the candidate, 3 for the new state.
    """
    state, params = packed(second, third, fourth)
    return gates(prod(x[:-1]), params, state[0] * state[-1], GRU)


@rule("rnn_tanh", "rnn_relu")
def rnn(x: Shape, second: Any, third: Any, fourth: Any = None, *, out: Any) -> Cost:
    """x (t, n, i), hx (l, n, h), params per layer and direction -> out (t, n, d * h).

    Each token meets every weight matrix once, (h, i) and (h, h), and every bias; the sum of the two
    products and its activation are 2 per hidden element.
    """
    state, params = packed(second, third, fourth)
    return gates(prod(x[:-1]), params, state[0] * state[-1], RNN)


@rule("lstm_cell", "quantized_lstm_cell")
def lstm_cell(x: Shape, hx: Any, w_ih: Shape, w_hh: Shape, b_ih: Any = None, b_hh: Any = None, *, out: Any) -> Cost:
    """x (n, i), hx ((n, h), (n, h)), w_ih (4h, i), w_hh (4h, h) -> out ((n, h), (n, h)).

    One step of ``lstm``.
    """
    return gates(prod(x[:-1]), _given(w_ih, w_hh, b_ih, b_hh), hx[1][-1], LSTM)


@rule("gru_cell", "quantized_gru_cell")
def gru_cell(x: Shape, hx: Shape, w_ih: Shape, w_hh: Shape, b_ih: Any = None, b_hh: Any = None, *, out: Any) -> Cost:
    """x (n, i), hx (n, h), w_ih (3h, i), w_hh (3h, h) -> out (n, h).

    One step of ``gru``.
    """
    return gates(prod(x[:-1]), _given(w_ih, w_hh, b_ih, b_hh), hx[-1], GRU)


@rule("rnn_tanh_cell", "rnn_relu_cell", "quantized_rnn_tanh_cell", "quantized_rnn_relu_cell")
def rnn_cell(x: Shape, hx: Shape, w_ih: Shape, w_hh: Shape, b_ih: Any = None, b_hh: Any = None, *, out: Any) -> Cost:
    """x (n, i), hx (n, h), w_ih (h, i), w_hh (h, h) -> out (n, h).

    One step of ``rnn_tanh``.
    """
    return gates(prod(x[:-1]), _given(w_ih, w_hh, b_ih, b_hh), hx[-1], RNN)


def _given(*params: Any) -> list[Shape]:
    return [p for p in params if p is not None and is_shape(p)]


@rule("mkldnn_rnn_layer")
def mkldnn_rnn_layer(
    x: Shape, w_ih: Shape, w_hh: Shape, b_ih: Shape, b_hh: Shape, hx: Shape, cx: Shape, *, mode: int, out: Any
) -> Cost:
    """x (t, n, i), w_ih (g * h, i), w_hh (g * h, h), hx (1, n, h) -> out (t, n, h).

    One layer and direction; ``mode`` is 0 relu, 1 tanh, 2 LSTM, 3 GRU.
    """
    return gates(prod(x[:-1]), _given(w_ih, w_hh, b_ih, b_hh), hx[-1], (RNN, RNN, LSTM, GRU)[mode])
