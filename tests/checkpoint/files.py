"""Makers of checkpoints for the readers' tests: good ones of every format, and bad ones of every kind."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch._utils import _rebuild_parameter_with_state
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed


def tensors() -> dict[str, torch.Tensor]:
    """A few tensors of many kinds: dtypes, a scalar, an empty one, a transposed one, a tie."""
    made = torch.Generator().manual_seed(0)
    found = {
        "z.weight": torch.randn(3, 4, generator=made),
        "a.bias": torch.randn(5, generator=made, dtype=torch.float64),
        "a.half": torch.randn(7, generator=made).half(),
        "b.bf": torch.randn(2, 3, generator=made).bfloat16(),
        "b.count": torch.tensor(17),
        "b.mask": torch.tensor([True, False, True]),
        "c.none": torch.empty(0, 3),
        "c.turned": torch.randn(4, 6, generator=made).t(),
        "d.bytes": torch.arange(11, dtype=torch.uint8),
    }
    return {**found, "tied": found["z.weight"]}


def plain(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same without ties and strides, as safetensors takes it."""
    return {name: value.contiguous().clone() for name, value in values.items()}


def write_zip(values: object, folder: Path, name: str = "net.pth") -> Path:
    """torch.save as it is."""
    torch.save(values, folder / name)
    return folder / name


def write_legacy(values: object, folder: Path, name: str = "old.pth") -> Path:
    """torch.save as before 1.6."""
    torch.save(values, folder / name, _use_new_zipfile_serialization=False)
    return folder / name


def write_safetensors(values: Any, folder: Path, name: str = "net.safetensors") -> Path:
    """A safetensors file."""
    save_file(plain(values), folder / name, metadata={"format": "pt"})
    return folder / name


def write_shards(values: Any, folder: Path, suffix: str = "safetensors") -> Path:
    """Two shards and their index."""
    names = list(values)
    parts = (names[::2], names[1::2])
    weights = {}
    for number, part in enumerate(parts, 1):
        shard = f"model-{number:05}-of-00002.{suffix}"
        (write_safetensors if suffix == "safetensors" else write_zip)({k: values[k] for k in part}, folder, shard)
        weights.update(dict.fromkeys(part, shard))
    index = folder / f"model.{suffix}.index.json"
    weights = {name: weights[name] for name in names}
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}), encoding="utf-8")
    return index


def write_distributed(values: Any, folder: Path) -> Path:
    """A folder of torch.distributed.checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_distributed(dict(values), checkpoint_id=str(folder / "dcp"))
    return folder / "dcp"


WRITERS: dict[str, Callable[[Any, Path], Path]] = {
    "zip": write_zip,
    "legacy": write_legacy,
    "safetensors": write_safetensors,
    "shards": write_shards,
    "shards of torch": lambda values, folder: write_shards(values, folder, "bin"),
    "distributed": write_distributed,
}


def header(entries: object, data: bytes = b"", length: int | None = None) -> bytes:
    """The bytes of a safetensors file with any header at all."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], first: int, last: int, dtype: str = "F32") -> dict[str, Any]:
    """One entry of such a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def sparse_file(path: Path, size: int, count: int = 100) -> Path:
    """A safetensors file of ``size`` bytes that takes no room on the disk."""
    each = size // count // 4 * 4
    entries = {f"layers.{i}.weight": entry([each // 4], i * each, (i + 1) * each) for i in range(count)}
    head = header(entries)
    path.write_bytes(head)
    os.truncate(path, len(head) + each * count)
    return path


class Runs:
    """Pickles into a call of ``os.system``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def rezip(path: Path, change: Callable[[str, bytes], list[tuple[str, bytes, int]]]) -> Path:
    """Write an archive again; ``change`` gives name, content and compression for each record."""
    with zipfile.ZipFile(path) as archive:
        held = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice is meant
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in held:
                for new, content, kind in change(name, data):
                    archive.writestr(new, content, kind)
    return path


def flipped(path: Path, position: int) -> Path:
    """The file with one bit changed."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    return path


def data_position(path: Path, record: str = "data/0") -> int:
    """Where the first byte of a zip record lies."""
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(record))
    head = path.read_bytes()[info.header_offset : info.header_offset + 30]
    return info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))


class Poisoned:
    """Pickles into a dict, or a parameter, that carries attributes named like its methods."""

    def __init__(self, tensor: torch.Tensor | None = None, **entries: Any) -> None:
        self.tensor = tensor
        self.entries = entries

    def __reduce__(self) -> tuple[Any, ...]:
        if self.tensor is not None:
            state = {"size": 7, "dim": 7, "stride": 7, "untyped_storage": 7}
            return _rebuild_parameter_with_state, (self.tensor, False, OrderedDict(), state)
        return OrderedDict, (), {"items": 5, "keys": 5, "get": 5, "_metadata": 5}, None, iter(self.entries.items())


def poisoned() -> dict[str, Any]:
    """A container of such, to be pickled."""
    return {"state_dict": Poisoned(w=torch.ones(2, 3), p=Poisoned(torch.ones(2)))}


def poisoned_here() -> dict[str, Any]:
    """The same in memory."""
    inner = OrderedDict(w=torch.ones(2, 3), p=torch.nn.Parameter(torch.ones(2)))
    inner.__dict__.update(items=5, keys=5, values=5, get=5, _metadata=5)
    inner["p"].__dict__.update(size=7, dim=7, stride=7, detach=7)
    return {"state_dict": inner}


def cyclic() -> dict[str, Any]:
    """A container that contains itself, and has no tensors of its own."""
    found: dict[str, Any] = {"epoch": 1}
    found["state_dict"] = found
    return found


def deep(levels: int = 1000) -> dict[str, Any]:
    """A tensor below so many dicts."""
    found: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(levels):
        found = {"state_dict": found}
    return found


def namespace() -> dict[str, Any]:
    """Weights beside the arguments of a script."""
    return {"state_dict": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1)}


def pickled(value: object, path: Path, protocol: int = 2) -> Path:
    """A plain pickle."""
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path
