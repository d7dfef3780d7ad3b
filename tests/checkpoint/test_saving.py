"""``save``: formats, shared tensors, extras, and files that are the old or the new one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from fxprof.checkpoint.loading import load
from fxprof.checkpoint.reading import read
from fxprof.checkpoint.saving import save
from fxprof.errors import CheckpointError, InputError
from tests.checkpoint.nets import Net, Tied, made, same
from tests.commands import ROOT

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("net", [Net, Tied])
def test_round_trip(net: type[nn.Module], suffix: str, tmp_path: Path) -> None:
    """What was saved loads, whole, and tied tensors stay tied."""
    source, model = made(net, seed=1), made(net)
    save(source, tmp_path / f"f{suffix}")
    assert load(model, tmp_path / f"f{suffix}").complete
    assert same(model, source)
    assert [path.name for path in tmp_path.iterdir()] == [f"f{suffix}"]


def test_torch_layout(tmp_path: Path) -> None:
    """A plain state_dict without extras, a container with them; both as torch itself reads them."""
    model = made(Net)
    save(model, tmp_path / "plain.pth")
    save(model, tmp_path / "more.pth", epoch=3, optimizer={"state": {}})
    plain = torch.load(tmp_path / "plain.pth", weights_only=True)
    more = torch.load(tmp_path / "more.pth", weights_only=True)
    model.load_state_dict(plain)
    assert list(more) == ["state_dict", "epoch", "optimizer"]
    assert list(more["state_dict"]) == list(plain)


def test_safetensors_layout(tmp_path: Path) -> None:
    """One copy of a tied tensor, its other name in the metadata, extras as JSON; read by the library itself."""
    save(made(Tied), tmp_path / "f.safetensors", epoch=3, classes=["a", "b"], arch="tied")
    with safe_open(tmp_path / "f.safetensors", "pt") as file:
        assert set(file.keys()) == {"table.weight", "mix.weight", "mix.bias"}
        metadata = file.metadata()
    assert metadata["out.weight"] == "table.weight"
    assert json.loads(metadata["classes"]) == ["a", "b"]
    assert (metadata["epoch"], json.loads(metadata["arch"]), metadata["format"]) == ("3", "tied", "pt")


def test_extras_come_back(tmp_path: Path) -> None:
    """Extras of a torch file are read as they were."""
    save(made(Net), tmp_path / "f.pth", epoch=3, best=0.5)
    assert dict(read(tmp_path / "f.pth").extras) == {"epoch": 3, "best": 0.5}


def test_views_and_strides(tmp_path: Path) -> None:
    """Views of one memory and transposed tensors are saved by their values."""
    base = torch.arange(12.0).reshape(3, 4)
    state = {"whole": base, "row": base[1], "turned": base.T}
    save(state, tmp_path / "f.safetensors")
    found = read(tmp_path / "f.safetensors")
    assert all(torch.equal(found.tensor(name), value) for name, value in state.items())


def test_wrappers_leave_no_prefix(tmp_path: Path) -> None:
    """DataParallel and torch.compile save the names of the model inside."""
    model = made(Net)
    wrapped: Any
    for wrapped in (nn.DataParallel(model), torch.compile(model), torch.compile(nn.DataParallel(model))):
        save(wrapped, tmp_path / "f.safetensors")
        assert set(read(tmp_path / "f.safetensors").specs) == set(model.state_dict())


@pytest.mark.parametrize(
    ("what", "name", "extras", "message"),
    [
        (made(Net), "f.npz", {}, "must end in .safetensors, .pt"),
        (made(Net), "no/f.pth", {}, "no such folder"),
        (made(Net), "f.pth", {"state_dict": 3}, "cannot be called 'state_dict'"),
        (
            made(Net),
            "f.safetensors",
            {"optimizer": {"state": torch.zeros(1)}},
            "'optimizer' .dict. would not come back",
        ),
        (made(Net), "f.safetensors", {"best": float("nan")}, "'best' .float. would not come back"),
        (made(Net), "f.safetensors", {"sizes": (1, 2)}, "'sizes' .tuple. would not come back"),
        ({"a": 3}, "f.safetensors", {}, "'a' is int"),
        ({"a": torch.zeros(2, device="meta")}, "f.safetensors", {}, "'a' is on the meta device and has no values"),
        (nn.Linear(2, 2, device="meta"), "f.pth", {}, "'weight' is on the meta device and has no values"),
        (nn.LazyLinear(2), "f.pth", {}, "'weight' has no shape before the first forward"),
        (3, "f.pth", {}, "must be a module or a mapping of names to tensors, got int"),
        ({1: torch.zeros(1)}, "f.safetensors", {}, "needs texts as names, and 1 is int"),
        ({"a": torch.zeros(1).to_sparse()}, "f.safetensors", {}, "dense tensors with values only, and 'a' is none"),
        ({"a": torch.zeros(1, dtype=torch.complex128)}, "f.safetensors", {}, "no dtype for torch.complex128"),
        (made(Tied), "f.safetensors", {"out.weight": 1}, "has the name of a tensor"),
        ({"a": lambda: 0}, "f.pth", {}, "torch cannot write this: "),
    ],
)
def test_refusals(what: Any, name: str, extras: dict[str, Any], message: str, tmp_path: Path) -> None:
    """What a format cannot hold is refused in one sentence, and the old file stays."""
    target = tmp_path / name
    if target.parent.is_dir():
        target.write_bytes(b"old")
    with pytest.raises((CheckpointError, InputError), match=message) as info:
        save(what, target, **extras)
    assert "\n" not in str(info.value)
    assert [path.name for path in tmp_path.iterdir()] == ([name] if target.parent.is_dir() else [])
    assert not target.exists() or target.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    """A pipe, which would be replaced; links in a circle; names too long or with a zero; the longest one is fine."""
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "circle.pth").symlink_to(tmp_path / "circle.pth")
    for name, message in {
        "pipe.pth": "it is no regular file", "circle.pth": "[Ss]ymlink loop|symbolic links", "a\0.pth": "null byte",
        f"{'n' * 300}.pth": "too long",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=f"cannot write .*({message})"):
            save(made(Net), tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe.pth").stat().st_mode)
    save(made(Net), tmp_path / f"{'n' * 251}.pth")
    assert "fc.bias" in read(tmp_path / f"{'n' * 251}.pth").specs


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_disk_that_is_full(
    suffix: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk is full, or the user interrupts, the old file stays and nothing lies beside it."""

    def full(handle: int) -> None:
        raise error

    target = tmp_path / f"f{suffix}"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((CheckpointError, KeyboardInterrupt)) as info:
        save(made(Net), target)
    assert "No space left" in str(info.value) or isinstance(error, KeyboardInterrupt)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_permissions_and_links(tmp_path: Path) -> None:
    """An existing file keeps its permissions, a link stays a link, a new file has the usual ones."""
    old, link, plain = tmp_path / "old.pth", tmp_path / "link.pth", tmp_path / "plain"
    old.write_bytes(b"")
    old.chmod(0o640)
    link.symlink_to(old)
    plain.write_bytes(b"")
    save(made(Net), link)
    save(made(Net), tmp_path / "new.safetensors")
    assert link.is_symlink()
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert (tmp_path / "new.safetensors").stat().st_mode == plain.stat().st_mode
    assert read(old).specs


KILLED = """
import sys
import torch
from fxprof.checkpoint.saving import save
states = [{"a": torch.full((300_000,), float(i)), "b": torch.full((300_000,), float(i))} for i in (1, 2)]
print("ready", flush=True)
while True:
    for state in states:
        save(state, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_killed_while_saving(suffix: str, tmp_path: Path) -> None:
    """Killed at 25 moments, a process that saves over and over leaves one whole file or the other."""
    target = tmp_path / f"f{suffix}"
    code = KILLED.replace('print("ready", flush=True)', FORKS)
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["whole"] * 25


# Forked, so that torch is imported once and not 25 times.
FORKS = """
import os, random, signal, time
from safetensors.torch import load_file
torch.set_num_threads(1)
save(states[0], sys.argv[1])
random.seed(0)
for round in range(25):
    child = os.fork()
    if child == 0:
        break
    time.sleep(random.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    name = sys.argv[1]
    state = load_file(name) if name.endswith("safetensors") else torch.load(name, weights_only=True)
    values = {float(v) for t in state.values() for v in (t.min(), t.max())}
    print("whole" if len(state) == 2 and len(values) == 1 else values, flush=True)
else:
    sys.exit(0)
"""
