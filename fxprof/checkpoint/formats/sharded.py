"""A sharded checkpoint: an index names the file of each tensor; every file is checked before any is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.reason import reason
from fxprof.checkpoint.formats.store import NOTHING, Store
from fxprof.checkpoint.unwrap import choose, find, items_of
from fxprof.errors import CheckpointError, FxprofError
from fxprof.records import TensorSpec

_LARGEST = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class InShard:
    """A tensor and the shard that holds it."""

    store: Store
    leaf: Any


class ShardedStore:
    """The tensors of all shards under the names of the index, in its order."""

    def __init__(self, shards: list[Store], tree: object, metadata: Mapping[str, Any]) -> None:
        self._shards = shards
        self.tree = tree
        self.metadata = metadata
        self.format = f"sharded {shards[0].format}" if shards else "sharded"

    def is_tensor(self, leaf: object) -> bool:
        """Whether the leaf is one of a shard's."""
        return isinstance(leaf, InShard)

    def spec(self, leaf: Any) -> TensorSpec:
        """Shape and dtype."""
        store: Store = leaf.store
        return store.spec(leaf.leaf)

    def tensor(self, leaf: Any) -> torch.Tensor:
        """Read it from its shard."""
        store: Store = leaf.store
        return store.tensor(leaf.leaf)

    def value(self, leaf: Any) -> Any:
        """The leaf."""
        return leaf

    def verify(self, leaves: Iterable[Any]) -> None:
        """Check each shard's own checksums."""
        by_shard: dict[int, list[InShard]] = {}
        for leaf in leaves:
            by_shard.setdefault(id(leaf.store), []).append(leaf)
        for group in by_shard.values():
            group[0].store.verify([one.leaf for one in group])

    def settled(self, leaves: Iterable[Any]) -> Store:
        """Itself: its shards were settled when they were opened."""
        return self

    def close(self) -> None:
        """Close every shard."""
        for shard in self._shards:
            shard.close()


def open_index(file: MappedFile, open_shard: Callable[[Path], Store]) -> Store:
    """Open all shards of an index. Raises CheckpointError unless they hold just what it says."""
    weights, metadata = read_index(file)
    folder = file.path.parent
    file.close()
    shards: dict[str, Store] = {}
    try:
        inside = {
            name: _open(folder / name, file.path, shards, name, open_shard) for name in dict.fromkeys(weights.values())
        }
        _check_unique(file.path, inside)
        tree: dict[str, Any] = {}
        for key, name in weights.items():
            if key not in inside[name]:
                raise CheckpointError(f"{file.path}: {name} must hold {key!r}, as the index says, but it does not")
            tree[key] = InShard(shards[name], inside[name][key])
        tree.update(_unlisted(inside, shards, weights))
    except BaseException:
        for shard in shards.values():
            shard.close()
        raise
    return ShardedStore(list(shards.values()), tree, metadata)


def read_index(file: MappedFile) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The index's map from tensor to file, with every file in its folder."""
    if file.size > _LARGEST:
        raise CheckpointError(f"{file.path} must be an index of at most {_LARGEST} bytes, got {file.size}")
    try:
        index = json.loads(file.peek(0, file.size))
    except (ValueError, RecursionError) as err:
        raise CheckpointError(
            f"{file.path} must be an index in JSON, but it is cut off or damaged: {reason(err)}"
        ) from err
    weights = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weights, dict) or not weights or not all(isinstance(name, str) for name in weights.values()):
        raise CheckpointError(
            f"{file.path} must be an index: its 'weight_map' must give each tensor the name of a file"
        )
    for name in dict.fromkeys(weights.values()):
        check_inside(file.path, name)
    metadata = index.get("metadata")
    return weights, metadata if isinstance(metadata, dict) else NOTHING


def check_inside(index: Path, name: str) -> None:
    """Raise CheckpointError for a shard outside the index's folder, by its path or by a link."""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    anchored = PurePosixPath(name).anchor or PureWindowsPath(name).anchor
    folder = index.parent.resolve()
    allowed = [folder]
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")  # the Hugging Face cache keeps a model's files there
    real = (folder / name).resolve() if not anchored and ".." not in parts and "\0" not in name else None
    if real is None or real == folder or not any(real.is_relative_to(place) for place in allowed):
        raise CheckpointError(f"{index}: every shard must lie in the index's folder, but {name!r} leads outside it")


def _open(
    path: Path, index: Path, shards: dict[str, Store], name: str, open_shard: Callable[[Path], Store]
) -> dict[str, Any]:
    """The named leaves of one shard."""
    if not path.is_file() or path.name.endswith(".json"):
        raise CheckpointError(f"{index}: every shard must be there, but there is no file {name!r} in {path.parent}")
    try:
        store = shards[name] = open_shard(path)
        found = choose(find(store.tree, store.is_tensor), None, str(path), store.is_tensor)
        leaves = {key: leaf for key, leaf in items_of(found.entries) if isinstance(key, str) and store.is_tensor(leaf)}
        settled = store.settled(leaves.values())
        if settled is not store:
            shards[name] = settled
            leaves = {key: leaf for key, leaf in items_of(settled.tree) if settled.is_tensor(leaf)}
        for leaf in leaves.values():
            shards[name].spec(leaf)
    except FxprofError as err:
        raise CheckpointError(f"{index}: its shard {name!r} cannot be used: {err}") from err
    return leaves


def _check_unique(index: Path, inside: Mapping[str, Mapping[str, Any]]) -> None:
    owner: dict[str, str] = {}
    for name, leaves in inside.items():
        for key in leaves:
            if owner.setdefault(key, name) != name:
                raise CheckpointError(
                    f"{index}: every tensor must be in one shard, but {key!r} is in {owner[key]} and {name}"
                )


def _unlisted(
    inside: Mapping[str, Mapping[str, Any]], shards: Mapping[str, Store], weights: Mapping[str, str]
) -> dict[str, InShard]:
    """Tensors that the index forgot: they are kept rather than dropped without a word."""
    return {
        key: InShard(shards[name], leaf)
        for name, leaves in inside.items()
        for key, leaf in leaves.items()
        if key not in weights
    }
