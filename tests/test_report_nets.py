"""Small nets counted by hand: each number is the arithmetic in the comment above it."""

from __future__ import annotations

import pytest
from torch import nn

import fxprof
from fxprof.errors import InputError


def test_three_layer_perceptron() -> None:
    """A linear layer is in x out MACs and as many FLOPs twice, plus one per bias."""
    report = fxprof.analyze(nn.Sequential(nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)), (1, 784))
    # 784 x 300 + 300 x 100 + 100 x 10 = 235,200 + 30,000 + 1,000
    assert report.macs == 266_200
    # 2 x 266,200 + 300 + 100 + 10 biases
    assert report.flops == 532_810
    assert report.params == 266_200 + 410
    assert report.activations == 410
    assert report.exact


def test_perceptron_with_activations_and_batch_norm() -> None:
    """Norms and activations add parameters and FLOPs, never MACs."""
    layers = [nn.Linear(784, 300), nn.BatchNorm1d(300), nn.ReLU(True), nn.Linear(300, 10)]
    report = fxprof.analyze(nn.Sequential(*layers).eval(), (64, 784))
    # 64 x (784 x 300 + 300 x 10)
    assert report.macs == 64 * 238_200
    # weights, biases, and a scale and a shift per feature
    assert report.params == 238_200 + 310 + 600
    # running mean and variance, and the number of batches
    assert report.buffers == 601
    assert report.by_op()["relu"].flops == 64 * 300
    assert report.by_op()["batch_norm"].macs == 0


def test_small_cnn() -> None:
    """Two convolutions of 25 and 50 channels and three linear layers, on a 28 x 28 digit."""
    sizes = ((1, 25), (25, 50))
    conv = [nn.Sequential(nn.Conv2d(i, o, 3), nn.BatchNorm2d(o), nn.ReLU(True), nn.MaxPool2d(2)) for i, o in sizes]
    head = nn.Sequential(nn.Linear(1250, 1024), nn.ReLU(True), nn.Linear(1024, 128), nn.ReLU(True), nn.Linear(128, 10))
    report = fxprof.analyze(nn.Sequential(*conv, nn.Flatten(), head).eval(), (1, 1, 28, 28))
    by_module = report.by_module()
    # 25 x 26 x 26 outputs of 1 x 3 x 3 products
    assert by_module["0"].macs == 152_100
    # 50 x 11 x 11 outputs of 25 x 3 x 3 products
    assert by_module["1"].macs == 1_361_250
    # 1250 x 1024 + 1024 x 128 + 128 x 10
    assert by_module["3"].macs == 1_412_352
    assert report.macs == 2_925_702
    # convolutions 250 + 11,300, their norms 50 + 100, linear layers 1,281,024 + 131,200 + 1,290
    assert report.params == 1_425_214
    assert "2,925,702" in str(report)


def test_a_name_is_a_text() -> None:
    """A report's name is read back from a file, which takes a text."""
    with pytest.raises(InputError, match="name must be a text, got 3"):
        fxprof.analyze(nn.Linear(2, 2), (1, 2), name=3)  # type: ignore[arg-type]
