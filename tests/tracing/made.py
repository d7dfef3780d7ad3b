"""Small models made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def module(forward: Callable[..., Any], **attributes: Any) -> nn.Module:
    """A module with these attributes whose forward is the given function of (self, ...)."""
    made = type("Made", (nn.Module,), {"forward": forward})()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
