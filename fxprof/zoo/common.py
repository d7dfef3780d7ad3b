"""What every kind of MODEL string shares: the result, meta weights, and how failures are said."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from fxprof.errors import InputError
from fxprof.interrupts import ending_the_process

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")

_LARGEST_TABLE = 1 << 24

HOW = (
    "a MODEL is a torchvision name, timm:NAME, hf:MODEL_TYPE, package.module:callable, path/to/file.py:callable "
    "or a saved report .json"
)


@dataclass(frozen=True)
class Built:
    """A model ready to analyze; ``inputs`` and ``kwargs`` are empty where nothing is known about them.

    ``left_out`` says which arguments its default input does without although forward takes them, and why.
    """

    name: str
    model: nn.Module
    inputs: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def arguments(spec: str, query: str) -> dict[str, str]:
    """Read ``key=value&...``, what follows the question mark in ``spec``. Raises InputError where it is none."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    if wrong := ["".join(pair) for pair in pairs if not (pair[0] and pair[1])]:
        raise InputError(f"{spec} must have key=value after the question mark, joined by &, got {wrong[0]!r}")
    return {unquote(key): unquote(value) for key, _, value in pairs}


def extra(module: str) -> Any:
    """Import a library of the ``zoo`` extra. Raises InputError that names the extra where it is missing."""
    try:
        with ending_the_process():
            return importlib.import_module(module)
    except ImportError as err:
        library = module.partition(".")[0]
        if isinstance(err, ModuleNotFoundError) and err.name == library:
            raise InputError(f"{library} is not installed; it comes with: pip install 'fxprof[zoo]'") from err
        raise InputError(f"{library} cannot be imported ({type(err).__name__}: {first_line(err)})") from err


def constructed(make: Callable[[], T], device: str, *, fall_back: bool = True) -> T:
    """Call a constructor; with ``device="meta"`` without memory for weights.

    With ``fall_back``, with memory where the constructor does not work otherwise.
    """
    if device != "meta":
        return make()
    # A constructor may run its layers on real data (SSDlite does, to learn their widths).
    with suppress(*([RuntimeError, NotImplementedError] if fall_back else [])), _weights_on_meta():
        return make()
    return make()


@contextmanager
def _weights_on_meta() -> Iterator[None]:
    """Send the floating tensors of ``torch.empty``, of which layers make their weights, to the meta device.

    Narrower than ``torch.device("meta")``: what a constructor computes (block widths, anchors,
    position tables) keeps its values, so constructors and forwards that read them work. What other
    functions make goes there too when it is larger than any table: some layers make weights of zeros.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    filled = {torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if (func is torch.empty or func in filled) and kwargs.get("device") is None:
                weight = func(*args, **{**kwargs, "device": "meta"})
                if weight.dtype.is_floating_point and (func is torch.empty or weight.numel() > _LARGEST_TABLE):
                    return weight
            return func(*args, **kwargs)

    with Mode():
        yield


def first_line(err: BaseException) -> str:
    """What an exception says, in one line."""
    return next(iter(str(err).strip().splitlines()), "no message")


def close(name: str, known: list[str]) -> str:
    """``; did you mean a or b``, or nothing."""
    found = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(found)}" if found else ""
