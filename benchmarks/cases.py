"""Small models on which tools disagree, one reason each."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.case_nets import (
    Case,
    Function,
    MyLinear,
    attention,
    by_hand,
    called_twice,
    cells,
    columns,
    frozen_half,
    fused,
    gru_cells,
    masked,
    methods,
    projections,
    shortcut,
    two_parents,
    wide_values,
    with_heads,
    with_mask,
)

# Name -> how to make the model, and the shape of its one input.
CASES: dict[str, Case] = {
    "conv": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), (2, 3, 8, 8)),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8)), (2, 8, 8, 8)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 8, 3, stride=2)), (2, 4, 5, 5)),
    "transposed groups": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2)), (1, 4, 5, 5)),
    "same padding": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding="same")), (2, 3, 8, 8)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(4, 8, 3, padding=1)), (2, 4, 20)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4)), (2, 3, 6, 6, 6)),
    "linear": (lambda: nn.Sequential(nn.Linear(16, 32)), (2, 10, 16)),
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)), (4, 8)),
    "small cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 10),
        ),
        (2, 3, 8, 8),
    ),
    "norms": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 1),
            nn.GroupNorm(2, 8),
            nn.InstanceNorm2d(8, affine=True),
            nn.InstanceNorm2d(8),
            nn.BatchNorm2d(8, affine=False),
            nn.LayerNorm(6),
            nn.LayerNorm(6, elementwise_affine=False),
        ),
        (2, 4, 6, 6),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 1),
            nn.ReLU6(),
            nn.LeakyReLU(),
            nn.PReLU(),
            nn.GELU(),
            nn.SiLU(),
            nn.Hardswish(),
            nn.Softmax(1),
            nn.ELU(),
            nn.Sigmoid(),
            nn.Dropout(),
        ),
        (2, 4, 6, 6),
    ),
    "pools": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 1),
            nn.MaxPool2d(2, 1),
            nn.AvgPool2d((2, 3), 1),
            nn.AdaptiveMaxPool2d(5),
            nn.AdaptiveAvgPool2d((3, 2)),
        ),
        (2, 4, 9, 9),
    ),
    "upsample": (lambda: nn.Sequential(nn.Conv2d(4, 8, 1), nn.Upsample(scale_factor=2)), (2, 4, 5, 5)),
    "interpolate": (
        lambda: Function(lambda self, x: F.interpolate(self.a(x), size=(8, 8), mode="bilinear"), a=nn.Conv2d(4, 8, 1)),
        (2, 4, 5, 5),
    ),
    "functional": (
        lambda: Function(
            lambda self, x: F.relu(F.linear(x, self.w, self.b)),
            w=nn.Parameter(torch.ones(8, 10)),
            b=nn.Parameter(torch.ones(8)),
        ),
        (3, 10),
    ),
    "kept function": (
        lambda: Function(
            lambda self, x: F.relu(self.last(self.act(self.a(x)))),
            a=nn.Linear(8, 8),
            act=F.gelu,
            last=partial(F.silu, inplace=True),
        ),
        (3, 8),
    ),
    "own parameter": (
        lambda: Function(
            lambda self, x: self.a(x + self.p), p=nn.Parameter(torch.ones(1, 10, 16)), a=nn.Linear(16, 16)
        ),
        (1, 10, 16),
    ),
    "subclass": (lambda: nn.Sequential(MyLinear(10, 10, bias=False)), (3, 10)),
    "two parents": (two_parents, (3, 10)),
    "called twice": (called_twice, (3, 10)),
    "frozen half": (frozen_half, (3, 10)),
    "unused": (
        lambda: Function(lambda self, x: self.a(x), a=nn.Linear(10, 10, bias=False), b=nn.Linear(100, 100)),
        (3, 10),
    ),
    "attention": (
        lambda: Function(attention, a=nn.MultiheadAttention(16, 4, batch_first=True), need_weights=False),
        (2, 10, 16),
    ),
    "attention with weights": (
        lambda: Function(attention, a=nn.MultiheadAttention(16, 4, batch_first=True), need_weights=True),
        (2, 10, 16),
    ),
    "attention of one image": (
        lambda: Function(attention, a=nn.MultiheadAttention(16, 4, batch_first=True), need_weights=False),
        (1, 10, 16),
    ),
    "attention with a mask": (
        lambda: Function(
            masked,
            a=nn.MultiheadAttention(16, 4, kdim=8, vdim=32, batch_first=True),
            k=nn.Linear(16, 8),
            v=nn.Linear(16, 32),
        ),
        (2, 10, 16),
    ),
    "cross attention": (
        lambda: Function(
            lambda self, x: self.a(x[:, :3], x, x)[0] + self.b(x[:, :3], x, x, need_weights=False)[0],
            a=nn.MultiheadAttention(16, 4, batch_first=True),
            b=nn.MultiheadAttention(16, 4, batch_first=True),
        ),
        (2, 10, 16),
    ),
    "cross attention of one image": (
        lambda: Function(
            lambda self, x: self.a(x[:3], x, x)[0] + self.b(x[:3], x, x)[0],
            a=nn.MultiheadAttention(16, 4),
            b=nn.MultiheadAttention(16, 4, bias=False),
        ),
        (10, 1, 16),
    ),
    "vector": (
        lambda: Function(lambda self, x: self.a(x) @ self.w, a=nn.Linear(8, 8), w=nn.Parameter(torch.ones(8))),
        (3, 8),
    ),
    "bilinear": (lambda: Function(lambda self, x: self.a(x, x), a=nn.Bilinear(4, 4, 6)), (3, 4)),
    "encoder layer": (lambda: nn.Sequential(nn.TransformerEncoderLayer(16, 4, 64, batch_first=True)), (2, 10, 16)),
    "attention by hand": (lambda: Function(by_hand, **projections()), (2, 10, 16)),
    "fused attention": (lambda: Function(fused, **projections()), (2, 10, 16)),
    "attention with a learned bias": with_mask(lambda self, x: self.bias[None]),
    "attention with a bias of its weights": with_mask(lambda self, x: x @ x.transpose(-2, -1)),
    "attention with a fixed bias": with_mask(lambda self, x: self.fixed),
    "attention with a mask of its weights": with_mask(lambda self, x: x @ x.transpose(-2, -1) > 0),
    "attention with a bias cut off": with_mask(lambda self, x: (x @ x.transpose(-2, -1)).detach()),
    "attention with a mask of 3 dimensions": with_mask(lambda self, x: self.fixed.expand(4, 10, 10)),
    "attention of columns": with_heads(columns),
    "attention to wide values": with_heads(wide_values),
    "attention without heads": with_heads(lambda x: (x, x, x)),
    "attention without heads, with a mask": (
        lambda: Function(
            lambda self, x: F.scaled_dot_product_attention(x, x, self.a(x), x.new_zeros(2, 12, 12)), a=nn.Linear(16, 16)
        ),
        (2, 12, 16),
    ),
    "attention in windows": with_heads(lambda x: (x.unflatten(1, (3, 4)).unflatten(-1, (4, 4)).transpose(2, 3),) * 3),
    "attention with dropout": with_heads(lambda x: (x.unflatten(-1, (4, 4)).transpose(1, 2),) * 3, dropout_p=0.1),
    "broadcast": (
        lambda: Function(lambda self, x: torch.matmul(self.w, x), w=nn.Parameter(torch.ones(5, 6))),
        (2, 6, 7),
    ),
    "einsum": (
        lambda: Function(lambda self, x: torch.einsum("bid,bjd->bij", self.a(x), x), a=nn.Linear(16, 16)),
        (2, 10, 16),
    ),
    "methods": (lambda: Function(methods, a=nn.Linear(16, 16)), (2, 10, 16)),
    "spellings": (lambda: Function(shortcut, a=nn.Linear(16, 16)), (2, 10, 16)),
    "lstm": (lambda: Function(lambda self, x: self.a(x)[0], a=nn.LSTM(8, 16, batch_first=True)), (2, 10, 8)),
    "lstm of two": (
        lambda: Function(lambda self, x: self.a(x)[0], a=nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)),
        (2, 10, 8),
    ),
    "gru": (lambda: Function(lambda self, x: self.a(x)[0], a=nn.GRU(8, 16, batch_first=True)), (2, 10, 8)),
    "rnn": (lambda: Function(lambda self, x: self.a(x)[0], a=nn.RNN(8, 16, bias=False)), (10, 2, 8)),
    "gru cell": (lambda: Function(gru_cells, a=nn.GRUCell(8, 16), b=nn.RNNCell(16, 16)), (2, 8)),
    "cells": (lambda: Function(cells, c=nn.LSTMCell(8, 16)), (2, 10, 8)),
}
