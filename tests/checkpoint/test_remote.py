"""Downloads: cached, resumed, checked, never half there. Served on the loopback."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fxprof.checkpoint import remote, transfer
from fxprof.checkpoint.reading import read
from fxprof.errors import CheckpointError, InputError
from tests.checkpoint import files as made
from tests.checkpoint.server import Files, serving

ROOT = Path(__file__).parents[2]
BODY = random.Random(0).randbytes(300_000)
NAME = f"net-{hashlib.sha256(BODY).hexdigest()[:8]}.pth"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Files]:
    """A server, an empty cache folder, and no waiting between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(transfer, "wait", lambda seconds: None)
    with serving() as files:
        files.content[NAME] = BODY
        yield files


def cache() -> Path:
    """Where downloads go by default."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def left(folder: Path) -> list[str]:
    """The files of a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_checkpoint_is_read_from_a_url(web: Files, tmp_path: Path) -> None:
    """A URL reads like a path; the second time nothing is downloaded."""
    path = made.write_zip(made.tensors(), tmp_path)
    web.content["net.pth"] = path.read_bytes()
    for _ in range(2):
        checkpoint = read(web.url("net.pth"))
        assert torch.equal(checkpoint.tensor("a.bias"), made.tensors()["a.bias"])
    assert len(web.log) == 1 and left(cache()) == ["net.pth"]


def test_hub_cache_and_given_folder(web: Files, tmp_path: Path) -> None:
    """A name with a hash goes where torch.hub keeps it, or into the folder given."""
    path, cached = remote.fetch(web.url(NAME))
    assert path == cache() / NAME and path.read_bytes() == BODY and not cached
    assert remote.fetch(web.url(NAME)) == (path, True)
    path, cached = remote.fetch(web.url(NAME), tmp_path / "mine" / "deeper")
    assert path == tmp_path / "mine" / "deeper" / NAME and not cached and len(web.log) == 2


def test_same_name_from_two_places_is_two_files(web: Files) -> None:
    """Without a hash in the name, two URLs never share a file of the cache."""
    web.content["one/model.bin"], web.content["two/model.bin"] = b"one", b"two"
    assert [remote.fetch(web.url(f"{place}/model.bin"))[0].read_bytes() for place in ("one", "two")] == [b"one", b"two"]


def test_redirect_is_followed(web: Files) -> None:
    """The file is kept under the name that was asked for."""
    web.redirects["latest/" + NAME] = web.url(NAME)
    assert remote.fetch(web.url("latest/" + NAME))[0].name == NAME
    web.redirects["away.pth"] = "file:///etc/hostname"
    with pytest.raises(CheckpointError, match="the server answered 302"):
        remote.fetch(web.url("away.pth"))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", [NAME, "net.bin"])
def test_cut_connection_is_resumed_or_redone(web: Files, ranges: bool, name: str) -> None:
    """The download goes on where it was cut, or begins again where the server knows no ranges."""
    web.content[name], web.cuts, web.ranges = BODY, [100_000, 50_000], ranges
    assert remote.fetch(web.url(name))[0].read_bytes() == BODY
    assert [asked for _, asked in web.log] == [None, "bytes=100000-", "bytes=150000-" if ranges else "bytes=50000-"]
    assert left(cache()) == [name]


def test_part_of_an_earlier_run_is_resumed(web: Files) -> None:
    """A .part that was left is continued where a hash can tell that it belongs; one that does not is thrown away."""
    cache().mkdir(parents=True)
    for start, wanted in ((BODY[:123_456], 1), (b"something else" * 100, 2), (BODY + b"more", 2)):
        (cache() / NAME).unlink(missing_ok=True)
        (cache() / f"{NAME}.part").write_bytes(start)
        web.log.clear()
        assert remote.fetch(web.url(NAME))[0].read_bytes() == BODY
        assert web.log[0][1] == f"bytes={len(start)}-" and len(web.log) == wanted


def test_part_without_a_hash_begins_again(web: Files, tmp_path: Path) -> None:
    """Nothing tells whether an old part belongs to a file without a hash in its name."""
    web.content["net.bin"] = BODY
    (tmp_path / "net.bin.part").write_bytes(b"old")
    assert remote.fetch(web.url("net.bin"), tmp_path)[0].read_bytes() == BODY and web.log == [("net.bin", None)]


def test_connection_that_keeps_breaking(web: Files) -> None:
    """It ends with a sentence, and keeps what came for the next time."""
    web.cuts = [10_000] * 10
    with pytest.raises(CheckpointError, match=r"could not be downloaded: .*40000 of 300000 bytes.* are kept in"):
        remote.fetch(web.url(NAME))
    assert left(cache()) == [f"{NAME}.part"]
    web.cuts = []
    assert remote.fetch(web.url(NAME))[0].read_bytes() == BODY


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_file_in_the_cache_is_fetched_again(web: Files, damage: str, tmp_path: Path) -> None:
    """With a hash by the hash; without one when it cannot be read."""
    path = made.write_zip(made.tensors(), tmp_path)
    good = path.read_bytes()
    hashed = f"net-{hashlib.sha256(good).hexdigest()[:12]}.pth"
    for name in (hashed, "net.pth"):
        web.content[name] = good
        kept = read(web.url(name)).path
        assert kept is not None
        data = bytearray(good)
        data[len(data) // 2] ^= 1
        kept.write_bytes({"flipped": bytes(data), "cut": good[:700], "empty": b""}[damage])
        if damage == "flipped" and name != hashed:
            continue  # only verify() sees it
        assert torch.equal(read(web.url(name)).tensor("a.bias"), made.tensors()["a.bias"])
        assert kept.read_bytes() == good


def test_wrong_hash_is_refused(web: Files) -> None:
    """What does not have the hash in its name is not kept."""
    web.content["net-00000000.pth"] = BODY
    with pytest.raises(CheckpointError, match=r"SHA-256 that begins with 00000000, .*nothing was kept"):
        remote.fetch(web.url("net-00000000.pth"))
    assert left(cache()) == []


def test_missing_file_and_dead_server(web: Files) -> None:
    """404 and a refused connection say so at once; nothing is left."""
    with pytest.raises(CheckpointError, match="the server answered 404"):
        remote.fetch(web.url("none.pth"))
    with pytest.raises(CheckpointError, match=r"could not be downloaded: .*refused"):
        remote.fetch("http://127.0.0.1:9/none.pth")
    assert left(cache()) == [] and len(web.log) == 1


def test_page_instead_of_a_file(web: Files) -> None:
    """A hub's web page is recognized, not unpickled."""
    web.content["net.pth"] = b"<!doctype html><html>log in</html>"
    with pytest.raises(CheckpointError, match="is a web page"):
        read(web.url("net.pth"))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/../../etc/net.pth", "net.pth"),
        ("http://h/%2e%2e%2f%2e%2e%2fnet.pth", "net.pth"),
        ("http://h/..%5c..%5cnet.pth?x=/y", "net.pth"),
        ("http://h/.bashrc", "bashrc"),
        ("http://h/a%00b%0a.pth#part", "a_b_.pth"),
        ("http://h/" + "x" * 400 + ".pth", "x" * 196 + ".pth"),
    ],
)
def test_name_leads_nowhere_else(url: str, name: str) -> None:
    """The name is the last part of the path, without what a file system would act on."""
    assert remote.file_name(url) == name


@pytest.mark.parametrize("url", ["http://h/", "http://h/..", "http://h", "http://h/%2e%2e"])
def test_url_without_a_name(url: str) -> None:
    """There must be a name to keep it under."""
    with pytest.raises(InputError, match="must end with the name of a file"):
        remote.file_name(url)


def test_url_with_a_broken_address() -> None:
    """What no address can be made of is refused as a URL."""
    with pytest.raises(InputError, match=r"a URL must name a host and a file, got .*IPv6"):
        remote.fetch("http://[::1/net.pth")


def test_folder_that_cannot_be_written(web: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the folder should be, and a folder without permission, are named."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="the folder for downloads must be writable"):
        remote.fetch(web.url(NAME), tmp_path / "file")

    def refuse(*args: Any, **kwargs: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere
    with pytest.raises(InputError, match=r"must be writable, but .* is not: Permission denied"):
        remote.fetch(web.url(NAME), tmp_path)


def test_full_disk(web: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before, or met on the way: a sentence, and no file under the name."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: type("Free", (), {"free": 1000}))
        with pytest.raises(CheckpointError, match=r"is full \(300000 bytes are needed and 1000 are free\)"):
            remote.fetch(web.url(NAME))

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(transfer, "_copy", full)
    with pytest.raises(CheckpointError, match=r"the disk of .* is full \(No space left on device\); make room"):
        remote.fetch(web.url(NAME))
    assert NAME not in left(cache())


def test_unknown_length_is_taken_to_the_end(web: Files) -> None:
    """Without a Content-Length the end of the answer is the end; the hash tells whether it is."""
    web.lengths = False
    assert remote.fetch(web.url(NAME))[0].read_bytes() == BODY


def test_fsspec_opens_other_schemes(web: Files) -> None:
    """Where fsspec is installed, its file systems are sources; an unknown one is named."""
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open(f"memory://{NAME}", "wb") as stream:
        stream.write(BODY)
    assert remote.fetch(f"memory://{NAME}")[0].read_bytes() == BODY
    with pytest.raises(InputError, match="cannot be opened with fsspec"):
        remote.fetch("nonsense://host/net.pth")
    with pytest.raises(InputError, match="cannot be opened with fsspec"):
        remote.fetch("memory://none.pth")


def test_index_brings_its_shards(web: Files, tmp_path: Path) -> None:
    """The index of a sharded checkpoint is read from a URL with the shards beside it; none leads elsewhere."""
    index = made.write_shards(made.tensors(), tmp_path)
    for path in tmp_path.glob("model*"):
        web.content["repo/" + path.name] = path.read_bytes()
    checkpoint = read(web.url("repo/" + index.name))
    assert set(checkpoint.specs) == set(made.tensors())
    web.content["repo/bad.index.json"] = b'{"weight_map": {"w": "../../secret.safetensors"}}'
    with pytest.raises(CheckpointError, match="leads outside it"):
        read(web.url("repo/bad.index.json"))


def test_threads_and_processes_at_once(web: Files) -> None:
    """Whoever comes second waits for the first, and downloads nothing."""
    web.pause, web.block = 0.01, 20_000
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(remote.fetch(web.url(NAME))[0].read_bytes())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    other = start_download(web.url(NAME), cache())
    for thread in threads:
        thread.join()
    assert other.wait() == 0 and found == [BODY] * 3
    assert len(web.log) == 1 and left(cache()) == [NAME]


# The child begins with these imported, as the moment of the kill would mostly hit the imports.
CHILD = """
import sys
from fxprof.checkpoint import remote
print("ready", flush=True)
for line in sys.stdin:
    url, folder = line.split()
    remote.fetch(url, folder)
"""


def start_download(url: str, folder: Path) -> subprocess.Popen[str]:
    """A process that is past its imports and now downloads."""
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert child.stdin and child.stdout and child.stdout.readline() == "ready\n"
    child.stdin.write(f"{url} {folder}\n")
    child.stdin.close()
    child.stdout.close()
    return child


FORKED = """
import os, sys, time, random, signal
from pathlib import Path
from fxprof.checkpoint import remote
url, folder, times = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
chance = random.Random(1)
for _ in range(times):
    child = os.fork()
    if not child:
        remote.fetch(url, folder)
        os._exit(0)
    time.sleep(chance.random() * 0.08)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    held = sorted(folder.iterdir()) if folder.exists() else []
    print(",".join(f"{path.name}:{path.stat().st_size}" for path in held), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_download_leaves_nothing_half(web: Files, tmp_path: Path) -> None:
    """Killed at 40 moments, a download leaves nothing, a .part, or the whole file; the next one completes it."""
    web.content["net.bin"], web.pause, web.block = BODY, 0.002, 10_000
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, web.url("net.bin"), str(tmp_path / "kept"), "40"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    states = done.stdout.splitlines()[1:]
    allowed = {"", f"net.bin:{len(BODY)}"}
    assert len(states) == 40 and all(state in allowed or state.startswith("net.bin.part:") for state in states)
    assert any(state.startswith("net.bin.part:") for state in states)
    assert remote.fetch(web.url("net.bin"), tmp_path / "kept")[0].read_bytes() == BODY
    assert left(tmp_path / "kept") == ["net.bin"]


def test_interrupted_download_is_resumed_by_the_next(web: Files, tmp_path: Path) -> None:
    """Ctrl-C leaves the part; the next run asks for the rest only."""
    web.pause, web.block = 0.3, 10_000  # nine seconds for the signal to arrive in
    child = start_download(web.url(NAME), tmp_path)
    part = tmp_path / f"{NAME}.part"
    for _ in range(3000):
        if part.exists() and part.stat().st_size:
            break
        threading.Event().wait(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait() != 0 and left(tmp_path) == [part.name]
    have, web.pause = part.stat().st_size, 0.0
    assert remote.fetch(web.url(NAME), tmp_path)[0].read_bytes() == BODY and web.log[-1] == (NAME, f"bytes={have}-")


class Terminal(io.StringIO):
    """stderr as a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_to_a_terminal_only(web: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bar with the file's name that ends full where somebody watches; silence in a log."""
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        remote.fetch(web.url(NAME), tmp_path / str(shown))
        last = stream.getvalue().rpartition("\r")[2]
        assert ("100%" in last and NAME in last and "293k/293k" in last) if shown else last == ""
