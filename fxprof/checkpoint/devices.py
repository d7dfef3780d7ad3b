"""The caller's default device is for the caller's tensors: what is read from a file has its values on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def on_cpu() -> Iterator[None]:
    """Make tensors on the CPU, whatever ``torch.set_default_device`` or ``with torch.device(...)`` says."""
    if torch.empty(0).device.type == "cpu":  # torch 2.4 cannot be asked about a context
        yield
        return
    with torch.device("cpu"):
        yield
