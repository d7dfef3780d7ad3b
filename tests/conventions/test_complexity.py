"""compute_model_complexity: Torchreid's printout and figures, without running the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import googlenet, resnet34, resnet50, vgg19

from fxprof.complexity import compute_model_complexity
from fxprof.errors import InputError

SHAPE = (1, 3, 224, 224)
# As the tool prints it for 2 classes.
RESNET50 = """\
  -------------------------------------------------------
  Model complexity with input size (1, 3, 224, 224)
  -------------------------------------------------------
  Conv2d (params=23,454,912, flops=4,087,136,256)
  BatchNorm2d (params=53,120, flops=44,455,936)
  ReLU (params=0, flops=9,608,704)
  MaxPool2d (params=0, flops=1,605,632)
  AdaptiveAvgPool2d (params=0, flops=100,352)
  Linear (params=4,098, flops=4,098)
  -------------------------------------------------------
  Total (params=23,512,130, flops=4,142,910,978)
  -------------------------------------------------------
"""


def test_the_notes_printout(capsys: pytest.CaptureFixture[str]) -> None:
    """Frame, order, figures and the returned tuple, FLOPs first."""
    with torch.device("meta"):
        model = resnet50(num_classes=2)

    flops, params = compute_model_complexity(model, SHAPE, verbose=True)

    assert capsys.readouterr().out == RESNET50
    assert (flops, params) == (4_142_910_978, 23_512_130)
    assert (f"{flops / 1e9:.2f}", f"{params / 1e6:.2f}") == ("4.14", "23.51")


@pytest.mark.parametrize(("make", "flops"), [(vgg19, 19_646_923_752), (resnet34, 3_663_762_408)])
def test_published_by_torchreid(make: type[nn.Module], flops: int) -> None:
    """The figures of its thread #179, of convolutions and linear layers."""
    with torch.device("meta"):
        assert compute_model_complexity(make(), SHAPE, only_conv_linear=True)[0] == flops


def test_quiet_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Without verbose nothing is printed."""
    compute_model_complexity(nn.Linear(3, 4), (1, 3))
    assert capsys.readouterr().out == ""


def test_counted_in_eval_mode_and_left_as_it_was() -> None:
    """The auxiliary heads of training are not counted; a frozen part stays frozen."""
    with torch.device("meta"):
        model = googlenet(weights=None, init_weights=False)
    model.train()
    model.conv1.eval()

    trained = compute_model_complexity(model, SHAPE)

    assert (model.training, model.conv1.training, model.conv2.training) == (True, False, True)
    assert trained == compute_model_complexity(model.eval(), SHAPE)


@pytest.mark.parametrize(
    ("model", "shape", "counts"),
    [
        # 2 x 8 x 8 x 8 outputs of 3 x 3 x 3 products and a bias
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 8, 8), (1024 * 28, 224)),
        # the groups divide the bias too: (9 x 8 + 1) x 1,024 / 8
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 8, 8), (9344, 80)),
        (nn.LeakyReLU(), (2, 5), (30, 0)),
        (nn.AdaptiveAvgPool2d((3, 2)), (1, 4, 7, 5), (3 * 3 * 24, 0)),
        (nn.AvgPool1d(3), (1, 4, 9), (3 * 12, 0)),
        (nn.LayerNorm(6, elementwise_affine=False), (2, 6), (24, 0)),
        (nn.GELU(), (2, 6), (0, 0)),
    ],
)  # fmt: skip
def test_by_hand(model: nn.Module, shape: tuple[int, ...], counts: tuple[int, int]) -> None:
    """One layer, its FLOPs and parameters."""
    assert compute_model_complexity(nn.Sequential(model), shape) == counts


@pytest.mark.parametrize("size", [torch.zeros(1, 3), 3, "1,3", [(1, 3)]])
def test_what_is_no_shape(size: Any) -> None:
    """An input in place of its shape is told as such."""
    with pytest.raises(InputError, match=r"input_size must be the shape of the model's one input, such as \(1, 3, 224"):
        compute_model_complexity(nn.Linear(3, 4), size)
