"""Which file of a folder is the checkpoint; what trainers and hubs put beside it is none."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from fxprof.errors import InputError
from fxprof.views.text import listed

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
# An index names the files of its tensors; transformers and diffusers write that of a variant as *.index.fp16.json.
_INDEX = re.compile(r"\.index(\.[^.]+)?\.json$")
# Files that trainers put beside the weights.
_BESIDE = (
    "training_args", "optimizer", "scheduler", "rng_state", "random_states", "scaler", "sampler", "dl_state_dict",
    "custom_checkpoint",
)  # fmt: skip
_PARTITIONED = "_optim_states.pt"  # DeepSpeed's, one per process
_SHARD = re.compile(r"\d+-of-\d+")
_WHOLE = re.compile(r"0*1-of-0*1(?!\d)")  # the only shard
_USUAL = ("model.safetensors", "pytorch_model.bin", "model.pth", "model.pt")
_MANY = 1000  # entries of a folder that are looked at for a hint


def is_index(name: str) -> bool:
    """Whether a file of this name is a sharded checkpoint's index.

    >>> is_index("model.safetensors.index.json"), is_index("model.safetensors.index.fp16.json"), is_index("a.json")
    (True, True, False)
    """
    return _INDEX.search(name) is not None


def in_folder(folder: Path) -> Path:
    """The one checkpoint of a folder: an index before files, usual names before others, plain ones before variants."""
    indexes = sorted(path for path in folder.glob("*.json") if is_index(path.name))
    if plain := [path for path in indexes if path.name.endswith(".index.json")]:
        return min(plain, key=lambda path: ("safetensors" not in path.name, path.name))
    files = _weights(folder)
    for name in _USUAL:
        if folder / name in files and not _has_more(folder / name, files):
            return folder / name
    whole = [path for path in files if not _SHARD.search(path.name)]
    if not whole and len(indexes) == 1:
        return indexes[0]
    if (indexes or len(whole) == len(files)) and (found := _plainest(whole)) is not None:
        return found
    if len(files) == 1 and _WHOLE.search(files[0].name) and not indexes:
        return files[0]
    if files and not whole and not indexes:
        raise InputError(
            f"the folder {folder} must hold the index of its shards, a file *.index.json, but it holds "
            f"{listed([path.name for path in files], 1)} only; get the index too"
        )
    held = listed([path.name for path in (*indexes, *files)]) or "none"
    raise InputError(f"the folder {folder} must hold one checkpoint, but it holds {held}; {_instead(folder, files)}")


def _has_more(first: Path, files: list[Path]) -> bool:
    """Whether other models lie beside one: accelerate numbers them, model_1.safetensors and so on."""
    others = (path.stem.removeprefix(f"{first.stem}_") for path in files if path.suffix == first.suffix)
    return any(rest.isdecimal() for rest in others)


def _weights(folder: Path) -> list[Path]:
    """Files that may hold weights, by their names."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    return [path for path in files if not path.name.startswith(_BESIDE) and not path.name.endswith(_PARTITIONED)]


def _plainest(files: list[Path]) -> Path | None:
    """The only file; or, of one name in several variants and formats, that without a variant, safetensors first."""
    if len(files) == 1:
        return files[0]
    if len({path.name.split(".")[0] for path in files}) != 1:
        return None
    plain = [path for path in files if path.name.count(".") == 1]
    best = [path for path in plain if path.suffix == ".safetensors"] or plain
    return best[0] if len(best) == 1 else None


def _instead(folder: Path, files: list[Path]) -> str:
    """What to pass: a file, or one of the folders in it that hold checkpoints (of a trainer, of a pipeline)."""
    if files:
        return "pass the file itself"
    below = [path for path in islice(folder.iterdir(), _MANY) if path.is_dir()]
    found = sorted(path.name for path in below if (path / ".metadata").is_file() or _weights(path))
    return f"pass one of the folders in it: {listed(found)}" if found else "pass the file itself"
