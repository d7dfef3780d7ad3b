"""safetensors files: listed from the header, read through the mapping.

The safetensors library checks the header (length, overlaps, holes, overflow, dtypes); duplicate
keys, which it lets pass, are checked here. It would set the whole file's size aside to read a
tensor, so the values come through the mapping that the other formats use.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import Store, make_spec
from fxprof.errors import CheckpointError
from fxprof.records import TensorSpec

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "C64": "complex64",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A tensor's place in the file."""

    spec: TensorSpec
    offset: int


class SafetensorsStore:
    """A header, and a mapping that is made when the first value is asked for."""

    format = "safetensors"

    def __init__(self, file: MappedFile, tree: Mapping[str, Stretch], metadata: Mapping[str, Any]) -> None:
        self._file = file
        self.tree: object = tree
        self.metadata = metadata

    def is_tensor(self, leaf: object) -> bool:
        """Whether the leaf is one of the header's entries."""
        return isinstance(leaf, Stretch)

    def spec(self, leaf: Any) -> TensorSpec:
        """Shape and dtype."""
        spec: TensorSpec = leaf.spec
        return spec

    def tensor(self, leaf: Any) -> torch.Tensor:
        """A view on the mapped file."""
        spec = self.spec(leaf)
        strides = [prod(spec.shape[i + 1 :]) for i in range(len(spec.shape))]
        return self._file.tensor(leaf.offset, spec.nbytes, getattr(torch, spec.dtype or ""), (0, spec.shape, strides))

    def value(self, leaf: Any) -> Any:
        """The leaf."""
        return leaf

    def verify(self, leaves: Iterable[Any]) -> None:
        """The format has no checksum; its header was checked whole."""

    def settled(self, leaves: Iterable[Any]) -> Store:
        """Itself."""
        return self

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_safetensors(file: MappedFile) -> Store:
    """List a safetensors file."""
    _check_by_library(file)
    (length,) = struct.unpack("<Q", file.peek(0, 8))
    try:
        header = json.loads(file.peek(8, length), object_pairs_hook=lambda pairs: _unique(pairs, file))
        metadata = header.pop("__metadata__", {})
        tree = {name: _stretch(file, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise CheckpointError(f"{file.path}: its safetensors header cannot be read: {reason(err)}") from err
    return SafetensorsStore(file, tree, metadata)


def _check_by_library(file: MappedFile) -> None:
    try:
        # For NumPy the library maps read-only, which takes no memory; for torch it would set the size aside.
        with safe_open(file.path, framework="np"):
            pass
    except (OSError, MemoryError) as err:
        raise CheckpointError(f"{file.path} cannot be opened: {_system(err, file)}") from err
    except (SafetensorError, ValueError, RuntimeError) as err:
        raise CheckpointError(
            f"{file.path} must be a whole safetensors file, but its header does not fit its {file.size} bytes: "
            f"{reason(err)}; get it again"
        ) from err


def _system(err: BaseException, file: MappedFile) -> str:
    """What keeps a file from being opened; the library calls any reason a file that is not there."""
    try:
        os.close(os.open(file.path, os.O_RDONLY))
    except OSError as cause:
        return str(cause.strerror)
    return reason(err)


def _unique(pairs: list[tuple[str, Any]], file: MappedFile) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"{file.path}: every key of its header must be there once, but {twice!r} is there twice")
    return found


def _stretch(file: MappedFile, name: str, entry: dict[str, Any], base: int) -> Stretch:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None or not hasattr(torch, dtype):
        raise CheckpointError(
            f"{file.path}: {name!r} has dtype {entry['dtype']}, which torch {torch.__version__} lacks"
        )
    spec = make_spec(tuple(entry["shape"]), dtype)
    first, last = entry["data_offsets"]
    if not 0 <= first <= first + spec.nbytes == last <= file.size - base:
        raise CheckpointError(
            f"{file.path}: {name!r} must have {spec.nbytes} bytes inside the file, got {first}:{last}"
        )
    return Stretch(spec, base + first)
