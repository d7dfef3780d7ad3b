"""The scaling check: each module's cost grows with the power that its arithmetic says."""

from __future__ import annotations

import json
from math import log2
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxprof
from fxprof import TensorSpec
from fxprof.cli import main
from fxprof.views.scaling import to_json
from tests.tracing.made import module


class Net(nn.Module):
    """A convolution, pooling, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def test_convolutions_grow_with_the_area_and_everything_with_the_batch() -> None:
    """Heads behind the pooling do not grow with the image."""
    found = fxprof.scaling(Net(), (2, 3, 16, 16))

    assert {d.dimension for d in found.doublings} == {"batch", "size"}
    for path in ("", "conv", "head"):
        assert found.order("batch", "macs", path) == pytest.approx(1)
    assert found.order("size", "macs", "conv") == pytest.approx(2)
    assert found.order("size", "macs", "head") == pytest.approx(0)
    assert found.order("size", "activations", "conv") == pytest.approx(2)
    assert found.odd == ()


def test_images_that_are_no_squares_grow_by_their_area() -> None:
    """16 x 64 becomes 128 x 128: 16 times the pixels, 4 times the side."""
    found = fxprof.scaling(Net(), (2, 3, 16, 64), dimensions=["size"])

    assert [d.dimension for d in found.doublings] == ["size"]
    assert found.order("size", "macs", "conv") == pytest.approx(2)


def test_attention_grows_with_the_square_of_the_length() -> None:
    """Projections once, scores and their mixing twice, and both together in between."""
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    call = module(lambda self, x: self.attention(x, x, x)[0], attention=model)
    found = fxprof.scaling(call, TensorSpec((2, 64, 8)))

    # per item 4 projections of 64 * 8 * 8, and 2 * 64 * 64 * 8; then with 128 in place of 64
    before, after = 4 * 64 * 64 + 2 * 64 * 64 * 8, 4 * 128 * 64 + 2 * 128 * 128 * 8
    assert found.order("seq", "macs") == pytest.approx(log2(after / before))
    assert found.order("batch", "macs") == pytest.approx(1)


def test_ids_have_a_length() -> None:
    """By keyword, with values, which are repeated."""
    model = module(lambda self, ids: self.fc(self.emb(ids)), emb=nn.Embedding(10, 4), fc=nn.Linear(4, 4))
    found = fxprof.scaling(model, kwargs={"ids": torch.ones(1, 8, dtype=torch.int64)})

    assert found.order("seq", "macs", "fc") == pytest.approx(1)


def test_what_the_model_does_not_take_is_said() -> None:
    """The other dimensions are observed nevertheless."""

    def forward(self: Any, x: Tensor) -> Tensor:
        assert x.shape[-1] == 16, "made for 16 pixels"
        return self.conv(x)

    found = fxprof.scaling(module(forward, conv=nn.Conv2d(3, 4, 3)), (2, 3, 16, 16))

    assert [bool(doubling.error) for doubling in found.doublings] == [False, True]
    assert "Not counted at size from 16 to 32: " in str(found)
    assert "made for 16 pixels" in str(found)
    assert found.order("size", "macs") is None


def between_items(self: Any, x: Tensor) -> Tensor:
    """Every item of the batch meets every other."""
    return self.inner(x) @ x.t()


def test_items_that_meet_each_other_are_odd() -> None:
    """A contrastive head is not in proportion to the batch: the innermost module is named."""
    head = module(between_items, inner=nn.Linear(8, 8))
    found = fxprof.scaling(module(lambda self, x: self.head(x), head=head), (4, 8))

    assert found.odd == ("head",)
    assert "Not in proportion to the batch: the MACs of head." in str(found)


def test_what_appears_with_the_size_is_no_number() -> None:
    """JSON has none for it, the table a word."""
    model = module(lambda self, x: self.fc(x) if len(x) > 3 else x, fc=nn.Linear(8, 8))
    found = fxprof.scaling(model, (2, 8))

    assert "appears" in str(found)
    data = json.loads(to_json(found))
    (modules,) = [doubling["modules"] for doubling in data["doublings"]]
    assert {entry["path"]: entry["orders"]["macs"] for entry in modules} == {"": None, "fc": None}


def test_dimensions_that_are_not_there_are_refused() -> None:
    """With those that are."""
    with pytest.raises(fxprof.InputError, match=r"that the inputs have \(batch, size\), got 'seq'"):
        fxprof.scaling(Net(), (2, 3, 16, 16), dimensions=["seq"])


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A table, or JSON; exit 1 where something is odd; no budgets beside it."""
    assert main(["check", "tests.test_scaling:Net", "--input", "1,3,8,8", "--scaling"]) == 0
    assert "MACs ~ size^" in capsys.readouterr().out
    assert main(["check", "tests.test_scaling:odd", "--input", "4,8", "--scaling", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["odd"] == [""]
    assert main(["check", "tests.test_scaling:Net", "--scaling", "--max-macs", "5G"]) == 2
    assert "--scaling is a check of its own" in capsys.readouterr().err


def odd() -> nn.Module:
    """For the command line."""
    return module(between_items, inner=nn.Linear(8, 8))
