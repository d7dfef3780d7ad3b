"""Recurrent layers: torch's own meta kernel of an LSTM goes through every step of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fxprof.tracing.shapes.strides import empty


def _lstm(
    input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> Any:  # fmt: skip
    """x (t, b, i), h (layers, b, p), c (layers, b, h) -> (t, b, directions x p), h, c; batch first where asked."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        return NotImplemented
    return _recurrent(input, tuple(hx), params, num_layers, bidirectional, batch_first)


def _gru(
    input: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> Any:  # fmt: skip
    """x (t, b, i), h (layers, b, h) -> (t, b, directions x h), h; batch first where asked."""
    return _recurrent(input, (hx,), params, num_layers, bidirectional, batch_first)


def _recurrent(
    input: Any, states: Sequence[Any], params: Any, num_layers: int, bidirectional: bool, batch_first: bool
) -> Any:
    if not all(isinstance(x, Tensor) and x.dim() == 3 for x in (input, *states)) or not isinstance(
        params, (tuple, list)
    ):
        return NotImplemented  # a packed sequence has its batch sizes where the state is here
    directions = 2 if bidirectional else 1
    batch = input.shape[0 if batch_first else 1]
    fits = params and input.shape[-1] == params[0].shape[-1] and 0 not in input.shape
    if not fits or any(x.shape[:2] != (num_layers * directions, batch) or x.dtype is not input.dtype for x in states):
        return NotImplemented
    width = directions * states[0].shape[-1]
    time = input.shape[1 if batch_first else 0]
    out = empty((time, batch, width), input.dtype)
    return (out.transpose(0, 1) if batch_first else out, *(empty(x.shape, x.dtype) for x in states))


SHAPES: dict[Any, Callable[..., Any]] = {
    torch.lstm: _lstm,
    torch.gru: _gru,
    torch.rnn_tanh: _gru,
    torch.rnn_relu: _gru,
}
