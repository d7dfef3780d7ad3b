"""Numbers worked out by hand, that other counters are known to get wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.rules.oracle import decomposed

GOLDEN: list[tuple[str, Any, tuple[tuple[int, ...], ...], int]] = [
    # 2 * 8 * 8 * 8 outputs of 3 * 3 * 3
    ("conv", nn.Conv2d(3, 8, 3, padding=1, device="meta"), ((2, 3, 8, 8),), 27_648),
    # 2 * 8 * 8 * 8 outputs of 3 * 3
    ("depthwise", nn.Conv2d(8, 8, 3, padding=1, groups=8, device="meta"), ((2, 8, 8, 8),), 9_216),
    # 5 * 5 positions of 4 * 8 * 3 * 3
    ("transposed", nn.ConvTranspose2d(4, 8, 3, stride=2, device="meta"), ((1, 4, 5, 5),), 7_200),
    ("transposed, 2 groups", nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2, device="meta"), ((1, 4, 5, 5),), 3_600),
    ("linear", nn.Linear(16, 32, device="meta"), ((2, 10, 16),), 10_240),
    # 20 tokens * 4 gates * 16 * (8 + 16)
    ("lstm", nn.LSTM(8, 16, batch_first=True, device="meta"), ((2, 10, 8),), 30_720),
    # 20 * 2 directions * 4 * 16 * ((8 + 16) + (32 + 16))
    ("deep lstm", nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True, device="meta"), ((2, 10, 8),), 184_320),
    ("gru", nn.GRU(8, 16, batch_first=True, device="meta"), ((2, 10, 8),), 23_040),
    # 4 * (2 * 10 * 16 * 16) + 2 * (2 * 4 * 10 * 10 * 4)
    ("attention", nn.MultiheadAttention(16, 4, batch_first=True, device="meta"), ((2, 10, 16),) * 3, 26_880),
    # q 10*16*16, k 10*16*8, v 10*16*32, out 10*16*16, heads 2*10*10*16
    (
        "wide attention",
        nn.MultiheadAttention(16, 4, kdim=8, vdim=32, batch_first=True, device="meta"),
        ((1, 10, 16), (1, 10, 8), (1, 10, 32)),
        14_720,
    ),
    # attention 26_880 and 2 * (20 * 16 * 64)
    ("encoder", nn.TransformerEncoderLayer(16, 4, 64, batch_first=True, device="meta"), ((2, 10, 16),), 67_840),
]


@pytest.mark.parametrize(("module", "inputs", "macs"), [case[1:] for case in GOLDEN], ids=[case[0] for case in GOLDEN])
def test_golden_macs(module: nn.Module, inputs: tuple[tuple[int, ...], ...], macs: int) -> None:
    """Layers have the MACs worked out by hand, through the aten ops that they run."""
    args = [torch.empty(shape, device="meta") for shape in inputs]
    assert decomposed(module.train(), *args).macs == macs
