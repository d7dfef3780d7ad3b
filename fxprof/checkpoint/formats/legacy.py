"""torch.save's format before version 1.6: five pickles, then the storages one after another."""

from __future__ import annotations

import pickle
import struct
from typing import IO

from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.pickled import (
    TRUST,
    PickledStore,
    Placeholders,
    Record,
    RefusedError,
    raise_refusal,
    unpickle,
)
from fxprof.checkpoint.formats.store import Store
from fxprof.errors import CheckpointError

_MAGIC = pickle.dumps(MAGIC_NUMBER, protocol=2)


def open_legacy(file: MappedFile) -> Store:
    """List a legacy checkpoint: the storages are located, not read."""
    with file.path.open("rb") as stream:
        if not _is_torchs(stream):
            stream.seek(0)
            raise_refusal(stream, file.path, None)
            raise RefusedError(
                f"{file.path} must be written by torch.save, but it is another kind of pickle or damaged; {TRUST}"
            )
        unpickle(stream, file.path)
        version = unpickle(stream, file.path)
        if version != PROTOCOL_VERSION:
            raise CheckpointError(f"{file.path} must have format version {PROTOCOL_VERSION}, got {version!r}")
        unpickle(stream, file.path)
        placeholders = Placeholders()
        tree = unpickle(stream, file.path, placeholders)
        keys = unpickle(stream, file.path)
        records = _locate(file, keys, placeholders, stream.tell())
    return PickledStore(file, "torch legacy", tree, placeholders, records)


def _is_torchs(stream: IO[bytes]) -> bool:
    """Whether the file begins with torch's number; what else it may begin with is not built."""
    first = stream.read(len(_MAGIC))
    stream.seek(0)
    return first == _MAGIC


def _locate(file: MappedFile, keys: object, placeholders: Placeholders, position: int) -> dict[str, Record]:
    """Where each storage lies: its element count in eight bytes, then its bytes."""
    if type(keys) is not list or sorted(map(str, keys)) != sorted(placeholders.records):
        raise CheckpointError(f"{file.path}: the list of storages must name those that its tensors use; it is damaged")
    whole = position + sum(8 + nbytes for nbytes in placeholders.records.values())
    if whole != file.size:
        state = "cut off" if file.size < whole else "followed by other bytes"
        raise CheckpointError(
            f"{file.path} must have {whole} bytes, but it has {file.size}: it is {state}; get it again"
        )
    records: dict[str, Record] = {}
    for key in keys:
        nbytes = placeholders.records[key]
        (count,) = struct.unpack("<q", file.peek(position, 8))
        if count * placeholders.itemsizes[key] != nbytes:
            raise CheckpointError(f"{file.path}: storage {key!r} must have {nbytes} bytes, but says {count} elements")
        records[key] = Record(position + 8, nbytes)
        position += 8 + nbytes
    return records
