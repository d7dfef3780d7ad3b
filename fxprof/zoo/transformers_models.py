"""``hf:MODEL_TYPE[?key=value&...]``: an architecture of transformers from its default configuration, without weights.

The keys are those of the configuration, dotted for its parts: ``hf:llama?num_hidden_layers=2`` and
``hf:llava?text_config.num_hidden_layers=2``. Overrides are given to the configuration's constructor, so that what it
works out from them (the kinds of layers, the size of a head) follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fxprof.errors import InputError
from fxprof.zoo.common import Built, arguments, close, constructed, extra, first_line
from fxprof.zoo.transformers_inputs import default_inputs

_AUTO = "transformers.models.auto"
# Kept by every configuration for its own ends; none of them is a choice of architecture.
_BOOKKEEPING = frozenset(["model_type", "transformers_version", "architectures", "_name_or_path"])
_WORDS = {"true": True, "false": False, "none": None}


def build(text: str, device: str, options: Mapping[str, Any], *, inputs: bool = True) -> Built:
    """Build ``MODEL_TYPE[?key=value&...]``. Raises InputError where transformers has no such type or key."""
    kind, _, query = text.partition("?")
    transformers = extra("transformers")
    if kind not in names():
        hint = (
            close(kind, names()) or "; it must be one such as bert or llama: no checkpoint is downloaded for its name"
        )
        raise InputError(f"transformers' AutoModel has no model type {kind!r}{hint}")
    config = configuration(kind, {**arguments(f"hf:{text}", query), **options})
    try:
        model = constructed(lambda: transformers.AutoModel.from_config(config), device, fall_back=False)
    except Exception as err:
        raise InputError(f"hf:{text} failed to build: {type(err).__name__}: {first_line(err)}") from err
    kwargs, left_out = default_inputs(model) if inputs else ({}, {})
    return Built(f"hf:{text}", model, (), kwargs, left_out)


def names() -> list[str]:
    """The model types of transformers' AutoModel."""
    known = extra(f"{_AUTO}.configuration_auto").CONFIG_MAPPING_NAMES
    return sorted(set(extra(f"{_AUTO}.modeling_auto").MODEL_MAPPING_NAMES) & set(known))


# -- configurations --------------------------------------------------------------------------------


def configuration(kind: str, overrides: Mapping[str, Any]) -> Any:
    """The default configuration of a model type with dotted ``overrides``. Raises InputError on a bad one."""
    mapping = extra(f"{_AUTO}.configuration_auto").CONFIG_MAPPING
    try:
        default = mapping[kind]()
    except Exception as err:
        raise InputError(f"hf:{kind} has no default configuration: {type(err).__name__}: {first_line(err)}") from err
    if not overrides:
        return default
    values: dict[str, Any] = {}
    for key, value in overrides.items():
        _put(values, default, key, value, kind)
    try:
        return type(default)(**_arguments(default, values))
    except Exception as err:
        said = " ".join(str(err).split())
        raise InputError(f"hf:{kind} cannot be configured so: {type(err).__name__}: {said}") from err


def parts(config: Any) -> dict[str, Any]:
    """The configurations that a configuration holds, by the attribute that holds them."""
    return {key: value for key, value in vars(config).items() if hasattr(value, "to_diff_dict")}


def keys(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every key that can be overridden, dotted, with its default."""
    found = {prefix + alias: getattr(config, name, None) for alias, name in config.attribute_map.items()}
    for key, value in vars(config).items():
        if key in parts(config):
            found |= keys(value, f"{prefix}{key}.")
        elif not key.startswith("_") and key not in _BOOKKEEPING:
            found[prefix + key] = value
    return found


def _put(values: dict[str, Any], default: Any, key: str, value: Any, kind: str) -> None:
    """Enter one dotted override; text is read by the type of its default."""
    known = keys(default)
    if key not in known:
        ending = [name for name in known if name.endswith(f".{key}")]
        hint = f"; did you mean {' or '.join(ending[:3])}" if ending else close(key, list(known))
        raise InputError(f"hf:{kind} has no configuration key {key!r}{hint}")
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        default = getattr(default, part)
    values[default.attribute_map.get(last, last)] = _read(value, known[key], f"hf:{kind}?{key}")


def _read(given: Any, default: Any, where: str) -> Any:
    """A value for a key whose default is ``default``."""
    value = given
    if isinstance(given, str) and not isinstance(default, str):
        with suppress(ValueError):
            value = _WORDS[given.lower()] if given.lower() in _WORDS else json.loads(given)
    fits: dict[type, Any] = {bool: bool, int: int, float: (int, float), list: list, tuple: list, dict: dict}
    wanted = next((kind for kind in fits if isinstance(default, kind)), None)
    right = wanted is None or (isinstance(value, fits[wanted]) and not (wanted is not bool and isinstance(value, bool)))
    if value is not None and not right:
        raise InputError(f"{where} must be like its default {default!r}, got {given!r}")
    return value


def _arguments(default: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments for ``values``: those of a part are completed by what this model sets in that part."""
    found = dict(values)
    for key, part in parts(default).items():
        if key in values:
            found[key] = {"model_type": part.model_type, **_set_apart(part), **_arguments(part, values[key])}
    return found


def _set_apart(part: Any) -> dict[str, Any]:
    """What this model's part says otherwise than the default configuration of the part's type."""
    try:
        usual = type(part)().to_dict()
    except Exception:  # it has no default: keep everything
        usual = {}
    return {key: value for key, value in part.to_dict().items() if key not in usual or usual[key] != value}
