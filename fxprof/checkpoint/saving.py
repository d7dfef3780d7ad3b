"""``save``: a model's state_dict into a file that is the old one or the new one, at every moment.

The suffix says the format: ``.safetensors``, or ``.pt`` ``.pth`` ``.bin`` ``.ckpt`` ``.tar`` for torch's own.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from fxprof.checkpoint import targets
from fxprof.errors import CheckpointError, InputError, shown
from fxprof.replacing import replace

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES)
_WRAPPERS = ("module", "_orig_mod")


def save(model: nn.Module | Mapping[str, Any], path: str | os.PathLike[str], **extras: Any) -> None:
    """Write the weights of ``model`` (or a state_dict) to ``path``, with ``extras`` beside them.

    A torch file holds the plain state_dict, or ``{"state_dict": …, **extras}`` where there are extras. A
    safetensors file keeps extras as JSON in its metadata and one copy of tensors that share memory.
    Wrappers (DataParallel, torch.compile) leave no prefix. Sharded tensors are gathered; the first process writes.

    Raises:
        CheckpointError: something cannot be written in this format, or the file cannot be written.
    """
    path = check_path(path)
    if isinstance(model, nn.Module):
        targets.check_model(model)
        model = _unwrapped(model).state_dict()
    state = _gathered(_checked(model))
    if state is None:  # another process writes
        return
    if path.suffix == ".safetensors":
        tensors, metadata = _for_safetensors(state, extras)
        _replace(path, lambda beside: _write_safetensors(tensors, beside, metadata))
        return
    if "state_dict" in extras:
        raise CheckpointError("an extra cannot be called 'state_dict', which holds the weights")
    _replace(path, lambda beside: _write_torch({"state_dict": state, **extras} if extras else state, beside))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    try:
        replace(path, write)
    except (OSError, RuntimeError) as err:  # torch reports a full disk as RuntimeError
        reason = getattr(err, "strerror", None) or str(err).strip().split("\n")[0]
        raise CheckpointError(f"cannot write {str(path)!r}: {reason}; the file is as it was") from err


def check_path(path: str | os.PathLike[str]) -> Path:
    """Refuse, before any work is done, what ``save`` would refuse. Raises InputError."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"the file to write must be a path, got {shown(path)}")
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"the file to write must end in {', '.join(SUFFIXES)}, got {str(path)!r}")
    try:
        # A pipe or a device would be replaced by a file.
        what = "" if path.is_file() else "it is no regular file" if path.exists() else ""
        what = "it is a folder" if path.is_dir() else what
        what = what or ("" if path.absolute().parent.is_dir() else "no such folder")
        path.resolve()
    except (OSError, ValueError, RuntimeError) as err:  # too long, a zero byte in it, links in a circle
        what = getattr(err, "strerror", None) or str(err)
    if what:
        raise InputError(f"cannot write {str(path)!r}: {what}")
    return path


def _checked(state: Any) -> Mapping[str, Any]:
    """Refuse what is no state_dict, and what has no values to write."""
    if not isinstance(state, Mapping):
        raise InputError(f"what to save must be a module or a mapping of names to tensors, got {type(state).__name__}")
    for name, value in state.items():
        if isinstance(value, UninitializedParameter | UninitializedBuffer):
            raise CheckpointError(f"{name!r} has no shape before the first forward: run the model once, then save")
        if isinstance(value, Tensor) and value.is_meta:
            raise CheckpointError(f"{name!r} is on the meta device and has no values to save")
    return state


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile, in any order."""
    while type(model).__name__ in ("DataParallel", "DistributedDataParallel", "OptimizedModule"):
        model = next(getattr(model, name) for name in _WRAPPERS if isinstance(getattr(model, name, None), nn.Module))
    return model


def _gathered(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The state with whole tensors; None in every process but the first, if any tensor is sharded."""
    if not any(isinstance(value, Tensor) and targets.is_sharded(value) for value in state.values()):
        return state
    import torch.distributed as dist

    first = dist.get_rank() == 0
    whole: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and targets.is_sharded(value):
            value = value.full_tensor()  # type: ignore[attr-defined]  # a collective: every process takes part
        if first:
            whole[name] = value.cpu() if isinstance(value, Tensor) else value
    return whole if first else None


def _write_torch(content: Any, path: Path) -> None:
    try:
        torch.save(content, path)
    except (pickle.PicklingError, AttributeError, TypeError) as err:
        raise CheckpointError(f"torch cannot write this: {err}") from err


# -- safetensors -------------------------------------------------------------------------------


def _for_safetensors(state: Mapping[str, Any], extras: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors without shared memory, and the metadata: extras, and which name stands for which other."""
    metadata = {"format": "pt"} | {name: _json(name, value) for name, value in extras.items()}
    tensors: dict[str, Tensor] = {}
    first: dict[Any, str] = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise CheckpointError(f"safetensors needs texts as names, and {name!r} is {type(name).__name__}: use .pt")
        if not isinstance(value, Tensor):
            raise CheckpointError(f"safetensors holds tensors only, and {name!r} is {type(value).__name__}: use .pt")
        _check_dense(name, value)
        kept = first.setdefault(targets.identity(value), name)
        if kept == name:
            tensors[name] = value.detach()
        elif name in metadata:
            raise CheckpointError(f"the extra {name!r} has the name of a tensor that shares its memory with {kept!r}")
        else:
            metadata[name] = kept  # as safetensors.torch.save_model does
    return _apart(tensors), metadata


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, each with memory of its own."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage()
        alone = memory.data_ptr() not in seen and memory.nbytes() == tensor.nbytes
        seen.add(memory.data_ptr())
        apart[name] = tensor.contiguous() if alone else tensor.clone(memory_format=torch.contiguous_format)
    return apart


def _check_dense(name: str, tensor: Tensor) -> None:
    if not targets.has_memory(tensor) or tensor.is_quantized or tensor.is_meta:
        raise CheckpointError(f"safetensors holds dense tensors with values only, and {name!r} is none: use .pt")


def _json(name: str, value: Any) -> str:
    cause = None
    try:
        text = json.dumps(value, allow_nan=False)
        if json.loads(text) == value:
            return text
    except (TypeError, ValueError, RecursionError) as err:
        cause = err
    raise CheckpointError(
        f"safetensors keeps extras as JSON, and {name!r} ({type(value).__name__}) would not come back as it is: use .pt"
    ) from cause


def _write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
    except KeyError as err:  # its table of dtypes
        raise CheckpointError(f"safetensors has no dtype for {err}: use .pt") from err
    except (SafetensorError, ValueError) as err:
        raise CheckpointError(f"safetensors cannot hold these tensors: {err}") from err
