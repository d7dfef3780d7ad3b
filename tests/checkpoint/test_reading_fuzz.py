"""Mutations of good checkpoints of every format: our error, or well-formed tensors; never anything else."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxprof.checkpoint.reading import read
from fxprof.errors import FxprofError
from tests.checkpoint import files

VALUES = {"w": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor([1, 2], dtype=torch.int16), "s": torch.tensor(2.5)}
WRITE: dict[str, Callable[..., Path]] = {
    "zip": files.write_zip,
    "legacy": files.write_legacy,
    "safetensors": files.write_safetensors,
}
NESTED = {"epoch": 2, "state_dict": VALUES, "note": "text"}


def everything(path: Path) -> dict[str, torch.Tensor]:
    """All that a checkpoint gives when asked for all."""
    with read(path) as checkpoint:
        checkpoint.verify()
        assert str(checkpoint)
        _ = dict(checkpoint.extras)
        return {name: checkpoint.tensor(name) for name in checkpoint.specs}


def mutate(data: bytes, draw: Any) -> bytes:
    """Change a few bytes, cut a stretch out, repeat one, or cut the end off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        # A share of the length: two runs of one example may differ in it by a byte.
        at = draw(st.integers(0, 9_999)) * len(changed) // 10_000
        match draw(st.sampled_from(["set", "flip", "drop", "repeat", "cut", "extreme"])):
            case "set":
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "flip":
                changed[at : at + 1] = bytes(byte ^ (1 << draw(st.integers(0, 7))) for byte in changed[at : at + 1])
            case "drop":
                del changed[at : at + draw(st.integers(1, 40))]
            case "repeat":
                changed[at:at] = changed[at : at + draw(st.integers(1, 40))]
            case "extreme":
                changed[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"]))
            case _:
                del changed[at:]
    return bytes(changed)


@pytest.mark.parametrize("form", WRITE)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_files_end_in_our_errors(form: str, tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A mutated file is refused with our error, or gives well-formed tensors; a zip's are the right ones."""
    folder = tmp_path_factory.mktemp("mutated", numbered=True)
    path = WRITE[form](VALUES if form == "safetensors" else NESTED, folder)
    whole = path.read_bytes()
    path.write_bytes(mutate(whole, data.draw))
    try:
        got = everything(path)
    except FxprofError as err:
        assert "\n" not in str(err) and re.match(r".+ .+ .+", str(err))
        return
    assert got
    for tensor in got.values():
        assert tensor.clone().shape == tensor.shape
    if form == "zip":  # it has checksums
        assert set(got) == set(VALUES) and all(torch.equal(got[name], VALUES[name]) for name in VALUES)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_folders_end_in_our_errors(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """The same for the index of shards and for the metadata of a distributed folder."""
    folder = tmp_path_factory.mktemp("mutated", numbered=True)
    index_path = files.write_shards(VALUES, folder)
    distributed = files.write_distributed(VALUES, folder)
    target, source = data.draw(
        st.sampled_from(
            [
                (index_path, index_path),
                (distributed / ".metadata", distributed),
                (distributed / "__0_0.distcp", distributed),
            ]
        )
    )
    target.write_bytes(mutate(target.read_bytes(), data.draw))
    try:
        got = everything(source)
    except FxprofError as err:
        assert "\n" not in str(err)
        return
    assert all(tensor.clone().shape == tensor.shape for tensor in got.values())


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_pickles_end_in_our_errors(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """The same for the pickle inside a zip whose checksums are right: made to mislead, not damaged."""
    path = files.write_zip(NESTED, tmp_path_factory.mktemp("mutated", numbered=True))

    def change(name: str, held: bytes) -> list[tuple[str, bytes, int]]:
        return [(name, mutate(held, data.draw) if name.endswith(".pkl") else held, zipfile.ZIP_STORED)]

    files.rezip(path, change)
    try:
        got = everything(path)
    except FxprofError as err:
        assert "\n" not in str(err)
        return
    assert all(tensor.clone().shape == tensor.shape for tensor in got.values())
