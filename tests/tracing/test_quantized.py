"""Quantized modules cost what their floating originals do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxprof
from tests.tracing.made import module

quantization: Any = pytest.importorskip("torch.ao.quantization")
ENGINES = [name for name in ("fbgemm", "x86", "qnnpack") if name in torch.backends.quantized.supported_engines]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not ENGINES, reason="this torch cannot quantize"),
]


class Recurrent(nn.Module):
    """Linear layers around two layers of LSTM and of GRU in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.lstm = nn.LSTM(16, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 6, batch_first=True)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gru(self.lstm(self.first(x).relu())[0])[0])


class Convolutional(nn.Module):
    """Strided, grouped, dilated and transposed convolutions, a residual, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.stem, self.relu = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()
        self.deep = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.line = nn.Conv1d(8, 6, 3, stride=2)
        self.sum = torch.ao.nn.quantized.FloatFunctional()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(self.quant(x)))
        x = self.sum.add(x, self.deep(x))
        return self.dequant(self.head(self.line(x.flatten(2)).mean(2)))


def static(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Fused, observed on random data, and converted."""
    torch.backends.quantized.engine = ENGINES[0]
    model.qconfig = quantization.get_default_qconfig(ENGINES[0])
    prepared = quantization.prepare(quantization.fuse_modules(model, [["stem", "relu"]]))
    prepared(torch.randn(shape))
    return quantization.convert(prepared)


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize("kinds", [{nn.Linear}, {nn.Linear, nn.LSTM, nn.GRU}])
def test_dynamic_quantization_keeps_the_cost(kinds: set[type], dtype: torch.dtype) -> None:
    """Packed linear and recurrent layers, biases included."""
    if dtype is torch.float16 and ENGINES[0] == "qnnpack":
        pytest.skip("this engine has no half precision")
    plain = Recurrent().eval()
    torch.backends.quantized.engine = ENGINES[0]

    expected = fxprof.analyze(plain, (2, 7, 8))
    report = fxprof.analyze(quantization.quantize_dynamic(plain, kinds, dtype=dtype), (2, 7, 8))

    assert (report.macs, report.exact) == (expected.macs, True)
    assert report.flops == expected.flops


def test_static_quantization_keeps_the_macs() -> None:
    """Weights and biases are read out of the packed parameters; the sizes in bytes are declared."""
    plain, shape = Convolutional().eval(), (2, 3, 12, 12)
    expected = fxprof.analyze(copy.deepcopy(plain), shape)

    report = fxprof.analyze(static(plain, shape), shape)

    assert report.macs == expected.macs > 0
    assert not report.uncounted
    assert {bound.what for bound in report.bounds} == {"the size of quantized results"}
    names = {"quantized::conv2d_relu", "quantized::conv2d", "quantized::conv1d", "quantized::add", "quantized::linear"}
    assert names <= set(report.by_op())
    assert report.ops[-1].outputs[0].shape == (2, 4)


def test_fake_quantization_keeps_its_shape() -> None:
    """It has no kernel for meta tensors, and needs no look at data: nothing is assumed."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)
        scale, zero = torch.ones(4), torch.zeros(4, dtype=torch.int32)
        return x @ torch.fake_quantize_per_channel_affine(self.w, scale, zero, 0, -128, 127).t()

    report = fxprof.analyze(module(forward, w=nn.Parameter(torch.ones(4, 8))), (2, 8))

    assert (report.macs, report.exact) == (2 * 8 * 4, True)
