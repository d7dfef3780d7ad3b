"""What "the same" means: of a model before and after, and of two results."""

from __future__ import annotations

import dataclasses
import importlib
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

import fxprof


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything that must not change, by identity where identity matters."""
    state: dict[str, Any] = {}
    for path, part in model.named_modules(remove_duplicate=False):
        for key, value in vars(part).items():
            state[f"{path}:{key}"] = id(value)
            if isinstance(value, dict):  # parameters, buffers, modules, every kind of hook
                state[f"{path}:{key}:items"] = [(name, id(item)) for name, item in value.items()]
            elif isinstance(value, (list, set)):
                state[f"{path}:{key}:items"] = [id(item) for item in value]
        state[f"{path}:training"] = part.training
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state[f"tensor:{name}"] = (
            id(tensor),
            tensor._version,
            tensor.requires_grad,
            tensor.data_ptr(),
            tensor.grad is None,
        )
    return state


def process() -> dict[str, Any]:
    """Generators, defaults and the functions that other tools like to patch."""
    spaces = {
        "torch": torch,
        "functional": nn.functional,
        "Tensor": Tensor,
        "Module": nn.Module,
        "linalg": torch.linalg,
    }
    patched = {f"{name}.{key}": id(value) for name, space in spaces.items() for key, value in vars(space).items()}
    return {
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "modes": torch.overrides._len_torch_function_stack()
        if hasattr(torch.overrides, "_len_torch_function_stack")
        else 0,
        **{key: value for key, value in patched.items() if not key.startswith("torch._")},
    }


def warmed_up() -> None:
    """Torch fills in some of its own attributes on the first use of a function, and of its compiler."""
    fxprof.analyze(nn.Conv2d(1, 1, 1), (1, 1, 1, 1))
    importlib.import_module("torch._dynamo")


def tensors(result: Any) -> list[Tensor]:
    """The tensors in a result, dataclasses opened."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, entry.name) for entry in dataclasses.fields(result)]
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def assert_same(model: nn.Module, graph_module: fx.GraphModule, *args: Any, **kwargs: Any) -> None:
    """Both return the same numbers in the same structure, from the same random state."""
    with torch.no_grad():
        torch.manual_seed(0)
        expected = model(*args, **kwargs)
        torch.manual_seed(0)
        actual = graph_module(*args, **kwargs)
    assert type(actual) is type(expected)
    pairs = list(zip(tensors(expected), tensors(actual), strict=True))
    assert pairs
    assert all(torch.equal(a, b) for a, b in pairs)
