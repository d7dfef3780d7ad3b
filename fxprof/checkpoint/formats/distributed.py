"""Folders of torch.distributed.checkpoint, read by its own reader in one process.

The folder's ``.metadata`` is a pickle and its plain entries are, too: torch unpickles both without
restriction, so the metadata is read here with a list of its own classes, and entries that are no
tensors go through the restricted unpickler.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load_state_dict

from fxprof.checkpoint.formats.pickled import TRUST
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import NOTHING, Store, make_spec
from fxprof.errors import CheckpointError
from fxprof.records import TensorSpec

_METADATA = "torch.distributed.checkpoint.metadata."
# What a folder's metadata is made of. A class more could be one that does things when it is made.
_NAMES = {
    *(_METADATA + name for name in (
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
        "TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING",
    )),
    "torch.distributed.checkpoint.filesystem._StorageInfo", "torch.Size", "torch.serialization._get_layout",
    "collections.OrderedDict", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One entry of the metadata, by its flat name."""

    name: str
    spec: TensorSpec | None


class _Metadata(pickle.Unpickler):
    """Allows the metadata's own records, and no functions."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype | torch.layout):
            return getattr(torch, name)
        if full not in _NAMES:
            raise pickle.UnpicklingError(f"it names {full}")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    """torch's reader with metadata that was read safely."""

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        super().__init__(folder)
        self._safe = metadata

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self._safe


class _Planner(DefaultLoadPlanner):
    """torch's planner; entries that are no tensors are unpickled with the restricted unpickler."""

    def __init__(self, folder: Path, trust: bool) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._folder = folder
        self._trust = trust

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        try:
            loaded = torch.load(value, map_location="cpu", weights_only=not self._trust)
        except pickle.UnpicklingError as err:
            raise CheckpointError(
                f"{self._folder}: entry {read_item.dest_index.fqn!r} must be plain data, but it names code; {TRUST}"
            ) from err
        self.state_dict[read_item.dest_index.fqn] = loaded


class DistributedStore:
    """The entries of a folder, nested as they were saved; each tensor is read whole when asked for."""

    format = "torch.distributed.checkpoint"
    metadata = NOTHING

    def __init__(self, folder: Path, metadata: Metadata, trust: bool) -> None:
        self._folder = folder
        self._metadata = metadata
        self._trust = trust
        self.tree: object = nested(metadata)
        self._verified: set[str] = set()

    def is_tensor(self, leaf: object) -> bool:
        """Whether the leaf is a tensor's entry."""
        return isinstance(leaf, Entry) and leaf.spec is not None

    def spec(self, leaf: Any) -> TensorSpec:
        """Shape and dtype."""
        spec: TensorSpec = leaf.spec
        return spec

    def tensor(self, leaf: Any) -> torch.Tensor:
        """Read one tensor, put together from its chunks, which are checked against their checksums first."""
        spec = self.spec(leaf)
        self.verify((leaf,))
        tensor: torch.Tensor = self._load(leaf.name, torch.empty(spec.shape, dtype=getattr(torch, spec.dtype or "")))
        return tensor

    def value(self, leaf: Any) -> Any:
        """Read an entry that is no tensor."""
        return self._load(leaf.name, None) if isinstance(leaf, Entry) else leaf

    def verify(self, leaves: Iterable[Any]) -> None:
        """Compare the checksums of the chunks of these tensors, each once."""
        wanted = {leaf.name for leaf in leaves} - self._verified
        for index, info in self._metadata.storage_data.items():
            if index.fqn in wanted and not getattr(info, "transform_descriptors", None):
                _check_sums(self._folder / info.relative_path, info.offset, info.length)
        self._verified |= wanted

    def settled(self, leaves: Iterable[Any]) -> Store:
        """Itself."""
        return self

    def close(self) -> None:
        """Nothing is kept open."""

    def _load(self, name: str, into: Any) -> Any:
        wanted = {name: into}
        entries = {name: self._metadata.state_dict_metadata[name]}
        part = Metadata(entries, storage_data=self._metadata.storage_data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it runs in a single process is meant
                # ``load`` has no no_dist in older torch, and would wait for the other processes.
                load_state_dict(
                    wanted, _Reader(self._folder, part), planner=_Planner(self._folder, self._trust), no_dist=True
                )
        except CheckpointError:
            raise
        except BaseException as err:  # torch's CheckpointException derives from BaseException
            if isinstance(err, KeyboardInterrupt | SystemExit):
                raise
            cause = next(iter(getattr(err, "failures", {}).values()), (err,))[0]
            if isinstance(cause, CheckpointError):
                raise cause from err
            raise CheckpointError(f"{self._folder}: {name!r} cannot be read: {reason(cause)}") from err
        return wanted[name]


def open_distributed(folder: Path, trust: bool) -> Store:
    """List a folder from its metadata. Raises CheckpointError where files are missing or lie outside it."""
    path = folder / ".metadata"
    try:
        metadata = _Metadata(io.BytesIO(path.read_bytes())).load()
        if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
            raise TypeError(f"it holds {type(metadata).__name__}")
        _check_chunks(metadata)
        names = {info.relative_path for info in dict.values(metadata.storage_data)}
        store = DistributedStore(folder, metadata, trust)
    except Exception as err:
        raise CheckpointError(
            f"{path} must be the metadata of torch.distributed.checkpoint and nothing else: {reason(err)}; "
            "nothing of it was run"
        ) from err
    for name in names:
        _check_file(folder, name)
    return store


def _check_sums(path: Path, offset: int, length: int) -> None:
    """Each chunk is an archive of torch.save inside its file."""
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(length)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            # Without checksums (torch can leave them out) all of them are zero.
            summed = any(info.CRC for info in archive.infolist())
            wrong = archive.testzip() if summed and not packed else None
    except Exception as err:  # whatever is no archive
        raise CheckpointError(
            f"{path}: bytes {offset} to {offset + length} must be a saved tensor: {reason(err)}"
        ) from err
    if packed or wrong:
        raise CheckpointError(f"{path}: a tensor in it does not have its checksum; the file is damaged, get it again")


def _check_chunks(metadata: Metadata) -> None:
    """Every element of every tensor must be in a chunk, and every chunk stored: what is not would stay unset."""
    stored: dict[str, int] = {}
    for index, info in metadata.storage_data.items():
        packed = getattr(info, "transform_descriptors", None)  # compressed by an extension
        stored[index.fqn] = stored.get(index.fqn, 0) + (1 << 62 if packed else info.length)
    for name, entry in metadata.state_dict_metadata.items():
        if isinstance(entry, TensorStorageMetadata):
            spec = make_spec(tuple(entry.size), str(entry.properties.dtype))
            held = sum(prod(chunk.sizes) for chunk in entry.chunks)
            if held != spec.numel or spec.nbytes > stored.get(name, 0):
                raise ValueError(f"{name!r} of shape {spec.shape} is not stored whole")


def _check_file(folder: Path, name: object) -> None:
    plain = isinstance(name, str) and not PurePosixPath(name).anchor and ".." not in PurePosixPath(name).parts
    if not plain or not (folder / str(name)).resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder}: every file of the checkpoint must lie in its folder, but {name!r} does not")
    if not (folder / str(name)).is_file():
        raise CheckpointError(f"{folder}: every file of the checkpoint must be there, but {name!r} is missing")


def nested(metadata: Metadata) -> dict[str, Any]:
    """The entries in the dicts they were saved in, where the metadata tells."""
    tree: dict[str, Any] = {}
    paths = metadata.planner_data if isinstance(metadata.planner_data, dict) else {}
    for name, entry in metadata.state_dict_metadata.items():
        path = paths.get(name, (name,))
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = _entry(name, entry)
    return {key: _with_lists(value) for key, value in tree.items()}


def _with_lists(node: Any) -> Any:
    """Dicts of positions as the lists that they were: torch writes the keys of dicts as text."""
    if not isinstance(node, dict):
        return node
    inside = {key: _with_lists(value) for key, value in node.items()}
    is_list = inside and all(type(key) is int for key in inside) and sorted(inside) == list(range(len(inside)))
    return [inside[index] for index in range(len(inside))] if is_list else inside


def _entry(name: str, entry: object) -> Entry:
    if isinstance(entry, TensorStorageMetadata):
        return Entry(name, make_spec(tuple(entry.size), str(entry.properties.dtype)))
    if isinstance(entry, BytesStorageMetadata):
        return Entry(name, None)
    raise TypeError(f"entry {name!r} is a {type(entry).__name__}")
