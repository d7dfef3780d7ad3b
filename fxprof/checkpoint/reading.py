"""Open a checkpoint of any format, list it without its tensors, and read a tensor when asked for.

    open_path / fetch -> Store (formats/) -> find, choose (unwrap.py) -> Checkpoint

Nothing of a file runs unless ``trust=True``. A listing reads headers and the pickled structure only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import torch

from fxprof.checkpoint.devices import on_cpu
from fxprof.checkpoint.formats.folder import is_index
from fxprof.checkpoint.formats.mapped import MappedFile
from fxprof.checkpoint.formats.opening import open_path
from fxprof.checkpoint.formats.sharded import read_index
from fxprof.checkpoint.formats.store import MemoryStore, Store
from fxprof.checkpoint.formats.trusted import plain
from fxprof.checkpoint.listing import listing, to_dict
from fxprof.checkpoint.plan import Container
from fxprof.checkpoint.remote import check_name_hash, fetch, is_url, name_hash
from fxprof.checkpoint.suiting import suited
from fxprof.checkpoint.unwrap import choose, describe, extras_of, find, items_of
from fxprof.errors import CheckpointError, InputError, check_flag, shown
from fxprof.records import Shape, TensorSpec


class Checkpoint:
    """A checkpoint opened for reading: ``specs`` now, ``tensor(name)`` when wanted.

    ``specs`` are the tensors of the chosen dict in the file's order; ``container`` says which dict
    that is, which others there are and what else the file holds, ``extras`` gives the latter.
    """

    @on_cpu()
    def __init__(self, store: Store, path: Path | None = None, container: str | Container | None = None) -> None:
        self.path = path
        self._hash_checked = False
        self._is_chosen = container is not None  # by whoever asks for it
        found = find(store.tree, store.is_tensor)
        chosen = choose(found, container, self._where, store.is_tensor, store.tree)
        settled = store.settled(_named_tensors(chosen.entries, store).values())
        if settled is not store:
            again = describe(chosen, found, store.tree, store.is_tensor)
            store = settled
            found = find(store.tree, store.is_tensor)
            chosen = choose(found, again, self._where, store.is_tensor)
        self._store = store
        self._leaves = _named_tensors(chosen.entries, store)
        if not self._leaves:
            raise CheckpointError(f"the tensors in {self._where} must have names, but their keys are no strings")
        self.specs: Mapping[str, TensorSpec] = {name: store.spec(leaf) for name, leaf in self._leaves.items()}
        self.container = describe(chosen, found, store.tree, store.is_tensor)
        self.extras: Mapping[str, Any] = Extras(store, dict(extras_of(chosen, store.tree, store.is_tensor)))
        self.format = store.format
        self.metadata: Mapping[str, Any] = {**store.metadata, **_versions(chosen.entries)}

    @property
    def _where(self) -> str:
        return str(self.path) if self.path is not None else "the mapping"

    def suited(self, model: Mapping[str, Shape]) -> Checkpoint:
        """This checkpoint, or another of its dicts of tensors, or several as one, that fit a model's names and shapes.

        Raises CheckpointError where two fit equally well.
        """
        store = self._store
        if self._is_chosen or not self.container.alternatives:
            return self
        found = find(store.tree, store.is_tensor)
        default = next(one for one in found if one.path == self.container.path)
        chosen = suited(found, default, model, store, self._where)
        return self if chosen is default else self.taken(describe(chosen, found, store.tree, store.is_tensor))

    def taken(self, container: Container) -> Checkpoint:
        """What a plan says that it was made with; this checkpoint where that is not in the file."""
        if self._is_chosen or (container.path == self.container.path and not container.joined):
            return self
        other = Checkpoint(self._store, self.path, container)
        other._hash_checked = self._hash_checked
        return other

    @on_cpu()
    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU: a view on the mapped file where the format allows.

        Its checksum is compared first, once, where the format has one. Raises InputError for a
        name that is not in ``specs``, CheckpointError for damaged data.
        """
        return self._store.tensor(self._leaf(name))

    def _leaf(self, name: object) -> Any:
        if not isinstance(name, str) or name not in self._leaves:
            raise InputError(f"a tensor's name must be one of the checkpoint's {len(self.specs)}, got {shown(name)}")
        return self._leaves[name]

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Check these tensors (all by default) against the file's checksums, and the hash in its name.

        This reads them whole, once; ``load`` calls it before anything is changed. safetensors and
        legacy files have no checksum of their own. Raises InputError for a name that is not in
        ``specs``, CheckpointError for damaged data.
        """
        if names is not None and (isinstance(names, str) or not isinstance(names, Iterable)):
            raise InputError(f"names must be a list of the checkpoint's names, got {shown(names)}")
        leaves = list(self._leaves.values()) if names is None else [self._leaf(name) for name in names]
        if self.path is not None and self.path.is_file() and name_hash(self.path.name):
            if not self._hash_checked:
                check_name_hash(self.path)
            self._hash_checked = True
            return  # a hash of the whole file says more than its checksums
        self._store.verify(leaves)

    def close(self) -> None:
        """Close the file; tensors handed out stay valid."""
        self._store.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def to_dict(self) -> dict[str, Any]:
        """The listing as plain data."""
        return to_dict(self)

    def __str__(self) -> str:
        return listing(self)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.path or 'in memory'}: {len(self.specs)} tensors, {self.format}>"


class Extras(Mapping[str, Any]):
    """What a file holds beside the chosen tensors; an entry's own tensors are read when it is asked for."""

    def __init__(self, store: Store, raw: dict[str, Any]) -> None:
        self._store = store
        self._raw = raw
        self._read: dict[str, Any] = {}

    @on_cpu()
    def __getitem__(self, name: str) -> Any:
        if name not in self._read:
            self._read[name] = _filled(self._raw[name], self._store)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"Extras({', '.join(self._raw)})"


@on_cpu()
def read(source: Any, trust: bool = False, container: str | None = None) -> Checkpoint:
    """Open a checkpoint; no tensor is read.

    Args:
        source: A path or URL (http, https, file; s3 and others where fsspec is installed) of a
            torch file, safetensors, a sharded index, a folder holding one of these or written by
            torch.distributed.checkpoint; or a mapping of names to tensors, or a module.
        trust: Run the code that a file holds (whole models, TorchScript); never without it.
        container: Dotted path of the dict to take where a file holds several, as "state_dict_ema".

    Raises:
        InputError: There is no such file, or no such container.
        CheckpointError: The file is damaged, or is not what it must be, or would run code.
    """
    check_flag("trust", trust)
    if container is not None and not isinstance(container, str):
        raise InputError(f"container must be the dotted path of a dict in the file, got {shown(container)}")
    if isinstance(source, Checkpoint):
        return source if container is None else Checkpoint(source._store, source.path, container)
    if isinstance(source, torch.nn.Module):
        return Checkpoint(MemoryStore(dict(source.state_dict())), None, container)
    if isinstance(source, Mapping):
        tree = source if isinstance(source, dict) else dict(source.items())
        return Checkpoint(MemoryStore(plain(tree, trust)), None, container)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"a checkpoint must be a path, a URL, or names with tensors, got {type(source).__name__}")
    if source == "":
        raise InputError("a checkpoint must be a path, a URL, or names with tensors, got an empty text")
    if isinstance(source, str) and is_url(source):
        return _read_url(source, trust, container)
    path = Path(source).expanduser()
    return Checkpoint(open_path(path, trust), path, container)


@on_cpu()
def content(path: Path) -> Any:
    """Everything in a file that holds no weights, such as an optimizer's own; no code of it runs."""
    store = open_path(path, trust=False)
    return _filled(store.tree, store)


def _read_url(url: str, trust: bool, container: str | None) -> Checkpoint:
    path, cached = fetch(url)
    try:
        return _fetched(url, path, trust, container)
    except CheckpointError:
        if not cached:
            raise
    # What was in the cache is damaged: once more from its source.
    path, _ = fetch(url, again=True)
    return _fetched(url, path, trust, container)


def _fetched(url: str, path: Path, trust: bool, container: str | None) -> Checkpoint:
    _fetch_shards(url, path)
    checkpoint = Checkpoint(open_path(path, trust), path, container)
    checkpoint._hash_checked = urlsplit(url).scheme != "file"  # fetch() did
    return checkpoint


def _fetch_shards(url: str, path: Path) -> None:
    """Beside an index from a URL belong the files that it names, from beside the URL."""
    if not is_index(path.name) or urlsplit(url).scheme == "file":
        return
    weights, _ = read_index(MappedFile(path))
    for name in dict.fromkeys(weights.values()):
        fetch(urljoin(url, quote(name)), (path.parent / name).parent)


def _named_tensors(entries: Mapping[Any, Any], store: Store) -> dict[str, Any]:
    return {name: leaf for name, leaf in items_of(entries) if isinstance(name, str) and store.is_tensor(leaf)}


def _filled(node: Any, store: Store, memo: dict[int, Any] | None = None) -> Any:
    """A copy with the tensors read; what contains itself does so again."""
    memo = {} if memo is None else memo
    if store.is_tensor(node):
        return store.tensor(node)
    if id(node) in memo:
        return memo[id(node)]
    if isinstance(node, dict):
        filled: dict[Any, Any] = {}
        memo[id(node)] = filled
        for key, value in items_of(node):
            filled[key] = _filled(value, store, memo)
        return filled
    if type(node) is list:
        items: list[Any] = []
        memo[id(node)] = items
        items.extend(_filled(value, store, memo) for value in node)
        return items
    return tuple(_filled(value, store, memo) for value in node) if type(node) is tuple else store.value(node)


def _versions(entries: Mapping[Any, Any]) -> dict[str, Any]:
    """The modules' version numbers that state_dict() attaches, where they are what they must be."""
    try:
        attached = vars(entries).get("_metadata")
    except TypeError:  # a plain dict has no attributes
        return {}
    return {"_metadata": attached} if isinstance(attached, dict) else {}
