"""Writing a file so that, at every moment, it is the old one or the new one."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a file beside ``path``, bring it to the disk, and put it in place in one step.

    Where anything fails the file is as it was, and nothing is left beside it.
    """
    target = path.resolve()  # a link stays a link
    beside = None
    try:
        mode = _mode(target)
        # A name may be as long as the system allows: the temporary one must not be longer.
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        beside = Path(name)
        write(beside)
        _sync(beside, os.O_RDWR)  # some systems bring to the disk only what may be written to
        beside.chmod(mode)
        beside.replace(target)
        with suppress(OSError):  # some systems cannot open a folder
            _sync(target.parent, os.O_RDONLY)
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _mode(target: Path) -> int:
    """The permissions of the file that is there, or the usual ones."""
    try:
        return stat.S_IMODE(target.stat().st_mode)  # refuses links in a circle, which some Pythons resolve
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync(path: Path, access: int) -> None:
    handle = os.open(path, access)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
