"""torch.save's zip archives: the directory is checked before torch sees anything of it."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from dataclasses import replace

from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.pickled import TRUST, PickledStore, Placeholders, Record, RefusedError, unpickle
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import Store
from fxprof.errors import CheckpointError

_END = b"PK\x05\x06"


def open_zip(file: MappedFile) -> Store:
    """List a zip checkpoint. Raises CheckpointError where its directory does not add up."""
    records = directory(file)
    placeholders = Placeholders()
    tree = unpickle(io.BytesIO(_small(file, records, "data.pkl")), file.path, placeholders)
    for name in records:
        if not name.startswith("data/") and name != "data.pkl":
            _small(file, records, name)
    stored = {key: _record(file, records, key, nbytes) for key, nbytes in placeholders.records.items()}
    store = PickledStore(file, "torch zip", tree, placeholders, stored)
    if "byteorder" in records and _small(file, records, "byteorder").decode("latin1") != sys.byteorder:
        return store.in_memory()  # torch swaps the bytes there
    return store


def check_sums(file: MappedFile) -> None:
    """Check every record's sum: what runs a file's code takes no damaged one."""
    records = directory(file)
    for name in records:
        if not _is_whole(file, records[name]):
            raise CheckpointError(_damaged(file, name))


def directory(file: MappedFile) -> dict[str, Record]:
    """The archive's records by name, without the folder that all of them are in."""
    _check_end(file)
    try:
        with file.path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            infos, start = archive.infolist(), archive.start_dir
    except Exception as err:  # zipfile fails in many ways on a directory made to mislead
        raise CheckpointError(f"{file.path}: its zip directory cannot be read: {reason(err)}") from err
    _check_kind(file, {info.filename.rpartition("/")[2] for info in infos})
    root = infos[0].filename.split("/")[0] + "/"
    found: dict[str, Record] = {}
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        record = _checked(file, info, end)
        end = record.offset + record.nbytes
        name = info.filename.removeprefix(root)
        if not info.filename.startswith(root) or name in found:
            raise CheckpointError(
                f"{file.path}: every record must be in one folder and named once, got {info.filename!r}"
            )
        found[name] = record
    if end > start:
        raise CheckpointError(f"{file.path}: its last record runs into the zip directory; the file is damaged")
    if not any(record.crc for record in found.values()):
        # torch.serialization.set_crc32_options(False): faster to write, and nothing to compare.
        return {name: replace(record, crc=None) for name, record in found.items()}
    return found


def _check_kind(file: MappedFile, names: set[str]) -> None:
    """An archive of torch.save, rather than of someone else."""
    if {"constants.pkl", "data.pkl"} <= names:
        raise RefusedError(f"{file.path} is a TorchScript archive, which is a program; {TRUST}", "torchscript")
    if "data.pkl" not in names:
        raise CheckpointError(
            f"{file.path} must be an archive of torch.save with a data.pkl, but it is {_other(names)}"
        )


def _other(names: set[str]) -> str:
    """What else a zip archive can be, by the names of its records."""
    if any(name.endswith(".npy") for name in names):
        return "a NumPy archive"
    if "model.weights.h5" in names:
        return "a Keras model; convert it first"
    if "archive_format" in names:
        return "a program of torch.export; save the state_dict of what torch.export.load makes of it"
    inside = sorted(name for name in names if name.endswith((".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".pkl")))
    return f"a zip archive around {inside[0]}; unpack it first" if inside else "another kind of zip archive"


def _check_end(file: MappedFile) -> None:
    """A whole archive ends with the end of its directory, without a comment."""
    tail = file.peek(max(0, file.size - 65_557), 65_557)
    end = tail.rfind(_END)
    if end < 0:
        raise CheckpointError(
            f"{file.path} must end with a zip directory, but it is cut off after {file.size} bytes; get it again"
        )
    if end + 22 != len(tail) or tail[-2:] != b"\0\0":
        raise CheckpointError(
            f"{file.path} must end with its zip directory, but {len(tail) - end - 22} bytes follow; get it again"
        )


def _checked(file: MappedFile, info: zipfile.ZipInfo, end: int) -> Record:
    """One record: stored as it is, where the directory says, under the same name, beside the others."""
    what = f"{file.path}: zip record {info.filename!r}"
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise CheckpointError(
            f"{what} must be stored as it is, but it is compressed or encrypted "
            f"({info.compress_size} bytes for {info.file_size}); torch.save writes no such file"
        )
    header = file.peek(info.header_offset, 30) if 0 <= info.header_offset <= file.size else b""
    if len(header) != 30 or header[:4] != b"PK\x03\x04" or header[8:10] != b"\0\0":
        raise CheckpointError(
            f"{what} must begin at byte {info.header_offset}, but no record does; the file is damaged"
        )
    names, extra = struct.unpack("<HH", header[26:30])
    offset = info.header_offset + 30 + names + extra
    if file.peek(info.header_offset + 30, names) != info.orig_filename.encode():
        raise CheckpointError(f"{what} must have the same name in the directory and at its data; the file is damaged")
    if info.header_offset < end or offset + info.file_size > file.size:
        raise CheckpointError(f"{what} overlaps another or runs past the end; the file is damaged")
    return Record(offset, info.file_size, info.CRC)


def _small(file: MappedFile, records: dict[str, Record], name: str) -> bytes:
    """Read a record other than tensor data, and check its sum."""
    if not _is_whole(file, records[name]):
        raise CheckpointError(_damaged(file, name))
    return file.peek(records[name].offset, records[name].nbytes)


def _is_whole(file: MappedFile, record: Record) -> bool:
    return record.crc is None or file.crc32(record.offset, record.nbytes) == record.crc


def _damaged(file: MappedFile, name: str) -> str:
    return f"{file.path}: record {name!r} does not have its checksum; the file is damaged, get it again"


def _record(file: MappedFile, records: dict[str, Record], key: str, nbytes: int) -> Record:
    """The record of a storage, of exactly the size that the pickle gives it."""
    record = records.get(f"data/{key}", Record(0, 0))
    if record.nbytes != nbytes:
        raise CheckpointError(
            f"{file.path}: storage {key!r} must have {nbytes} bytes, but its record has {record.nbytes}; "
            "the file is damaged or made to mislead"
        )
    return record
