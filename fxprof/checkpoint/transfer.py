"""Move bytes from a URL into a ``.part`` file: lock, range requests, retries, progress."""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fxprof.errors import CheckpointError, InputError
from fxprof.progress import bytes_bar
from fxprof.views.text import safe

RETRIES = 4
TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
wait = time.sleep  # between attempts
_LOST = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class _CutError(ConnectionError):
    """The connection ended before the file did."""


@contextlib.contextmanager
def locked(target: Path) -> Iterator[Path]:
    """Hold ``TARGET.part`` alone; wait for whoever holds it.

    Where files cannot be locked, the part gets a name of its own, and is not resumed.
    """
    part = target.with_name(target.name + ".part")
    try:
        import fcntl
    except ImportError:
        yield _own_part(target)
        return
    while True:
        try:
            # Not truncated: it may be what an earlier download left.
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as err:
            raise InputError(
                f"the folder for downloads must be writable, but {part.parent} is not: {err.strerror}"
            ) from err
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held it moved it into place, or removed it: then this is no longer the part.
            if _same_file(descriptor, part):
                try:
                    yield part
                finally:
                    if _same_file(descriptor, part) and os.fstat(descriptor).st_size == 0:
                        part.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _own_part(target: Path) -> Path:
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.touch()
    return part


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def transfer(url: str, part: Path, fresh: bool) -> None:
    """Bring the whole file into ``part``, continuing after what it holds unless ``fresh``.

    Raises CheckpointError when the server refuses or the connection breaks too often.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        return _copy_by_fsspec(url, part)
    if fresh:
        os.truncate(part, 0)
    tag = None
    for attempt in range(RETRIES):
        try:
            _, tag = _receive(url, part, tag)
            return None
        except urllib.error.HTTPError as err:
            err.close()
            if err.code == 416:  # what is there is longer than the file: begin again
                os.truncate(part, 0)
                continue
            if err.code < 500 or attempt == RETRIES - 1:
                raise CheckpointError(f"{url} must be a file, but the server answered {err.code} {err.reason}") from err
        except _LOST as err:
            if attempt == RETRIES - 1 or _is_final(err):
                reason = getattr(err, "reason", err)
                raise CheckpointError(
                    f"{url} could not be downloaded: {reason}; {part.stat().st_size} bytes are kept in {part}"
                ) from err
            tag = getattr(err, "tag", tag)
        wait(0.1 * 2**attempt)
    raise CheckpointError(f"{url} could not be downloaded in {RETRIES} attempts")


def _is_final(err: Exception) -> bool:
    """Whether trying again is no use: the host is unknown, or nobody answers there."""
    reason = getattr(err, "reason", None)
    return isinstance(reason, ConnectionRefusedError | OSError) and not isinstance(
        reason, TimeoutError | ConnectionResetError
    )


def _receive(url: str, part: Path, tag: str | None) -> tuple[int, str | None]:
    have = part.stat().st_size
    headers = {"User-Agent": "fxprof", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:
            headers["If-Range"] = tag  # the server sends all of it if the file has changed since
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        start, total = _extent(answer, have)
        _check_space(part, total - start if total else 0)
        with part.open("r+b") as stream:
            stream.truncate(start)
            stream.seek(start)
            try:
                _copy(answer, stream, start, total, part)
            except (http.client.HTTPException, ConnectionError, TimeoutError) as err:
                lost = _CutError(f"the connection was cut: {err}")
                lost.tag = tag  # type: ignore[attr-defined]
                raise lost from err
            stream.flush()
            os.fsync(stream.fileno())
    return start, tag


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, and how long the file is."""
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range") or "")
    if answer.status == 206 and ranged is not None and int(ranged[1]) == have:
        return have, None if ranged[2] == "*" else int(ranged[2])
    if answer.status == 206:
        raise CheckpointError(f"{answer.url}: the server sent another range than asked for; try again")
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdigit() else None


def _copy(answer: Any, stream: IO[bytes], start: int, total: int | None, part: Path) -> None:
    done = start
    with bytes_bar(safe(part.name.removesuffix(".part")), start, total) as bar:
        while chunk := answer.read1(_CHUNK):  # what is there, so that a cut loses little
            stream.write(chunk)
            done += len(chunk)
            bar.update(len(chunk))
    if total is not None and done < total:
        raise _CutError(f"{done} of {total} bytes came")


def _copy_by_fsspec(url: str, part: Path) -> None:
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError as err:
        raise InputError(f"fsspec must be installed to open {url}; or download the file and pass its path") from err
    os.truncate(part, 0)
    try:
        with fsspec.open(url, "rb") as source, part.open("r+b") as stream:
            shutil.copyfileobj(source, stream, _CHUNK)
    except (ValueError, ImportError, FileNotFoundError) as err:
        raise InputError(f"{url} cannot be opened with fsspec: {err}") from err


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed and {free} are free")


def check_room(err: OSError, part: Path) -> None:
    """Turn a full disk into a sentence of its own."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        raise CheckpointError(
            f"the disk of {part.parent} is full ({err.strerror}); make room, or give another folder"
        ) from err
