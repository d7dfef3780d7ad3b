"""``trust=True``: files that hold code. Called only for what the restricted readers refuse."""

from __future__ import annotations

import pickle
import types
import warnings
from pathlib import Path
from typing import Any

import torch

from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import MemoryStore, Store
from fxprof.checkpoint.unwrap import items_of
from fxprof.errors import CheckpointError

_DEPTH = 8


def open_trusted(path: Path, kind: str) -> Store:
    """Run the file: unpickle it, or load its TorchScript program; modules become their state_dicts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = _load(path, kind)
        except Exception as err:  # the file's own code may raise anything
            raise CheckpointError(
                f"{path} could not be loaded with trust=True: {reason(err)}; "
                "the classes it names must be importable here"
            ) from err
    return MemoryStore(plain(loaded, trust=True), f"trusted {kind}")


def plain(tree: object, trust: bool, depth: int = 0) -> object:
    """Modules become their state_dicts, a method ``state_dict`` is called, NumPy arrays become tensors.

    Raises CheckpointError for such a method without ``trust``, as it would be code of the file's.
    """
    if isinstance(tree, torch.nn.Module):
        return dict(tree.state_dict())
    if isinstance(tree, types.MethodType) and isinstance(tree.__self__, torch.nn.Module):
        return _called(tree, trust)
    # A scalar of NumPy's has the interface too, and is a number of the training's, not a tensor of no axes.
    if type(tree).__module__ == "numpy" and type(tree).__name__ == "ndarray":
        return _from_numpy(tree)
    if depth > _DEPTH or not isinstance(tree, dict) or "param_groups" in tree:
        return tree
    return {key: plain(value, trust, depth + 1) for key, value in items_of(tree)}


def _called(method: types.MethodType, trust: bool) -> object:
    name = method.__name__
    if name != "state_dict" or not trust:
        raise CheckpointError(
            f"the checkpoint holds the method model.{name} where its result belongs: call it, model.{name}(), "
            "before it is saved or passed; trust=True calls it here"
        )
    return dict(method())


def _from_numpy(array: Any) -> object:
    if array.dtype.kind not in "biufc":  # strings, objects
        return array
    # torch takes neither foreign byte orders nor negative strides.
    array = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    if any(step < 0 for step in array.strides):
        array = array.copy()
    try:
        return torch.from_numpy(array)
    except TypeError:  # float128
        return array


def _load(path: Path, kind: str) -> object:
    if kind == "torchscript":
        script: object = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return script
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=False)
        return loaded
    except RuntimeError as err:
        if "magic number" not in str(err):
            raise
    with path.open("rb") as stream:  # a plain pickle, as detectron2 and Caffe2 write
        return pickle.load(stream, encoding="latin1")
