"""``timm:NAME``: the architecture without weights, at the input size of its pretrained configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fxprof.errors import InputError
from fxprof.report import TensorSpec
from fxprof.zoo.common import Built, close, constructed, extra, first_line
from fxprof.zoo.users_code import called


def build(name: str, device: str, options: Mapping[str, Any]) -> Built:
    """Build ``NAME`` or ``NAME.TAG``. Raises InputError where timm has none of that name."""
    timm = extra("timm")
    if not timm.is_model(name):
        raise InputError(f"timm has no model called {name!r}{close(name.partition('.')[0], names())}")
    try:
        model = constructed(lambda: timm.create_model(name, pretrained=False, **options), device)
    except Exception as err:
        raise InputError(
            f"{called(f'timm:{name}', options)} failed to build: {type(err).__name__}: {first_line(err)}"
        ) from err
    channels, *sides = model.pretrained_cfg.get("input_size") or (3, 224, 224)
    if isinstance(side := options.get("img_size"), int):
        sides = [side, side]
    return Built(f"timm:{name}", model, (TensorSpec((1, options.get("in_chans", channels), *sides)),))


def names() -> list[str]:
    """Names of all timm architectures."""
    found: list[str] = extra("timm").list_models()
    return found
