"""Which reader opens a path: by what the file is, or what the folder holds."""

from __future__ import annotations

import tarfile
from itertools import islice
from pathlib import Path

from fxprof.checkpoint.formats.folder import in_folder
from fxprof.checkpoint.formats.legacy import open_legacy
from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.pickled import TRUST, NeedsDataError, RefusedError, load_by_torch
from fxprof.checkpoint.formats.sharded import open_index
from fxprof.checkpoint.formats.sniff import sniff
from fxprof.checkpoint.formats.store import MemoryStore, Store
from fxprof.checkpoint.formats.trusted import open_trusted
from fxprof.checkpoint.formats.zipped import check_sums, open_zip
from fxprof.errors import CheckpointError, InputError


def open_path(path: Path, trust: bool) -> Store:
    """Open a file or folder. Raises InputError where there is none, CheckpointError where it is damaged."""
    if _is_folder(path):
        if (path / ".metadata").is_file():
            from fxprof.checkpoint.formats.distributed import open_distributed

            return open_distributed(path, trust)
        path = in_folder(path)
    elif not path.exists():
        raise InputError(f"a checkpoint must be there to be read, but there is no file {path}")
    elif not path.is_file():
        raise InputError(f"{path} must be a regular file or a folder")
    file = MappedFile(path)
    try:
        return _open_file(file, trust)
    except BaseException:
        file.close()
        raise


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as err:  # a name that is too long, a folder that may not be entered
        raise InputError(f"a checkpoint must be there to be read, but {path} cannot be: {err.strerror}") from err


def _refuse_tar(file: MappedFile) -> None:
    """torch's first format, or an archive around files."""
    try:
        with tarfile.open(file.path, "r:") as archive:
            names = {member.name for member in islice(archive, 8)}
    except (tarfile.TarError, OSError, ValueError) as err:
        raise CheckpointError(f"{file.path} must be a checkpoint, but it is a damaged tar archive: {err}") from err
    if {"pickle", "storages", "tensors"} <= names:
        raise RefusedError(f"{file.path} is in torch's first format (tar), which needs code to be read; {TRUST}")
    raise CheckpointError(f"{file.path} must be a checkpoint, but it is a tar archive; unpack it first")


def _open_file(file: MappedFile, trust: bool) -> Store:
    what = sniff(file)
    try:
        if what == "safetensors":
            # Not before it is needed: most checkpoints are torch's.
            from fxprof.checkpoint.formats.safetensor import open_safetensors

            return open_safetensors(file)
        if what == "zip":
            return open_zip(file)
        if what == "pickle":
            return open_legacy(file)
        if what == "tar":
            _refuse_tar(file)
    except RefusedError as refused:
        if not trust:
            raise
        if what == "zip" and refused.kind != "torchscript":  # its records are compressed
            check_sums(file)
        return open_trusted(file.path, refused.kind)
    except NeedsDataError:
        if what == "zip":
            check_sums(file)
        return MemoryStore(load_by_torch(file.path), f"torch {what}")
    if not file.path.name.endswith(".json"):
        raise CheckpointError(f"{file.path} must be a checkpoint, but it is JSON; an index is named *.index.json")
    return open_index(file, lambda path: open_path(path, trust))
