"""The model's side of a load: its tensors by name, and the part of a tensor that this process holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fxprof.errors import CheckpointError, InputError, not_made
from fxprof.records import Shape
from fxprof.views.text import listed


def check_model(model: object) -> None:
    """Raise InputError for what is no module, or one that was not made to the end."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be an nn.Module, got {type(model).__name__}")
    for path, module in _below(model):
        if missing := [part for part in ("_parameters", "_buffers", "_modules") if not hasattr(module, part)]:
            raise not_made(path, type(module).__name__, missing[0])


def _below(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The module and all below it with their paths, also where one lacks what ``named_modules`` reads."""
    seen: set[nn.Module] = set()
    pending = [("", model)]
    while pending:
        path, module = pending.pop()
        if module not in seen:
            seen.add(module)
            yield path, module
            for name, child in getattr(module, "_modules", {}).items():
                if child is not None:
                    pending.append((f"{path}.{name}" if path else name, child))


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers themselves, by their names in ``state_dict()``, in its order.

    Raises:
        CheckpointError: a parameter has no shape yet, or the model keeps its weights somewhere else.
    """
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise CheckpointError(
            f"every parameter must have a shape, but {listed(lazy)} have none before the first forward: "
            "run the model once on an input, then load"
        )
    flat = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "_flat_param"]
    if flat:
        raise CheckpointError(
            f"the weights are flattened by FullyShardedDataParallel ({listed(flat)}): "
            "load before wrapping, or use fully_shard"
        )
    own = {id(tensor) for tensor in everything(model)}
    # A hook may put copies into the state_dict: writing to those would change nothing.
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and id(tensor) in own
    }


def everything(model: nn.Module) -> Iterator[Tensor]:
    """Every parameter and buffer, persistent or not."""
    yield from model.parameters()
    yield from model.buffers()


def names_of(model: nn.Module) -> dict[int, str]:
    """The first name of each parameter and buffer, by identity."""
    named: dict[int, str] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        named.setdefault(id(tensor), name)
    return named


def identity(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are one: the same object, or the same elements of the same memory."""
    local = local_part(tensor)
    if local.is_meta or local.numel() == 0 or not has_memory(local):
        return (id(tensor),)
    return (local.device, local.data_ptr(), tuple(local.shape), local.stride(), local.dtype)


def memory(tensor: Tensor) -> int:
    """Where the memory starts that a tensor lives in; 0 where there is none."""
    local = local_part(tensor)
    return local.untyped_storage().data_ptr() if has_memory(local) and not local.is_meta else 0


def has_memory(local: Tensor) -> bool:
    """Whether the values lie in one memory of their own: not where a subclass keeps them in other tensors (torchao)."""
    return local.layout == torch.strided and not hasattr(type(local), "__tensor_flatten__")


# -- sharded tensors ---------------------------------------------------------------------------


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, of which this process holds a part."""
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def local_part(tensor: Tensor) -> Tensor:
    """The memory of this process: the tensor itself, or a DTensor's local shard."""
    if not is_sharded(tensor):
        return tensor
    local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local


def own_part(full: Tensor, target: Any) -> Tensor:
    """The slice of ``full`` that this process holds of ``target``: a view, no communication.

    Every process reads the same file, so each takes its own part of the mapped tensor.
    """
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh, part = target.device_mesh, full
    coordinate = mesh.get_coordinate()
    if coordinate is None:  # this process holds nothing of it
        return full.new_empty(0)
    if all(type(placement) in (Replicate, Shard) for placement in target.placements):
        for placement, count, index in zip(target.placements, mesh.shape, coordinate):
            if isinstance(placement, Shard):
                part = _chunk(part, placement.dim, count, index)
        return part
    placed: Tensor = distribute_tensor(full, mesh, target.placements, src_data_rank=None).to_local()
    return placed


def _chunk(tensor: Tensor, dim: int, count: int, index: int) -> Tensor:
    chunks = tensor.chunk(count, dim)  # as torch shards: the last ones may be shorter, or missing
    return chunks[index] if index < len(chunks) else tensor.narrow(dim, 0, 0)


# -- models on the meta device -----------------------------------------------------------------


@dataclass(frozen=True)
class Replacement:
    """One entry of a module's parameters or buffers that becomes another tensor."""

    table: dict[str, Any]
    key: str
    old: Tensor
    new: Tensor


def materialize(model: nn.Module, chosen: Mapping[int, Tensor]) -> list[Replacement]:
    """Where the meta tensors of ``chosen`` sit, and empty ones on the CPU to stand there instead.

    ``chosen`` holds tensors by identity. A tensor with two names gets one replacement, so it stays tied.
    """
    made: dict[int, Tensor] = {}
    found = []
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for key, old in table.items():
                if old is None or id(old) not in chosen:
                    continue
                if id(old) not in made:
                    made[id(old)] = _empty(old)
                found.append(Replacement(table, key, old, made[id(old)]))
    return found


@torch.inference_mode(False)  # so that the model can be trained afterwards
def _empty(old: Tensor) -> Tensor:
    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device="cpu")
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new, requires_grad=old.requires_grad)
    return new.requires_grad_(old.requires_grad)


def without_values(model: nn.Module, loaded: Mapping[int, Tensor]) -> list[str]:
    """Names of meta tensors that a load would leave without values."""
    named = names_of(model)
    return [named[id(tensor)] for tensor in everything(model) if tensor.is_meta and id(tensor) not in loaded]


# -- attention ---------------------------------------------------------------------------------


def owner(model: nn.Module, name: str) -> nn.Module:
    """The module that a parameter of this name is in."""
    return model.get_submodule(name.rpartition(".")[0])


def head_count(model: nn.Module, name: str, shape: Shape) -> int:
    """How many heads share the rows of a query or key projection: from its attention module's ``head_dim``.

    Raises:
        CheckpointError: no module around the parameter says how wide a head is.
    """
    path = name.rpartition(".")[0]
    while path:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
        width = _head_dim(module) or _head_dim(getattr(module, "config", None))
        if width:
            return shape[0] // width
    raise CheckpointError(f"rope needs the width of a head, and no module around {name!r} has a head_dim")


def _head_dim(holder: Any) -> int:
    width = getattr(holder, "head_dim", None)
    if isinstance(width, int):
        return width
    sizes = [getattr(holder, key, None) for key in ("hidden_size", "num_attention_heads")]
    if all(isinstance(size, int) and size for size in sizes):
        return int(sizes[0] // sizes[1])  # type: ignore[operator]
    return 0
