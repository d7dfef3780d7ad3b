"""A file mapped into memory: tensors are views on it, read when touched, private when written to."""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fxprof.errors import CheckpointError, InputError

try:
    from isal.isal_zlib import crc32
except ImportError:  # there is no wheel for every machine: the same sum, several times slower
    from zlib import crc32

_UNTYPED: Any = torch.UntypedStorage
# mmap.MAP_NORESERVE came with Python 3.13; the number is Linux's.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class MappedFile:
    """One open file: small reads, checksums, and storages that are views on a private mapping.

    torch and the safetensors library map a file so that the kernel sets the whole of it aside, and
    refuse one larger than the memory. Nothing is set aside here: only a page that is written to
    costs memory. A mapping has a handle of its own, and the file's is given back: one for each of hundreds of shards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as err:
            raise InputError(f"{path} must be a file that can be read: {err.strerror}") from err
        self._closer = weakref.finalize(self, os.close, self._fd)
        self.size = os.fstat(self._fd).st_size
        self._map: mmap.mmap | None = None
        self._is_open = True

    def peek(self, offset: int, length: int) -> bytes:
        """Read a few bytes; fewer come back at the end of the file."""
        self._check_open()
        if self._map is not None:
            return self._map[offset : offset + length]
        try:
            if hasattr(os, "pread"):
                return os.pread(self._fd, length, offset)
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, length)
        except OSError as err:  # a damaged disk, a lost connection to one
            raise CheckpointError(f"{self.path} must be a file that can be read: {err.strerror}") from err

    def crc32(self, offset: int, length: int) -> int:
        """The checksum of a stretch, through the mapping: what is copied next is then in memory already."""
        if length == 0:
            return 0
        with memoryview(self._mapping()) as whole, whole[offset : offset + length] as stretch:
            return crc32(stretch)

    def storage(self, offset: int, nbytes: int) -> torch.UntypedStorage:
        """The bytes of a stretch as a storage: no copy, and the file never changes through it."""
        if nbytes == 0:
            return _UNTYPED(0)  # type: ignore[no-any-return]
        if not 0 <= offset <= offset + nbytes <= self.size:
            raise CheckpointError(f"{self.path}: bytes {offset} to {offset + nbytes} lie outside its {self.size} bytes")
        return torch.frombuffer(self._mapping(), dtype=torch.uint8, count=nbytes, offset=offset).untyped_storage()

    def tensor(
        self,
        start: int,
        nbytes: int,
        dtype: torch.dtype,
        layout: tuple[int, Sequence[int], Sequence[int]],
    ) -> torch.Tensor:
        """A tensor on the storage at ``start``; ``layout`` is its storage offset, sizes and strides."""
        storage: Any = self.storage(start, nbytes)
        if start % dtype.itemsize:
            storage = storage.clone()  # kernels may rely on alignment; old formats do not give it
        return torch.empty(0, dtype=dtype).set_(storage, *layout)

    def close(self) -> None:
        """Close the file; storages keep their mapping alive."""
        self._map = None
        self._is_open = False
        self._closer()

    def _check_open(self) -> None:
        # The number of a closed file may be another file's by now.
        if not self._is_open:
            raise InputError(f"{self.path} was closed; read it again")

    def _mapping(self) -> mmap.mmap:
        self._check_open()
        if self._map is None:
            self._map = self._mapped()
            self._closer()
        return self._map

    def _mapped(self) -> mmap.mmap:
        if os.fstat(self._fd).st_size != self.size:
            raise CheckpointError(f"{self.path} changed while it was read; read it again")
        try:
            if os.name == "posix":
                flags = mmap.MAP_PRIVATE | _NORESERVE
                return mmap.mmap(self._fd, self.size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            return mmap.mmap(self._fd, self.size, access=mmap.ACCESS_COPY)  # type: ignore[unreachable, unused-ignore]
        except (OSError, ValueError, OverflowError) as err:
            raise CheckpointError(f"{self.path} cannot be mapped into memory: {err}") from err


def fits(layout: tuple[int, Sequence[int], Sequence[int]], itemsize: int, nbytes: int) -> bool:
    """Whether a tensor's first and last elements lie inside its storage.

    >>> fits((0, (2, 3), (3, 1)), 4, 24), fits((1, (2, 3), (3, 1)), 4, 24)
    (True, False)
    >>> fits((0, (100_000, 100_000), (0, 0)), 4, 4), fits((9, (0, 3), (3, 1)), 4, 0)
    (True, True)
    """
    offset, sizes, strides = layout
    if offset < 0 or len(sizes) != len(strides) or any(n < 0 for n in (*sizes, *strides)):
        return False
    if 0 in sizes:
        return True
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides))
    return (last + 1) * itemsize <= nbytes
