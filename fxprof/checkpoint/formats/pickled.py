"""Unpickle a checkpoint's structure with torch's restricted unpickler; no tensor is read for it.

Storages become meta storages that remember which bytes of the file they stand for. Nothing but
torch's own list of tensor-building functions can be called, whatever the environment says.
"""

from __future__ import annotations

import pickle
import pickletools
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch._weights_only_unpickler as restricted

from fxprof.checkpoint.formats.mapped import MappedFile, fits
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import NOTHING, TENSOR, MemoryStore, Store, is_regular
from fxprof.errors import CheckpointError

TRUST = "pass trust=True to load it anyway, which runs code from the file, only if you trust where it comes from"
_UNTYPED: Any = torch.UntypedStorage
_TYPED: Any = torch.storage.TypedStorage
_STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
_SILENT = {"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE", "MARK", "EMPTY_TUPLE", "FRAME"}


class RefusedError(CheckpointError):
    """The file holds code; ``trust=True`` is the way around, and ``kind`` says how to run it."""

    def __init__(self, message: str, kind: str = "pickle") -> None:
        super().__init__(message)
        self.kind = kind


class NeedsDataError(CheckpointError):
    """A tensor (quantized, for one) that cannot be built without its values."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a storage's bytes lie: in which record, how far in, how many."""

    record: str
    start: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record lies in the file, and its checksum where the format has one."""

    offset: int
    nbytes: int
    crc: int | None = None


class Placeholders:
    """Meta storages by the records they stand for; ``load`` is the unpickler's persistent_load."""

    def __init__(self) -> None:
        self.records: dict[str, int] = {}  # record -> bytes that the pickle says it has
        self.itemsizes: dict[str, int] = {}
        self._extents: dict[int, Extent] = {}
        self._kept: list[torch.UntypedStorage] = []  # an address in _extents must stay taken

    def load(self, saved: object) -> Any:
        """Stand in for one storage of the file."""
        if type(saved) is not tuple or len(saved) not in (5, 6):
            raise pickle.UnpicklingError("a storage's record must have 5 or 6 fields")
        _, kind, key, _, numel, *view = saved
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        if type(key) is not str or type(numel) is not int or numel < 0:
            raise pickle.UnpicklingError(f"a storage must have a name and a size, got {key!r} and {numel!r}")
        nbytes = numel * dtype.itemsize
        if self.records.setdefault(key, nbytes) != nbytes:
            raise pickle.UnpicklingError(f"storage {key!r} has {self.records[key]} bytes and also {nbytes}")
        self.itemsizes.setdefault(key, dtype.itemsize)
        start = 0
        if view and view[0] is not None:
            _, first, count = view[0]
            start, nbytes = first * dtype.itemsize, count * dtype.itemsize
            if not 0 <= start <= start + nbytes <= self.records[key]:
                raise pickle.UnpicklingError(f"a view lies outside storage {key!r}")
        return self._storage(Extent(key, start, nbytes), dtype)

    def _storage(self, extent: Extent, dtype: torch.dtype) -> Any:
        storage: Any = _UNTYPED(extent.nbytes, device="meta")
        self._kept.append(storage)
        self._extents[storage._cdata] = extent
        return _TYPED(wrap_storage=storage, dtype=dtype, _internal=True)

    def extent(self, tensor: torch.Tensor) -> Extent | None:
        """The bytes that a tensor stands for; None for one that was on the meta device when saved."""
        if not is_regular(tensor) or TENSOR.device.__get__(tensor).type != "meta":
            return None
        return self._extents.get(TENSOR.untyped_storage(tensor)._cdata)


class PickledStore(MemoryStore):
    """A zip or legacy file of torch.save: meta tensors that stand for stretches of the mapped file."""

    def __init__(
        self, file: MappedFile, form: str, tree: object, placeholders: Placeholders, records: dict[str, Record]
    ) -> None:
        super().__init__(tree, form, NOTHING)
        self._file = file
        self._placeholders = placeholders
        self._records = records
        self._verified: set[str] = set()

    def spec(self, leaf: Any) -> Any:
        """Shape and dtype, once the tensor is known to lie inside its storage."""
        extent = self._placeholders.extent(leaf)
        if extent is not None and not fits(layout_of(leaf), TENSOR.dtype.__get__(leaf).itemsize, extent.nbytes):
            raise CheckpointError(
                f"{self._file.path}: a tensor of shape {tuple(TENSOR.shape.__get__(leaf))} must lie inside its "
                f"storage of {extent.nbytes} bytes (record {extent.record!r}); the file is damaged or made to mislead"
            )
        return super().spec(leaf)

    def tensor(self, leaf: Any) -> torch.Tensor:
        """A view on the mapped file; its record is checked against its checksum first."""
        extent = self._placeholders.extent(leaf)
        if extent is None:
            return super().tensor(leaf)
        self.spec(leaf)
        self.verify((leaf,))
        start = self._records[extent.record].offset + extent.start if extent.nbytes else 0
        return self._file.tensor(start, extent.nbytes, TENSOR.dtype.__get__(leaf), layout_of(leaf))

    def verify(self, leaves: Iterable[Any]) -> None:
        """Compare the checksums of the records behind these tensors, each once."""
        extents = (self._placeholders.extent(leaf) for leaf in leaves)
        self._verify(dict.fromkeys(extent.record for extent in extents if extent is not None and extent.nbytes))

    def _verify(self, wanted: Iterable[str]) -> None:
        names = [name for name in wanted if name not in self._verified and self._records[name].crc is not None]
        for name, right in zip(names, in_threads(self._is_right, names)):
            if not right:
                raise CheckpointError(
                    f"{self._file.path}: record {name!r} does not have the checksum in the file's directory; "
                    "the file is damaged, get it again"
                )
            self._verified.add(name)

    def settled(self, leaves: Iterable[Any]) -> Store:
        """Where a tensor is sparse, quantized or a subclass: the same file read by torch.load into memory."""
        return self if all(is_regular(leaf) for leaf in leaves) else self.in_memory()

    def in_memory(self) -> Store:
        """The same file read whole by torch.load, once its checksums were compared."""
        self._verify(self._records)
        return MemoryStore(load_by_torch(self._file.path), self.format)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_right(self, name: str) -> bool:
        record = self._records[name]
        return self._file.crc32(record.offset, record.nbytes) == record.crc


def in_threads(check: Any, names: list[str]) -> list[bool]:
    """Run a check for each name, on a few threads where there is enough to do."""
    if len(names) < 2:
        return [check(name) for name in names]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(4, len(names))) as pool:
        return list(pool.map(check, names))


def layout_of(tensor: torch.Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Storage offset, sizes and strides."""
    sizes = tuple(TENSOR.shape.__get__(tensor))
    return TENSOR.storage_offset(tensor), sizes, tuple(TENSOR.stride(tensor))


def unpickle(stream: IO[bytes], path: Path, placeholders: Placeholders | None = None) -> Any:
    """Read one pickle; storages go to ``placeholders``. Raises RefusedError or CheckpointError."""
    start = stream.tell()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's, about protocols and sparse tensors
            unpickler = restricted.Unpickler(stream, encoding="utf-8")
            if placeholders is not None:
                unpickler.persistent_load = placeholders.load  # type: ignore[method-assign]
            return unpickler.load()  # type: ignore[no-untyped-call]
    except NotImplementedError as err:
        raise NeedsDataError(f"{path} holds a tensor of a kind that must be read whole") from err
    except Exception as err:  # a damaged pickle makes the unpickler fail in any way at all
        stream.seek(start)
        raise_refusal(stream, path, err)
        raise CheckpointError(
            f"{path} must be a whole checkpoint, but it is cut off or damaged: {reason(err)}"
        ) from err
    finally:
        # torch.load would check these next, and cannot: they have no values here.
        _sparse_to_check().clear()


def _sparse_to_check() -> list[Any]:
    """Sparse tensors that the unpickler made, as torch keeps them until they are checked; a plain list in torch 2.4."""
    held = getattr(torch._utils, "_get_sparse_tensors_to_validate", None)
    found: list[Any] = getattr(torch._utils, "_sparse_tensors_to_validate", []) if held is None else held()
    return found


def load_by_torch(path: Path) -> object:
    """Read everything with torch.load, which builds no other objects than tensors and plain data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
            return loaded
    except Exception as err:
        raise CheckpointError(f"{path} cannot be read by torch.load: {reason(err)}") from err


def raise_refusal(stream: IO[bytes], path: Path, cause: Exception | None) -> None:
    """Raise RefusedError if the pickle names anything that is not data."""
    allowed = allowed_names()
    places: dict[str, str] = {}
    methods: set[str] = set()
    for name, under, argument in _names(stream):
        methods.add(argument)
        if name and name not in allowed:
            places.setdefault(name, under)
    if not places:
        return
    if "builtins.getattr" in places and "state_dict" in methods:
        message = (
            f"{path} holds the method model.state_dict where its result belongs: it was saved without the call; "
            f"save model.state_dict() instead, or {TRUST}"
        )
    else:
        shown = [f"{name} (under {under!r})" if under else name for name, under in places.items()]
        named = ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
        message = f"{path} must hold tensors and plain data only, but it names {named}; nothing of it was run; {TRUST}"
    raise RefusedError(message) from cause


def allowed_names() -> set[str]:
    """What torch's unpickler may call, and what the user allowed with add_safe_globals."""
    own: dict[str, Any] = getattr(restricted, "_get_user_allowed_globals", dict)()
    return {*restricted._get_allowed_globals(), *own}


def _names(stream: IO[bytes]) -> Iterator[tuple[str, str, str]]:
    """Every global's name and the dict key right before it; every text that ends a pair, such as getattr's arguments.

    Nothing is run.
    """
    strings: list[str] = []
    memo: dict[int, str] = {}
    key, last, count = "", "", 0
    try:
        for op, value, _ in pickletools.genops(stream):
            if op.name in _STRINGS:
                last = value if isinstance(value, str) else str(value)
                strings = [*strings[-1:], last]
                key = last
            elif op.name in ("BINGET", "LONG_BINGET", "GET"):
                key = memo.get(int(value or 0), "")
                strings = [*strings[-1:], key]
            elif op.name == "TUPLE2":
                yield "", "", key
            elif op.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                memo[count if value is None else int(str(value))] = last
                count += 1
            elif op.name in ("GLOBAL", "INST"):
                yield _full_name(*str(value).split(" ", 1)), key, ""
            elif op.name == "STACK_GLOBAL" and len(strings) == 2:
                yield _full_name(*strings), "", ""
            last = last if op.name in _STRINGS or op.name in _SILENT else ""
            key = key if op.name in _STRINGS or op.name in _SILENT or "GET" in op.name else ""
    except Exception:  # cut off or no pickle: what was named until here counts
        return


def _full_name(module: str, name: str = "") -> str:
    """The name that Python 3 knows it by: a pickle of protocol 2 has Python 2's."""
    return ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
