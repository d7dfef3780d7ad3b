"""MODEL strings: from ``resnet50`` or ``timm:vit_base_patch16_224`` to a model and its default input.

A zoo's name builds the architecture only: nothing is downloaded, and by default no memory is taken for
weights. Its default input is what the zoo itself says of it, so that a model added there tomorrow needs
nothing here. The zoos are imported when one of their names is built, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fxprof.sweep import plain
from fxprof.zoo import timm_models, torchvision_models, transformers_models, users_code
from fxprof.zoo.common import Built, arguments
from fxprof.zoo.users_code import surroundings

__all__ = ["Built", "build", "names", "surroundings"]

# Prefix of the MODEL string -> what lists its names. Torchvision's have none.
_NAMES: dict[str, Callable[[], list[str]]] = {
    "": torchvision_models.names,
    "timm": timm_models.names,
    "hf": transformers_models.names,
}


def build(spec: str, device: str = "meta", options: Mapping[str, Any] | None = None, *, inputs: bool = True) -> Built:
    """Build the model that ``spec`` names. Raises InputError when there is none, or it fails.

    ``spec`` is a torchvision name, ``timm:NAME``, ``hf:MODEL_TYPE``, ``package.module:callable`` or
    ``path/to/file.py:callable`` (a function or class that returns a module, or a module). ``?key=value&...`` behind it
    are keyword arguments for what builds the model; for ``hf:``, keys of the configuration. ``options`` are more of
    them. ``device="meta"`` builds a zoo's model without memory for its weights; buffers keep their values. User code
    runs as it is. Without ``inputs`` the default input is not worked out, which takes a moment for some of
    transformers' models.
    """
    prefix, colon, name = spec.partition(":")
    if prefix == "hf" and colon:
        return transformers_models.build(name, device, options or {}, inputs=inputs)
    named, mark, query = spec.partition("?")
    given = {key: plain(value) for key, value in arguments(spec, query).items()} | dict(options or {})
    built = _built(named, device, given)
    return replace(built, name=spec) if mark else built


def _built(named: str, device: str, options: Mapping[str, Any]) -> Built:
    prefix, colon, name = named.partition(":")
    if named.endswith(".py"):
        raise users_code.file_alone(named)
    if not colon:
        return torchvision_models.build(named, device, options)
    if prefix == "timm":
        return timm_models.build(name, device, options)
    return users_code.build(named, options)


def names(prefix: str = "") -> list[str]:
    """All names of a zoo: torchvision's, or after ``timm:`` or ``hf:``."""
    return _NAMES[prefix]()
