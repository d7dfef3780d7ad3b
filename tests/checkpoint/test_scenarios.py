"""The everyday scenarios of loading, L1 to L16, one test each."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from fxprof.checkpoint.groups import param_groups
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.matching import match
from fxprof.checkpoint.reading import read
from fxprof.checkpoint.saving import save
from fxprof.checkpoint_tools import load_pretrained_weights
from fxprof.errors import CheckpointError
from tests.checkpoint.nets import Net, Renamed, made, same, snapshot, unchanged
from tests.checkpoint.server import serving


class Longer(Net):
    """A layer more."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__(classes)
        self.conv3 = nn.Conv2d(6, 6, 3)


def saved(content: Any, path: Path) -> Path:
    """A torch file."""
    torch.save(content, path)
    return path


@pytest.fixture
def source() -> Any:
    """A trained model, say."""
    return made(Net, seed=1)


def test_l1_state_dict_into_the_same_model(source: Any, tmp_path: Path) -> None:
    """All keys load, nothing is left."""
    model = made(Net)
    result = load(model, saved(source.state_dict(), tmp_path / "f.pth"))
    assert same(model, source)
    assert result.complete
    assert result.coverage.model == result.coverage.checkpoint == 1


def test_l2_container(source: Any, tmp_path: Path) -> None:
    """A training script's file is unwrapped; the other entries are reported and available."""
    model = made(Net)
    for best in ("best_acc1", "best_acc"):
        content = {"epoch": 90, "arch": "net", "state_dict": source.state_dict(), best: 76.1, "optimizer": {}}
        result = load(model, saved(content, tmp_path / "model_best.pth.tar"))
        assert same(model, source)
        assert result.container.path == ("state_dict",)
        assert set(result.container.extras) == {"epoch", "arch", best, "optimizer"}
        assert (result.extras["epoch"], result.extras[best]) == (90, 76.1)


def test_l3_data_parallel(source: Any, tmp_path: Path) -> None:
    """With or without ``module.``, on either side."""
    for wrapped_file in (True, False):
        file = saved((nn.DataParallel(source) if wrapped_file else source).state_dict(), tmp_path / "f.pth")
        for wrapped_model in (True, False):
            model = made(Net)
            assert load(nn.DataParallel(model) if wrapped_model else model, file).complete
            assert same(model, source)


def test_l4_a_layer_more(source: Any, tmp_path: Path) -> None:
    """The rest loads; the new layer keeps its initialization and is listed."""
    model = made(Longer)
    fresh = model.conv3.weight.detach().clone()
    result = load(model, saved(source.state_dict(), tmp_path / "f.pth"))
    assert result.missing_keys == ("conv3.weight", "conv3.bias")
    assert torch.equal(model.conv3.weight, fresh)
    assert same(model, source)


def test_l5_a_layer_less(tmp_path: Path) -> None:
    """The checkpoint's extra keys are listed, the rest loads."""
    model, longer = made(Net), made(Longer, seed=1)
    result = load(model, saved(longer.state_dict(), tmp_path / "f.pth"))
    assert result.unexpected_keys == ("conv3.weight", "conv3.bias")
    assert same(model, {name: value for name, value in longer.state_dict().items() if "conv3" not in name})


@pytest.mark.parametrize("change", [{"middle": 32}, {"classes": 10}])
def test_l6_another_shape(change: dict[str, int], source: Any, tmp_path: Path) -> None:
    """The layer is left and listed with both shapes, the rest loads."""
    model = made(Net, **change)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = load(model, saved(source.state_dict(), tmp_path / "f.pth"))
    theirs = source.state_dict()
    wanted = {
        name: (tuple(value.shape), tuple(theirs[name].shape))
        for name, value in before.items()
        if value.shape != theirs[name].shape
    }
    assert result.mismatched_keys == wanted
    assert same(model, {name: before[name] if name in wanted else theirs[name] for name in before})


def test_l7_other_names(source: Any, tmp_path: Path) -> None:
    """Keys match by structure, shown before they are applied; what is ambiguous is refused and shown."""
    model = made(Renamed).eval()
    file = saved(source.state_dict(), tmp_path / "f.pth")
    before = snapshot(model)
    plan = match(model, file)
    assert "stem" in str(plan)
    assert unchanged(model, before)
    load(model, file, plan=plan)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(model(x), source.eval()(x))
    twins = nn.ModuleDict({"left": nn.Linear(3, 3), "right": nn.Linear(3, 3)})
    before = snapshot(twins)
    names = {"left": "alpha", "right": "omega"}
    other = {names[k.partition(".")[0]] + "." + k.partition(".")[2]: v + 1 for k, v in twins.state_dict().items()}
    shown = match(twins, other)
    assert set(shown.ambiguous) == set(twins.state_dict())
    with pytest.raises(CheckpointError, match="nothing was loaded"):
        load(twins, other)
    assert unchanged(twins, before)


def test_l8_chosen_keys(source: Any, tmp_path: Path) -> None:
    """include and exclude choose by pattern."""
    file = saved(source.state_dict(), tmp_path / "f.pth")
    assert load(made(Net), file, include=["conv1.*"]).loaded == ("conv1.weight", "conv1.bias")
    model = made(Net)
    fc = model.fc.weight.detach().clone()
    result = load(model, file, exclude=["fc.*"])
    assert torch.equal(model.fc.weight, fc)
    assert set(result.loaded) == {name for name in source.state_dict() if not name.startswith("fc")}


def test_l9_whole_model(source: Any, tmp_path: Path) -> None:
    """A pickled model is refused because it runs code, and loads by trust=True."""
    file = saved(source, tmp_path / "model.pth")
    model = made(Net)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="trust") as info:
        load(model, file)
    assert "\n" not in str(info.value)
    assert unchanged(model, before)
    load(model, file, trust=True)
    assert same(model, source)


def test_l10_state_dict_without_the_call(source: Any, tmp_path: Path) -> None:
    """The method where its result should be: said so, and loaded by trust=True."""
    file = saved({"epoch": 1, "state_dict": source.state_dict}, tmp_path / "f.pth")
    model = made(Net)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="state_dict"):
        load(model, file)
    assert unchanged(model, before)
    load(model, file, trust=True)
    assert same(model, source)


def test_l11_optimizer_state(source: Any, tmp_path: Path) -> None:
    """Training goes on bit-identically; with a new head, its state starts fresh and the old one's is listed."""

    def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3, 4, 4)).square().sum().backward()
        optimizer.step()

    optimizer = torch.optim.Adam(source.parameters(), lr=0.01)
    step(source, optimizer)
    file = saved({"state_dict": source.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "f.pth")
    model, other = made(Net), made(Net, classes=2)
    resumed = torch.optim.Adam(model.parameters())
    load(model, file, optimizer=resumed)
    for _ in range(2):
        step(source, optimizer)
        step(model, resumed)
    assert same(model, source)
    follow = load(other, file, optimizer=torch.optim.Adam(other.parameters())).optimizer
    assert follow is not None
    assert follow.fresh == follow.dropped == ("fc.weight", "fc.bias")


def test_l12_freeze(source: Any, tmp_path: Path) -> None:
    """What was loaded is frozen, the rest is for the optimizer; or both get their own rates."""
    file = saved(source.state_dict(), tmp_path / "f.pth")
    model = made(Longer)
    result = load(model, file, freeze=True)
    assert [id(p) for p in result.trainable_parameters] == [id(model.conv3.weight), id(model.conv3.bias)]
    model = made(Longer)
    groups = param_groups(model, load(model, file), lr=0.001, new_lr=0.1)
    assert [(group["lr"], len(group["params"])) for group in groups] == [(0.001, 8), (0.1, 2)]


def test_l13_url(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with its hash in the name is fetched once into the hub's folder, and again when it is damaged."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    buffer = io.BytesIO()
    torch.save(source.state_dict(), buffer)
    name = f"net-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    with serving() as files:
        files.content[name] = buffer.getvalue()
        for _ in range(2):
            model = made(Net)
            load(model, files.url(name))
            assert same(model, source)
        assert len(files.log) == 1
        cached = next(tmp_path.rglob(name))
        cached.write_bytes(buffer.getvalue()[:-99])
        model = made(Net)
        load(model, files.url(name))
        assert same(model, source)
        assert cached.read_bytes() == buffer.getvalue()


def test_l14_strict(source: Any, tmp_path: Path) -> None:
    """One error names every missing, unexpected and mismatched key; the model is untouched."""
    state = source.state_dict()
    state["extra.w"] = state.pop("conv1.bias")[:1]
    model = made(Longer, classes=2)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match="strict=True") as info:
        load(model, saved(state, tmp_path / "f.pth"), strict=True)
    for name in ("conv1.bias", "conv3.weight", "conv3.bias", "extra.w", "fc.weight", "fc.bias"):
        assert repr(name) in str(info.value)
    assert unchanged(model, before)


def test_l15_load_pretrained_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The two lists between rules of 80 asterisks; a file without batch counters is fine."""
    torch.manual_seed(1)
    state = {k: v for k, v in resnet50().state_dict().items() if not k.endswith("num_batches_tracked")}
    model = resnet50(num_classes=2)
    load_pretrained_weights(model, saved(state, tmp_path / "resnet50.pth"))
    lines = capsys.readouterr().out.splitlines()
    rules = [index for index, line in enumerate(lines) if line == "*" * 80]
    assert rules[0] == 0
    assert rules[-1] == len(lines) - 1
    assert len(rules) == 3
    assert "discarded due to unmatched keys or layer size" in lines[1]
    assert [line.strip() for line in lines[2 : rules[1]]] == ["fc.weight", "fc.bias"]
    assert "successfully loaded" in lines[rules[1] + 1]
    loaded = [line.strip() for line in lines[rules[1] + 2 : rules[2]]]
    assert loaded == [name for name in state if not name.startswith("fc")]
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in loaded)
    load_pretrained_weights(resnet50(num_classes=2), tmp_path / "resnet50.pth", verbose=False)
    assert capsys.readouterr().out == ""


L16 = """
import resource, sys
import torch
from fxprof.checkpoint.loading import load
from fxprof.checkpoint.matching import match
model = torch.nn.Linear(512, 512)
match(model, sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert load(model, sys.argv[1], include=["*"], force=True).loaded == ("weight", "bias")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_l16_dtypes_and_mapping(source: Any, tmp_path: Path) -> None:
    """Half into single precision and back; of a mapped file only what is wanted is read."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    model = made(Net)
    result = load(model, saved(half, tmp_path / "half.pth"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {(c.kind, c.text) for c in result.changes} == {("dtype", "float16 to float32")}
    model = made(Net).half()
    load(model, saved(source.state_dict(), tmp_path / "full.pth"))
    assert same(model, half)
    big = {"weight": torch.ones(512, 512), "bias": torch.ones(512)}
    big |= {f"other.{i}": torch.ones(4096, 4096) for i in range(6)}  # 400 MB
    for file in (tmp_path / "big.pth", tmp_path / "big.safetensors"):
        save(big, file)
        done = subprocess.run([sys.executable, "-c", L16, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 50_000, "kilobytes"
        file.unlink()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("trust", [False, True], ids=["state_dict", "whole model"])
def test_l16_a_gpu_that_is_not_here(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, trust: bool
) -> None:
    """A file whose tensors lay on a GPU that no machine has load onto the CPU, its optimizer's state too."""
    optimizer = torch.optim.AdamW(source.parameters())
    source(torch.ones(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:99")
        saved_model = source if trust else source.state_dict()
        content = {"state_dict": saved_model, "optimizer": optimizer.state_dict()}
        torch.save(content, tmp_path / "gpu.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "gpu.pth", weights_only=False)  # what the location does where nobody minds it
    model = made(Net)
    resumed = torch.optim.AdamW(model.parameters())
    load(model, tmp_path / "gpu.pth", optimizer=resumed, trust=trust)
    assert same(model, source)
    states = resumed.state_dict()["state"], optimizer.state_dict()["state"]
    assert states[0].keys() == states[1].keys() != set()
    for here, there in zip(states[0].values(), states[1].values()):
        assert all(torch.equal(here[name], there[name]) for name in there)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_l16_devices(source: Any, tmp_path: Path) -> None:
    """Saved on a GPU and loaded on the CPU, and the other way round."""
    moved = {name: value.cuda() for name, value in source.state_dict().items()}
    model = made(Net)
    load(model, saved(moved, tmp_path / "gpu.pth"))
    assert same(model, source)
    on_gpu = made(Net).cuda()
    load(on_gpu, saved(source.state_dict(), tmp_path / "cpu.pth"))
    assert same(on_gpu, moved)
    assert all(tensor.is_cuda for tensor in on_gpu.state_dict().values())
    load(on_gpu, moved)
    assert read(tmp_path / "gpu.pth").tensor("fc.bias").device == torch.device("cpu")
    turned: Tensor = torch.empty(6, 5, device="cuda").T  # its copies need a temporary on the GPU
    on_gpu.fc.weight = nn.Parameter(turned)
    load(on_gpu, tmp_path / "cpu.pth")
    assert same(on_gpu, moved)
