"""Download a checkpoint once: to ``NAME.part``, resumed where it was cut, checked, then moved into place.

    fetch(url) -> (path, whether it was there already)

The file appears under its name only when it is whole, so that a process that is killed leaves
nothing or a ``.part``; a lock on the ``.part`` lets a second process wait for the first.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
import urllib.request
from pathlib import Path

import torch

from fxprof.checkpoint.transfer import check_room, locked, transfer
from fxprof.errors import CheckpointError, InputError

_HASH = re.compile(r"-([0-9a-f]{8,64})\.[A-Za-z0-9_.]+$")
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_CHUNK = 1 << 20


def is_url(source: str) -> bool:
    """Whether a source is a URL rather than a path.

    >>> is_url("https://host/net.pth"), is_url("net.pth"), is_url("C:/net.pth")
    (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def fetch(url: str, folder: str | os.PathLike[str] | None = None, again: bool = False) -> tuple[Path, bool]:
    """Make a remote file local; the second value says that it was there already.

    Args:
        url: http, https or file; others (s3://, gs://, ...) where fsspec is installed.
        folder: Where to keep it; torch.hub's cache folder by default.
        again: Download it even if it is there.

    Raises:
        InputError: The URL or the folder cannot be used.
        CheckpointError: The download failed, or its content does not have the hash in its name.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as err:
        raise InputError(f"a URL must name a host and a file, got {url!r}: {err}") from err
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path)), False
    name = file_name(url)
    target = _folder(url, name, folder) / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(
            f"the folder for downloads must be writable, but {target.parent} is not: {err.strerror}"
        ) from err
    if not again and is_whole(target):
        return target, True
    with locked(target) as part:
        if not again and is_whole(target):  # another process was faster
            return target, True
        _download(url, part, target)
    return target, False


def file_name(url: str) -> str:
    """The name to keep a URL's file under: its last part, and nothing that leads elsewhere.

    >>> file_name("https://host/a/resnet18-5c106cde.pth?download=1"), file_name("https://host/%2e%2e%2fnet.pth")
    ('resnet18-5c106cde.pth', 'net.pth')
    """
    parts = urllib.parse.urlsplit(url)
    host = "" if parts.scheme in ("http", "https") else parts.netloc  # memory://net.pth
    path = urllib.parse.unquote(host + parts.path)
    name = re.sub(r"[^\w.+=@-]", "_", re.split(r"[/\\]", path)[-1])
    if not name.strip("._"):
        raise InputError(f"a URL must end with the name of a file, got {url!r}")
    return name.lstrip(".")[-200:]


def name_hash(name: str) -> str | None:
    """The beginning of a SHA-256 that a file name carries; a date is none.

    >>> name_hash("resnet18-5c106cde.pth"), name_hash("net-20240131.pth"), name_hash("net-v2.pth")
    ('5c106cde', None, None)
    """
    found = _HASH.search(name)
    return None if found is None or _DATE.fullmatch(found[1]) else found[1]


def check_name_hash(path: Path) -> None:
    """Raise CheckpointError if the name carries a hash and the content has another."""
    wanted = name_hash(path.name)
    got = sha256(path) if wanted else ""
    if wanted and not got.startswith(wanted):
        raise CheckpointError(
            f"{path} must have a SHA-256 that begins with {wanted}, as its name says, but it begins with "
            f"{got[: len(wanted)]}; the file is damaged: get it again (or rename it if {wanted} is no hash)"
        )


def is_whole(path: Path) -> bool:
    """Whether a file is there, and has the hash in its name where there is one."""
    if not path.is_file():
        return False
    try:
        check_name_hash(path)
    except CheckpointError:
        return False
    return True


def sha256(path: Path) -> str:
    """The file's hash, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _folder(url: str, name: str, folder: str | os.PathLike[str] | None) -> Path:
    if folder is not None:
        return Path(folder).expanduser()
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    if name_hash(name):
        return cache
    # Every model hub has a model.safetensors: without a hash in the name, the URL tells them apart.
    return cache / hashlib.sha256(url.encode()).hexdigest()[:12]


def _download(url: str, part: Path, target: Path) -> None:
    """Fill the ``.part``, check it, and move it into place; a wrong one is fetched afresh once."""
    wanted = name_hash(target.name)
    # Without a hash nothing tells whether an old beginning belongs to the file that is there now.
    resumed = wanted is not None and part.stat().st_size > 0
    for attempt in (1, 2):
        try:
            transfer(url, part, fresh=not resumed)
        except OSError as err:
            check_room(err, part)
            raise CheckpointError(f"{url} could not be downloaded to {target.parent}: {err}") from err
        got = sha256(part) if wanted else ""
        if not wanted or got.startswith(wanted):
            break
        if attempt == 2 or not resumed:
            part.unlink()
            raise CheckpointError(
                f"{url} must have a SHA-256 that begins with {wanted}, as its name says, but what came begins with "
                f"{got[: len(wanted)]}; nothing was kept"
            )
        resumed = False
    part.replace(target)
