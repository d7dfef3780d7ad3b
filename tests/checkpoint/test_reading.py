"""Reading good checkpoints: every format, lazily, from any container."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxprof.checkpoint import reading
from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.matching import match_names
from fxprof.checkpoint.plan import Target
from fxprof.checkpoint.reading import read
from fxprof.errors import CheckpointError, InputError
from tests.checkpoint import files

MIB = 1 << 20


def check_same(checkpoint: reading.Checkpoint, wanted: dict[str, torch.Tensor]) -> None:
    """Names, shapes, dtypes and values are those that were saved."""
    assert set(checkpoint.specs) == set(wanted)
    for name, value in wanted.items():
        spec, got = checkpoint.specs[name], checkpoint.tensor(name)
        assert (spec.shape, f"torch.{spec.dtype}") == (tuple(value.shape), str(value.dtype))
        assert got.dtype == value.dtype and got.device.type == "cpu" and torch.equal(got, value)


@pytest.mark.parametrize("form", files.WRITERS)
def test_every_format_gives_back_what_was_saved(form: str, tmp_path: Path) -> None:
    """Names, shapes, dtypes and values survive each format."""
    with read(files.WRITERS[form](files.tensors(), tmp_path)) as checkpoint:
        check_same(checkpoint, files.tensors())
        checkpoint.verify()


@pytest.mark.parametrize("form", [form for form in files.WRITERS if form not in ("safetensors", "distributed")])
def test_file_order_is_kept(form: str, tmp_path: Path) -> None:
    """Formats that have an order keep it; safetensors sorts, and the metadata of a folder is what it is."""
    assert list(read(files.WRITERS[form](files.tensors(), tmp_path)).specs) == list(files.tensors())


def test_mapping_and_module_are_sources(tmp_path: Path) -> None:
    """A dict of tensors, a training script's dict and a module read like files."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    check_same(read(files.tensors()), files.tensors())
    check_same(read(net), net.state_dict())
    nested = read({"epoch": 3, "state_dict": net.state_dict()})
    check_same(nested, net.state_dict())
    assert nested.extras["epoch"] == 3 and nested.path is None
    assert read(nested) is nested


def test_path_may_be_text_folder_or_file_url(tmp_path: Path) -> None:
    """str, Path, a file:// URL and the folder around the only checkpoint mean the same."""
    path = files.write_zip(files.tensors(), tmp_path)
    for source in (path, str(path), path.as_uri(), tmp_path):
        check_same(read(source), files.tensors())


def test_folder_with_an_index_reads_all_shards(tmp_path: Path) -> None:
    """The index in a folder goes before its shards; what trainers put beside it is no checkpoint."""
    files.write_shards(files.tensors(), tmp_path)
    files.write_zip({"lr": 1}, tmp_path, "training_args.bin")
    check_same(read(tmp_path), files.tensors())


def test_the_index_of_a_variant(tmp_path: Path) -> None:
    """Hubs name the index of a variant *.index.fp16.json; plain weights go before it."""
    index = files.write_shards(files.tensors(), tmp_path)
    index.rename(tmp_path / "model.safetensors.index.fp16.json")
    check_same(read(tmp_path), files.tensors())
    whole = files.write_safetensors({"w": torch.ones(2)}, tmp_path, "model.safetensors")
    check_same(read(tmp_path), {"w": torch.ones(2)})
    whole.rename(tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "second.safetensors.index.fp32.json").write_text("{}", encoding="utf-8")
    check_same(read(tmp_path / "model.safetensors.index.fp16.json"), files.tensors())


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("net.bin", "net.safetensors", "net.fp16.safetensors", "net.non_ema.bin"), "net.safetensors"),
        (("net.pth", "net.ema.pth"), "net.pth"),
        (("shard-00001-model-00001-of-00001.safetensors",), "shard-00001-model-00001-of-00001.safetensors"),
        (("model.safetensors", "optimizer.bin", "random_states_0.pkl", "sampler.bin"), "model.safetensors"),
        (("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"), "mp_rank_00_model_states.pt"),
    ],
)
def test_the_weights_of_a_folder(names: tuple[str, ...], chosen: str, tmp_path: Path) -> None:
    """One name in several variants and formats is one checkpoint; what trainers put beside it is none."""
    for name in names:
        write = files.write_safetensors if name.endswith("safetensors") else files.write_zip
        write({name: torch.ones(1)}, tmp_path, name)
    check_same(read(tmp_path), {chosen: torch.ones(1)})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("checkpoint-2/model.safetensors", "checkpoint-4/model.safetensors"), "folders in it: checkpoint-2, checkp"),
        (("a.fp16.safetensors", "a.fp32.safetensors"), "it holds a.fp16.safetensors, a.fp32.safetensors; pass the fi"),
        (("a.safetensors", "b.safetensors"), "it holds a.safetensors, b.safetensors; pass the file itself"),
        (
            ("model.safetensors", "model_1.safetensors"),
            "it holds model.safetensors, model_1.safetensors; pass the file",
        ),
        (("model-00001-of-00002.bin",), "but it holds model-00001-of-00002.bin only; get the index too"),
        (("logs/events.txt",), "but it holds none; pass the file itself"),
    ],
)
def test_a_folder_of_several(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A trainer's output or a pipeline holds checkpoints in folders: they are named, none is chosen."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=said):
        read(tmp_path)


def test_hub_cache_links_are_inside(tmp_path: Path) -> None:
    """A hub's cache links its snapshot to a folder of blobs beside it."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    index = files.write_shards(files.tensors(), blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    check_same(read(snapshot / index.name), files.tensors())


@pytest.mark.parametrize("form", files.WRITERS)
def test_listing_reads_no_tensor(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and shapes come from headers: the file is not mapped, and nothing of its size is allocated."""
    big = {f"w{i}": torch.zeros(MIB) for i in range(8)}
    path = files.WRITERS[form](big, tmp_path)
    monkeypatch.setattr(MappedFile, "storage", lambda *args: pytest.fail("a tensor was read"))
    read(path).close()  # whatever is imported on first use
    tracemalloc.start()
    with read(path) as checkpoint:
        assert str(checkpoint) and checkpoint.to_dict()["bytes"] == 8 * 4 * MIB
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    tracemalloc.stop()


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("size", [5_000_000_000, 200_000_000_000])
def test_large_file_is_listed_in_no_memory(size: int, tmp_path: Path) -> None:
    """A file of 5 GB, and one larger than any memory here, is listed at once, and a tensor of it read."""
    path = files.sparse_file(tmp_path / "big.safetensors", size, 2000)
    gc.collect()
    before, start = resident(), time.perf_counter()
    with read(path) as checkpoint:
        text = str(checkpoint)
        seconds = time.perf_counter() - start
        assert "layers.{0..1999}.weight" in text and sum(s.nbytes for s in checkpoint.specs.values()) > 0.99 * size
        assert resident() - before < 50 * MIB
        assert checkpoint.tensor("layers.1999.weight")[-1] == 0
    # A wide margin: the figure itself belongs to the benchmarks.
    assert seconds < 5


def test_tensor_is_a_private_view(tmp_path: Path) -> None:
    """A tensor shares the file's pages, may be written to, outlives close(), and never changes the file."""
    path = files.write_zip({"w": torch.ones(1000)}, tmp_path)
    before = path.read_bytes()
    checkpoint = read(path)
    one, two = checkpoint.tensor("w"), checkpoint.tensor("w")
    assert one.data_ptr() == two.data_ptr()
    checkpoint.close()
    one.mul_(5)
    assert two.sum() == 5000 and path.read_bytes() == before
    with pytest.raises(InputError, match=r"one of the checkpoint's 1, got 'v'"):
        checkpoint.tensor("v")


@pytest.mark.parametrize("length", [123, 640, 0x4B50, 0x8B1F])
def test_header_length_is_no_magic_number(length: int, tmp_path: Path) -> None:
    """A safetensors header may be as long as "{", a pickle, "PK" or gzip read as numbers."""
    text = json.dumps({"w": files.entry([1], 0, 4)}).encode().ljust(length)
    (tmp_path / "net.pt").write_bytes(files.header(text, b"\0" * 4))
    assert read(tmp_path / "net.pt").format == "safetensors"


def test_closed_checkpoint_says_so(tmp_path: Path) -> None:
    """Reading a first tensor after close() is an error of ours."""
    checkpoint = read(files.write_zip({"w": torch.ones(10)}, tmp_path))
    checkpoint.close()
    with pytest.raises(InputError, match="was closed"):
        checkpoint.tensor("w")


@pytest.mark.parametrize("save", [files.write_zip, files.write_legacy])
def test_training_checkpoint_is_unwrapped(save: Any, tmp_path: Path) -> None:
    """The weights are found, the rest is named and can be had, the optimizer's tensors too."""
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    saved = {
        "epoch": 9,
        "arch": "net",
        "state_dict": net.state_dict(),
        "best": 0.5,
        "optimizer": optimizer.state_dict(),
    }
    checkpoint = read(save(saved, tmp_path, "net.pth.tar"))
    check_same(checkpoint, net.state_dict())
    assert checkpoint.container.path == ("state_dict",)
    assert checkpoint.container.extras == ("epoch", "arch", "best", "optimizer")
    assert not checkpoint.container.alternatives
    assert checkpoint.metadata["_metadata"][""] == {"version": 1}
    got, want = checkpoint.extras["optimizer"], optimizer.state_dict()
    assert got["param_groups"] == want["param_groups"]
    assert all(torch.equal(got["state"][i]["momentum_buffer"], want["state"][i]["momentum_buffer"]) for i in (0, 1))


@pytest.mark.parametrize(
    "keys",
    [
        *("state_dict", "model", "model_state_dict", "module", "net", "network", "ema", "state_dict_ema", "model_ema"),
        *("params", "params_ema", "weights", "generator", "ckpt.state_dict", "anything", "a.b.c"),
    ],
)
def test_container_is_found(keys: str) -> None:
    """Any container's name works, and nested ones."""
    tree: Any = {"w": torch.ones(2), "b": torch.ones(1)}
    for key in reversed(keys.split(".")):
        tree = {"epoch": 1, key: tree}
    checkpoint = read(tree)
    assert list(checkpoint.specs) == ["w", "b"] and checkpoint.container.path == tuple(keys.split("."))


def test_raw_weights_before_averaged_ones() -> None:
    """Of raw and averaged weights the raw ones are taken, said so, and the others can be had by name."""
    raw, averaged = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    for ema in ("state_dict_ema", "model_ema", "ema", "params_ema"):
        tree = {ema: averaged, "state_dict": raw}
        assert read(tree).tensor("w").sum() == 0
        assert read(tree).container.alternatives == {ema: 1}
        assert read(tree, container=ema).tensor("w").sum() == 2
        assert read(tree, container=ema).container.alternatives == {"state_dict": 1}
    with pytest.raises(
        InputError, match=r"must name a dict of tensors.*'nope'; it holds 'state_dict_ema', 'state_dict'"
    ):
        read({"state_dict_ema": averaged, "state_dict": raw}, container="nope")


def test_optimizer_is_never_the_model() -> None:
    """Tensors of an optimizer do not win, however many they are."""
    tree = {"optimizer": {"exp_avg": {str(i): torch.ones(1) for i in range(50)}}, "stuff": {"w": torch.ones(1)}}
    assert read(tree).container.path == ("stuff",)


def test_state_beside_tensors_is_no_container() -> None:
    """A module's extra state, with a tensor in it, does not hide the module's own tensors."""
    tree = {**{f"w{i}": torch.ones(1) for i in range(5)}, "model": {"state": torch.ones(1)}}
    assert read(tree).container.path == () and len(read(tree).specs) == 5


def test_other_entries_are_extras() -> None:
    """Strings, lists, None and keys that are no strings lie beside the tensors, named."""
    checkpoint = read({"w": torch.ones(1), "note": "x", "shape": [1, 2], "none": None, 3: torch.ones(2)})
    assert list(checkpoint.specs) == ["w"]
    assert checkpoint.container.extras == ("note", "shape", "none", "3")
    assert dict(checkpoint.extras, **{"3": 0}) == {"note": "x", "shape": [1, 2], "none": None, "3": 0}


@pytest.mark.parametrize("save", [files.write_zip, files.write_legacy])
def test_poisoned_objects_are_read(save: Any, tmp_path: Path) -> None:
    """Attributes named like methods are never called, and do not come along."""
    checkpoint = read(save(files.poisoned(), tmp_path))
    assert checkpoint.tensor("p").size() == (2,) and checkpoint.specs["w"].shape == (2, 3)
    assert read(files.poisoned_here()).tensor("p").size() == (2,)


def test_container_in_itself_ends(tmp_path: Path) -> None:
    """A container that contains itself is searched once; with tensors beside it is read."""
    tree = files.cyclic()
    with pytest.raises(CheckpointError, match="must hold a dict of tensors by name"):
        read(files.write_zip(tree, tmp_path))
    tree["net"] = {"w": torch.ones(1)}
    checkpoint = read(files.write_zip(tree, tmp_path))
    assert checkpoint.container.path == ("net",)
    assert checkpoint.extras["state_dict"]["state_dict"] is checkpoint.extras["state_dict"]


def test_stretched_tensor_stays_small(tmp_path: Path) -> None:
    """A tensor of 40 GB on one element is listed, given as a view, and never made."""
    path = files.write_zip({"w": torch.ones(1).expand(100_000, 100_000)}, tmp_path)
    checkpoint = read(path)
    assert checkpoint.specs["w"].shape == (100_000, 100_000)
    tensor = checkpoint.tensor("w")
    assert tensor.stride() == (0, 0) and tensor.untyped_storage().nbytes() == 4


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:Sparse", "ignore:Validating sparse")
@pytest.mark.parametrize("save", [files.write_zip, files.write_legacy])
def test_other_layouts_are_read_by_torch(save: Any, tmp_path: Path) -> None:
    """Quantized, sparse, conjugated and meta tensors come back as what they are, to be refused by name later."""
    values = {
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "conj": torch.tensor([1 + 2j]).conj(),
        "meta": torch.empty(3, device="meta"),
        "w": torch.ones(2),
    }
    for names in (list(values), ["sparse", "w"], ["conj", "meta", "w"]):
        checkpoint = read(save({name: values[name] for name in names}, tmp_path))
        for name in names:
            got = checkpoint.tensor(name)
            assert got.layout == values[name].layout and got.is_quantized == values[name].is_quantized
            assert checkpoint.specs[name].shape == tuple(values[name].shape)
            assert got.is_meta or torch.equal(got.to_dense() if got.is_sparse else got, values[name].to_dense()
                                              if got.is_sparse else values[name])  # fmt: skip


def test_listing_groups_numbered_blocks(tmp_path: Path) -> None:
    """The text shows one line for the blocks of a shape; the data form shows each."""
    net = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(12)))
    checkpoint = read(files.write_zip({"model": net.state_dict(), "ema": net.state_dict(), "epoch": 1}, tmp_path))
    text = str(checkpoint)
    assert "{0..11}.weight" in text and "24 tensors, 240 elements" in text
    assert "other tensors, with container=: ema (24)" in text and "also in it: epoch" in text
    data = json.loads(json.dumps(checkpoint.to_dict()))
    assert data["tensors"]["3.bias"] == {"shape": [4], "dtype": "float32"} and data["elements"] == 240


def test_numbers_in_names_may_be_of_any_length() -> None:
    """Thousands of digits, leading zeros and digits of other scripts are listed as they are, and matched."""
    names = [f"layer.{number}.w" for number in ("1", "01", "9" * 5000, "9" * 5001, "\u0663")]
    values = {name: torch.ones(2) for name in names}
    assert all(name in str(read(values)) for name in names)
    plan = match_names(dict.fromkeys(names, (2,)), Target(dict.fromkeys([*names, "other.0.w"], (2,))))
    assert {found.target: found.source for found in plan.matches} == {name: name for name in names}


@pytest.mark.filterwarnings("ignore:.*not writable:UserWarning")
def test_arrays_of_any_layout_become_tensors() -> None:
    """Without axes, in the other byte order, backwards; a NumPy scalar and texts are none."""
    table = torch.arange(6.0).reshape(2, 3).numpy()
    given = {
        "none": table.sum(keepdims=True).reshape(()),
        "swapped": table.astype(">f8"),
        "back": table[::-1],
        "n": table[0, 1],
    }
    checkpoint = read({**given, "texts": table.astype(str)})
    assert {name: tuple(spec.shape) for name, spec in checkpoint.specs.items()} == {
        "none": (), "swapped": (2, 3), "back": (2, 3)
    }  # fmt: skip
    assert checkpoint.tensor("none") == 15 and checkpoint.tensor("swapped").sum() == 15
    assert checkpoint.tensor("back")[0].tolist() == [3, 4, 5]


@given(st.dictionaries(st.text(max_size=20), st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=8))
def test_any_names_and_shapes_survive(tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]]) -> None:
    """Whatever the names, both formats of torch give back the shapes and values in order."""
    folder = tmp_path_factory.mktemp("any")
    values = {
        name: torch.randn(shape) for name, shape in shapes.items() if not 0xD800 <= ord((name or " ")[0]) < 0xE000
    }
    if not values:
        return
    for save in (files.write_zip, files.write_legacy):
        with read(save(values, folder)) as checkpoint:
            assert list(checkpoint.specs) == list(values)
            check_same(checkpoint, values)


@pytest.mark.skipif(not hasattr(torch.serialization, "set_crc32_options"), reason="this torch always writes sums")
def test_saved_without_checksums_is_read(tmp_path: Path) -> None:
    """torch can be told to leave the checksums out; then there is nothing to compare."""
    torch.serialization.set_crc32_options(False)
    try:
        path = files.write_zip(files.tensors(), tmp_path)
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = read(path)
    checkpoint.verify()
    check_same(checkpoint, files.tensors())


def test_trusted_files_are_read(tmp_path: Path) -> None:
    """With trust=True: a whole model, a TorchScript program, a method that was not called, a plain pickle."""
    net = torch.nn.Linear(2, 3)
    whole = files.write_zip(net, tmp_path, "whole.pth")
    slip = files.write_zip({"epoch": 1, "state_dict": net.state_dict}, tmp_path, "slip.pth")
    arrays = files.pickled({"model": {"w": torch.ones(2).numpy()}}, tmp_path / "arrays.pkl")
    old = files.write_legacy({"net": net}, tmp_path)
    for path in (whole, slip, old):
        check_same(read(path, trust=True), net.state_dict())
    assert read(slip, trust=True).extras["epoch"] == 1
    assert read(arrays, trust=True).tensor("w").sum() == 2
    check_same(read({"state_dict": net.state_dict}, trust=True), net.state_dict())


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_needs_trust(tmp_path: Path) -> None:
    """A TorchScript archive is a program: named as one, and read with trust=True."""
    net = torch.nn.Linear(2, 3)
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError, match=r"TorchScript archive, which is a program; pass trust=True"):
        read(tmp_path / "net.pt")
    check_same(read(tmp_path / "net.pt", trust=True), net.state_dict())


def test_distributed_folder_keeps_its_nesting(tmp_path: Path) -> None:
    """A folder of torch.distributed.checkpoint unwraps like a file, and plain entries are extras."""
    values = {"model": files.tensors(), "epoch": 5}
    checkpoint = read(files.write_distributed(values, tmp_path))
    assert checkpoint.container.path == ("model",) and checkpoint.extras["epoch"] == 5
    check_same(checkpoint, files.tensors())
