"""Bad checkpoints: one clear sentence each, nothing run, nothing made; and mutations of good ones."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxprof.checkpoint.loading import load
from fxprof.checkpoint.matching import match
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.reading import read
from fxprof.checkpoint.saving import save
from fxprof.checkpoint_tools import load_pretrained_weights
from fxprof.errors import CheckpointError, InputError
from tests.checkpoint import files

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
F32 = files.entry


def content(data: bytes, name: str = "net.pth") -> Callable[[Path], Path]:
    """A file with this content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def saved(values: Any, write: Callable[..., Path] = files.write_zip) -> Callable[[Path], Path]:
    """A saved checkpoint."""
    return lambda folder: write(values, folder)


def runs(write: Callable[..., Path]) -> Callable[[Path], Path]:
    """A checkpoint that runs a command when it is unpickled."""
    return lambda folder: write({"w": torch.ones(2), "x": files.Runs(folder / "ran")}, folder)


def renamed(make: Callable[[Path], Path], name: str) -> Callable[[Path], Path]:
    """The same file under another name."""
    return lambda folder: make(folder).replace(folder / name)


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The first part of a file."""

    def cut_off(folder: Path) -> Path:
        path = make(folder)
        os.truncate(path, int(path.stat().st_size * share))
        return path

    return cut_off


def longer(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """A file with bytes after its end."""

    def append(folder: Path) -> Path:
        path = make(folder)
        path.write_bytes(path.read_bytes() + b"more bytes")
        return path

    return append


def zipped(change: Callable[[str, bytes], list[tuple[str, bytes, int]]]) -> Callable[[Path], Path]:
    """A torch file whose records were changed."""
    return lambda folder: files.rezip(files.write_zip({"w": torch.zeros(1 << 16)}, folder), change)


def archive(*names: str) -> Callable[[Path], Path]:
    """A zip archive of someone else's."""

    def write(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "net.zip", "w") as out:
            for name in names:
                out.writestr(name, b"content")
        return folder / "net.zip"

    return write


def index(weights: object) -> Callable[[Path], Path]:
    """An index over two good shards, with another map."""

    def write(folder: Path) -> Path:
        inner = folder / "model"
        inner.mkdir()
        path = files.write_shards(files.tensors(), inner)
        files.write_safetensors(files.tensors(), folder, "outside.safetensors")
        (inner / "link.safetensors").symlink_to(folder / "outside.safetensors")
        known = json.loads(path.read_text())["weight_map"]
        path.write_text(json.dumps({"weight_map": weights(known, folder) if callable(weights) else weights}))
        return path

    return write


def with_code(folder: Path) -> Path:
    """A distributed folder whose metadata runs a command."""
    path = files.write_distributed({"w": torch.ones(2)}, folder)
    files.pickled(files.Runs(folder / "ran"), path / ".metadata")
    return path


def without_file(folder: Path) -> Path:
    """A distributed folder that lacks its data."""
    path = files.write_distributed({"w": torch.ones(2)}, folder)
    next(path.glob("*.distcp")).unlink()
    return path


ZIP, LEGACY, SAFE = (
    saved(files.tensors(), write) for write in (files.write_zip, files.write_legacy, files.write_safetensors)
)
HTML = b"<!DOCTYPE html>\n<html><body>Not found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NET = torch.nn.Linear(2, 3)
TWICE = b"{%s,%s}" % ((b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',) * 2)
TRUST = "pass trust=True to load it anyway, which runs code"

BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "code, zip": (runs(files.write_zip), rf"it names posix.system \(under 'x'\); nothing of it was run; {TRUST}"),
    "code, legacy": (runs(files.write_legacy), "it names posix.system"),
    "code, plain pickle": (lambda f: files.pickled(files.Runs(f / "ran"), f / "a.pkl"), "it names posix.system"),
    "code, protocol 4": (lambda f: files.pickled(files.Runs(f / "ran"), f / "a.pt", 4), "it names posix.system"),
    "code as safetensors": (
        renamed(runs(files.write_zip), "a.safetensors"),
        "must be a safetensors file, but it is a zip",
    ),
    "pickle as safetensors": (renamed(runs(files.write_legacy), "a.safetensors"), "but it is a pickle file"),
    "whole model": (saved(NET), r"it names torch.nn.modules.linear.Linear"),
    "method": (saved({"state_dict": NET.state_dict}), r"model.state_dict where its result belongs.*without the call"),
    "method, legacy": (saved({"state_dict": NET.state_dict}, files.write_legacy), r"save model.state_dict\(\) instead"),
    "another method": (
        saved({"state_dict": NET.state_dict(), "hook": NET.half}),
        r"plain data only, but it names builtins.getattr \(under 'hook'\)",
    ),
    "namespace": (saved(files.namespace()), r"it names argparse.Namespace \(under 'args'\)"),
    "empty": (content(b""), r"it is empty \(0 bytes\)"),
    "html": (content(HTML), r"is a web page \(HTML\)"),
    "html as safetensors": (content(HTML, "a.safetensors"), r"is a web page \(HTML\)"),
    "pointer": (content(POINTER), "git-lfs pointer and not the file itself; run git lfs pull"),
    "pointer as safetensors": (content(POINTER, "a.safetensors"), "git-lfs pointer"),
    "noise": (content(b"\0\1\2\3" * 50), "must be a checkpoint .*but it begins with"),
    "gzip": (content(b"\x1f\x8b\x08 and so on"), "gzip-compressed; unpack it first"),
    "zstd": (content(b"\x28\xb5\x2f\xfd and so on"), "zstd-compressed; unpack it first"),
    "flax": (content(b"\x82\xa6params\x81", "flax_model.msgpack"), "it is a Flax file"),
    "onnx": (content(b"\x08\x07\x12\x07pytorch", "net.onnx"), "it is an ONNX model"),
    "tensorflow": (content(b"\x08\x01\x12\xff", "saved_model.pb"), "it is a TensorFlow graph"),
    "tensorflow, data": (content(b"\x08\x01", "model.ckpt.data-00000-of-00001"), "it is a TensorFlow checkpoint"),
    "keras": (archive("config.json", "model.weights.h5"), "it is a Keras model"),
    "torch.export": (archive("net/archive_format", "net/models/model.json"), "it is a program of torch.export"),
    "numpy": (archive("w.npy"), "it is a NumPy archive"),
    "zipped": (archive("net/best.pth"), "it is a zip archive around best.pth; unpack it first"),
    "other pickle": (lambda f: files.pickled({"a": 1}, f / "a.pkl"), "must be written by torch.save"),
    "json": (content(b'{"a": 1}', "a.json"), "must be an index: its 'weight_map'"),
    "json as torch": (content(b'{"a": 1}'), "but it is JSON; an index is named"),
    "cut json": (content(b'{"weight_map": {', "a.index.json"), "must be an index in JSON, but it is cut off"),
    "zip cut in half": (cut(ZIP, 0.5), "must end with a zip directory, but it is cut off after"),
    "legacy cut in the pickles": (cut(LEGACY, 0.3), "must be a whole checkpoint, but it is cut off or damaged"),
    "legacy cut in the data": (cut(LEGACY, 0.99), r"must have \d+ bytes, but it has \d+: it is cut off"),
    "safetensors cut": (cut(SAFE, 0.95), "must be a whole safetensors file"),
    "safetensors cut in the header": (cut(SAFE, 0.3), "must be a whole safetensors file"),
    "zip and more": (longer(ZIP), "must end with its zip directory, but 10 bytes follow"),
    "legacy and more": (longer(LEGACY), "it is followed by other bytes"),
    "safetensors and more": (longer(SAFE), "must be a whole safetensors file"),
    "deflated": (
        zipped(lambda n, d: [(n, d, DEFLATED if "data/0" in n else STORED)]),
        r"is compressed or encrypted \(\d+ bytes for 262144\)",
    ),
    "twice": (zipped(lambda n, d: [(n, d, STORED)] * (1 + n.endswith("data/0"))), "named once, got '.*data/0'"),
    "no data.pkl": (
        zipped(lambda n, d: [] if n.endswith("data.pkl") else [(n, d, STORED)]),
        "another kind of zip archive",
    ),
    "two folders": (zipped(lambda n, d: [("other/" + n if "data/0" in n else n, d, STORED)]), "in one folder"),
    "short record": (
        zipped(lambda n, d: [(n, d[:100] if "data/0" in n else d, STORED)]),
        "must have 262144 bytes, but its record has 100",
    ),
    "no record": (
        zipped(lambda n, d: [] if "data/0" in n else [(n, d, STORED)]),
        "must have 262144 bytes, but its record has 0",
    ),
    "no tensors": (
        saved({"a": 1, "b": "text", "c": [1], "d": None}),
        "must hold a dict of tensors by name, but no dict",
    ),
    "numbers for names": (saved({1: torch.ones(2)}), "must have names, but their keys are no strings"),
    "cyclic": (saved(files.cyclic()), "must hold a dict of tensors by name"),
    "deep": (lambda f: files.write_zip(files.deep(60), f), "must hold a dict of tensors by name"),
    "header too long": (content(files.header({}, length=1 << 40), "a.safetensors"), "must be a whole safetensors file"),
    "overlap": (
        content(files.header({"a": F32([2], 0, 8), "b": F32([2], 4, 12)}, b"\0" * 12), "a.safetensors"),
        "does not fit",
    ),
    "hole": (
        content(files.header({"a": F32([1], 0, 4), "b": F32([1], 8, 12)}, b"\0" * 12), "a.safetensors"),
        "does not fit",
    ),
    "overflow": (content(files.header({"a": F32([1 << 62, 8], 0, 4)}, b"\0" * 4), "a.safetensors"), "does not fit"),
    "larger than its bytes": (content(files.header({"a": F32([3], 0, 4)}, b"\0" * 4), "a.safetensors"), "does not fit"),
    "unknown dtype": (content(files.header({"a": F32([1], 0, 4, "F31")}, b"\0" * 4), "a.safetensors"), "F31"),
    "negative": (content(files.header({"a": F32([1], -4, 0)}, b"\0" * 4), "a.safetensors"), "does not fit"),
    "key twice": (content(files.header(TWICE, b"\0" * 4), "a.safetensors"), "'a' is there twice"),
    "no header": (content(files.header(b"[1, 2]"), "a.safetensors"), "must be a whole safetensors file"),
    "no tensor in it": (content(files.header({}), "a.safetensors"), "no dict in it has a tensor"),
    "index, ..": (
        index({"w": "../outside.safetensors"}),
        r"lie in the index's folder, but '../outside.safetensors' leads outside",
    ),
    "index, absolute": (index(lambda _, f: {"w": str(f / "outside.safetensors")}), "leads outside it"),
    "index, windows": (index({"w": "..\\outside.safetensors"}), "leads outside it"),
    "index, link": (index({"w": "link.safetensors"}), "'link.safetensors' leads outside it"),
    "index, itself": (index({"w": "model.safetensors.index.json"}), "every shard must be there"),
    "index, lost shard": (index({"w": "model-3.safetensors"}), "there is no file 'model-3.safetensors'"),
    "index, lost key": (
        index(lambda known, _: {**known, "lost": next(iter(known.values()))}),
        "must hold 'lost', as the index says",
    ),
    "index, no names": (index({"w": 3}), "must be an index"),
    "distributed, code": (with_code, "it names posix.system; nothing of it was run"),
    "distributed, lost": (without_file, "must be there, but '__0_0.distcp' is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_one_sentence(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each says what is wrong and where in one line; no code runs, whatever the environment says."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    make, message = BAD[case]
    path = make(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path.name) in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["code as safetensors", "pickle as safetensors"])
def test_trust_does_not_reach_a_wrong_name(name: str, tmp_path: Path) -> None:
    """A name that promises no code keeps its promise, also with trust=True."""
    with pytest.raises(CheckpointError, match="must be a safetensors file"):
        read(BAD[name][0](tmp_path), trust=True)
    assert not (tmp_path / "ran").exists()


def test_nothing_there(tmp_path: Path) -> None:
    """A path without a file, an empty folder, a crowded folder, and what is no path at all."""
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "none.pth")
    with pytest.raises(InputError, match="must hold one checkpoint, but it holds none"):
        read(tmp_path)
    files.write_zip(files.tensors(), tmp_path, "a.pth")
    files.write_zip(files.tensors(), tmp_path, "b.pth")
    with pytest.raises(InputError, match=r"it holds a\.pth, b\.pth; pass the file itself"):
        read(tmp_path)
    with pytest.raises(InputError, match="must be a path, a URL, or names with tensors, got int"):
        read(3)
    with pytest.raises(InputError, match="got an empty text"):
        read("")
    with pytest.raises(InputError, match=r"must be there to be read, but .* cannot be: File name too long"):
        read(tmp_path / f"{'n' * 300}.pth")


def test_shards_without_their_index(tmp_path: Path) -> None:
    """No one file of a folder of shards is the checkpoint."""
    files.write_shards(files.tensors(), tmp_path).unlink()
    with pytest.raises(InputError, match=r"index of its shards.*model-00001-of-00002.safetensors and 1 more only"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_one_handle_for_each_shard(suffix: str, tmp_path: Path) -> None:
    """Systems that allow a process few handles still load a model of many shards."""
    resource = pytest.importorskip("resource")
    source, model = (nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(40))) for _ in range(2))
    index = {}
    for name, value in source.state_dict().items():
        index[name] = f"shard-{name}{suffix}"
        save({name: value}, tmp_path / index[name])
    path = tmp_path / f"model{suffix}.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    load(model, source.state_dict())  # whatever is imported on the way
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 60, limits[1]))
    try:
        result = load(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert result.complete and len(result.loaded) == 40


def test_a_file_that_cannot_be_opened_is_not_damaged(tmp_path: Path) -> None:
    """Where a process has no file handles left, that is said, rather than that the file is missing or cut."""
    resource = pytest.importorskip("resource")
    path = files.write_safetensors(files.tensors(), tmp_path)
    read(path).close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot be opened: Too many open files"):
            read(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_method_in_a_mapping_is_explained() -> None:
    """A live dict with the notes' slip says what to call."""
    with pytest.raises(CheckpointError, match=r"call it, model.state_dict\(\)"):
        read({"state_dict": NET.state_dict})


def test_flipped_bit_in_a_zip_is_found(tmp_path: Path) -> None:
    """The checksum of a zip's record is compared when it is read or verified; listing stays instant."""
    path = files.write_zip(files.tensors(), tmp_path)
    files.flipped(path, files.data_position(path, "data/1"))
    checkpoint = read(path)
    assert checkpoint.tensor("z.weight").shape == (3, 4)
    checkpoint.verify(["z.weight"])
    with pytest.raises(CheckpointError, match="record '1' does not have the checksum"):
        checkpoint.tensor("a.bias")
    with pytest.raises(CheckpointError, match="record '1' does not have the checksum"):
        read(path).verify()
    files.flipped(path, files.data_position(path, "data.pkl"))
    with pytest.raises(CheckpointError, match=r"record 'data.pkl' does not have its checksum"):
        read(path)


def test_damaged_file_is_not_run(tmp_path: Path) -> None:
    """trust=True does not unpickle a file whose checksums are wrong."""
    path = runs(files.write_zip)(tmp_path)
    files.flipped(path, files.data_position(path))
    with pytest.raises(CheckpointError, match="the file is damaged"):
        read(path, trust=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("write", [files.write_zip, files.write_legacy, files.write_safetensors])
def test_hash_in_the_name_is_checked(write: Callable[..., Path], tmp_path: Path) -> None:
    """A name like net-5c106cde.pth promises a SHA-256; verify() holds the file to it. A date promises nothing."""
    path = write(files.tensors(), tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = path.rename(tmp_path / f"net-{digest[:8]}{path.suffix}")
    read(good).verify()
    for name in (f"net-20240131{path.suffix}", f"net-v2{path.suffix}"):
        good = good.rename(tmp_path / name)
        read(good).verify()
    wrong = good.rename(tmp_path / f"net-0badc0de{path.suffix}")
    with pytest.raises(CheckpointError, match=r"SHA-256 that begins with 0badc0de.*is no hash\)"):
        read(wrong).verify()


def test_tensor_outside_its_storage_is_refused(tmp_path: Path) -> None:
    """A shape larger than the storage behind it is an error, and never read."""
    path = files.write_zip({"w": torch.zeros(8, 8)}, tmp_path)

    def grown(name: str, data: bytes) -> list[tuple[str, bytes, int]]:
        # The pickle says K\x08K\x08 (8, 8): one of them becomes 9.
        return [(name, data.replace(b"K\x08K\x08", b"K\x09K\x08") if name.endswith(".pkl") else data, STORED)]

    with pytest.raises(CheckpointError, match=r"shape \(9, 8\) must lie inside its storage of 256 bytes"):
        read(files.rezip(path, grown))


def test_zip_with_two_faces_is_refused(tmp_path: Path) -> None:
    """A record named otherwise at its data than in the directory, or overlapping another, is refused."""
    path = files.write_zip({"a": torch.zeros(4), "b": torch.ones(4)}, tmp_path)
    data = path.read_bytes()
    first = data.index(b"net/data/1")
    path.write_bytes(data[:first] + b"net/data/0" + data[first + 10 :])
    with pytest.raises(CheckpointError, match="must have the same name in the directory and at its data"):
        read(path)


def test_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    """A tensor that two shards hold has two values; neither is taken."""
    index_path = files.write_shards(files.tensors(), tmp_path)
    again = {
        **{k: v for k, v in files.tensors().items() if k == "z.weight"},
        "a.bias": torch.ones(5, dtype=torch.float64),
    }
    weights = json.loads(index_path.read_text())["weight_map"]
    second = weights["a.bias"]
    files.write_safetensors(
        {**{k: files.tensors()[k] for k, s in weights.items() if s == second}, **again}, tmp_path, second
    )
    with pytest.raises(CheckpointError, match=r"must be in one shard, but 'z\.weight' is in"):
        read(index_path)


def test_damaged_shard_is_named(tmp_path: Path) -> None:
    """All shards are opened before any is used, and the bad one is named."""
    index_path = files.write_shards(files.tensors(), tmp_path)
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    os.truncate(shard, 50)
    with pytest.raises(CheckpointError, match=f"its shard '{shard.name}' cannot be used"):
        read(index_path)


def test_distributed_entry_with_code_is_refused(tmp_path: Path) -> None:
    """torch unpickles a folder's plain entries without restriction; here they must be data."""
    path = files.write_distributed({"w": torch.ones(2), "x": files.Runs(tmp_path / "ran")}, tmp_path)
    checkpoint = read(path)
    assert checkpoint.tensor("w").sum() == 2
    with pytest.raises(CheckpointError, match=r"entry 'x' must be plain data, but it names code; pass trust=True"):
        checkpoint.extras["x"]
    assert not (tmp_path / "ran").exists()


def test_file_that_grows_shorter_while_open(tmp_path: Path) -> None:
    """A file cut after it was listed is noticed before it is mapped, which would end the process."""
    checkpoint = read(files.write_safetensors({"w": torch.ones(100_000)}, tmp_path))
    os.truncate(tmp_path / "net.safetensors", 4096)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        checkpoint.tensor("w")


@pytest.mark.parametrize("levels", [1_000, 100_000])
def test_deep_container_does_not_overflow(levels: int, tmp_path: Path) -> None:
    """A hundred thousand levels of dicts end in a sentence, on the usual stack."""
    pickle = b"\x80\x02" + b"}X\x01\0\0\0a" * levels + b"}" + b"s" * levels + b"."
    path = files.write_zip({"w": torch.zeros(4)}, tmp_path)
    files.rezip(path, lambda name, data: [(name, pickle if name.endswith(".pkl") else data, STORED)])
    with pytest.raises(CheckpointError, match="must hold a dict of tensors by name"):
        read(path)


def test_tar_archives_are_told_apart(tmp_path: Path) -> None:
    """torch's first format needs code to be read; any other tar has to be unpacked, and a damaged one said so."""
    inside = files.write_zip(files.tensors(), tmp_path)
    for names, said in ((("net.pth",), "unpack it first"), (("sys_info", "pickle", "tensors", "storages"), "trust=")):
        with tarfile.open(tmp_path / "net.tar", "w") as archive:
            for name in names:
                archive.add(inside, name)
        with pytest.raises(CheckpointError, match=f"tar.*{said}"):
            read(tmp_path / "net.tar")
    data = (tmp_path / "net.tar").read_bytes()
    (tmp_path / "net.tar").write_bytes(data[:100] + b"\xff" * 100 + data[200:])
    with pytest.raises(CheckpointError, match="damaged tar"):
        read(tmp_path / "net.tar")


def test_names_that_move_the_cursor_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever prints a name out of a file (listing, plan, result, messages) prints it escaped, on its line."""
    bad = "\x1b[2Jx\nfxprof: all is well\u202e"
    net = nn.ModuleDict({f"fc{bad}": nn.Linear(2, 2), "out": nn.Linear(2, 2)})
    state = {**net.state_dict(), f"extra{bad}": torch.ones(3), f"out{bad}.weight": torch.ones(7, 7)}
    path = tmp_path / "net.pth"
    torch.save({f"run{bad}": {**state, "out.bias": torch.full((2,), torch.nan)}, f"epoch{bad}": 1}, path)

    printed = [str(read(path)), str(match(net, path)), str(load(net, path)), *map(str, load(net, path).changes)]
    load_pretrained_weights(net, path)
    printed.append(capsys.readouterr().out)
    for refused in (
        lambda: load(net, path, strict=True),
        lambda: load(nn.Linear(5, 5), path),
        lambda: load(net, path, container=f"other{bad}"),
        lambda: load(net, state, plan=Plan((Match(f"no{bad}", "out.bias", "exact"),))),
        lambda: load(net, state, plan=Plan((Match("out.bias", f"no{bad}", "exact"),))),
    ):
        with pytest.raises((CheckpointError, InputError)) as caught:
            refused()
        assert "\n" not in str(caught.value)
        printed.append(str(caught.value))

    for text in printed:
        assert all(line.isprintable() and not line.startswith("fxprof:") for line in text.split("\n")), text
    assert sum("\\x1b[2J" in text for text in printed) >= 7


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensor_is_refused(layout: torch.layout) -> None:
    """What has several shapes has none that could be matched."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nested tensors are a prototype
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)], layout=layout)
    model = nn.Linear(3, 2)
    for source in ({"weight": nested, "bias": torch.ones(2)}, {"net": {"weight": nested}}):
        for act in (load, match):
            with pytest.raises(CheckpointError, match="must have one shape, but one is nested"):
                act(model, source)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that is there and fails to be read is Linux's")
def test_a_file_that_fails_to_be_read() -> None:
    """What opens and then gives an error, as a damaged disk does, ends in a sentence."""
    with pytest.raises(CheckpointError, match="/proc/self/mem must be a file that can be read: Input/output error"):
        read("/proc/self/mem")
