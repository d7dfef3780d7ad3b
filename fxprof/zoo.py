"""MODEL strings: from ``resnet50`` or ``package.module:callable`` to a model and its default input.

A torchvision name builds the architecture only: no weights are downloaded, and by default none
are allocated. Its default input is the one its published weights were evaluated at, read from
torchvision itself, so that a model torchvision adds tomorrow needs nothing here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError
from fxprof.report import TensorSpec

if TYPE_CHECKING:
    from torch import nn

# Two sizes that torchvision's weights do not tell; at these it publishes the cost of the models.
FRAMES = 16
FLOW_SIZE = (512, 512)


@dataclass(frozen=True)
class Built:
    """A model ready to analyze; ``inputs`` and ``kwargs`` are empty where nothing is known about them."""

    name: str
    model: nn.Module
    inputs: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def build(spec: str, device: str = "meta", options: Mapping[str, Any] | None = None) -> Built:
    """Build the model that ``spec`` names. Raises InputError when there is none, or it fails.

    ``spec`` is a torchvision name, ``package.module:callable`` or ``path/to/file.py:callable``
    (a function or class that returns a module, or a module). ``device="meta"`` builds a torchvision
    model without memory for its weights; buffers keep their values. User code runs as it is.
    ``options`` are keyword arguments for what builds the model.
    """
    if ":" in spec:
        return Built(spec, _user_model(spec, options or {}))
    return _torchvision_model(spec, device, options or {})


def names() -> list[str]:
    """Names of all torchvision models."""
    found: list[str] = _torchvision().list_models()
    return found


# -- torchvision -------------------------------------------------------------------------------


def _torchvision() -> Any:
    try:
        return importlib.import_module("torchvision.models")
    except Exception as err:
        # Beside a torch it was not built for, torchvision's import raises RuntimeError, OSError or AttributeError.
        raise InputError(
            f"torchvision cannot be imported ({type(err).__name__}: {_first_line(err)}); it must come from the same "
            "place as torch: pip install --upgrade torch torchvision"
        ) from err


def _torchvision_model(name: str, device: str, given: Mapping[str, Any]) -> Built:
    models = _torchvision()
    known = models.list_models()
    if name not in known:
        raise InputError(f"no torchvision model is called {name!r}{_close(name, known)}{_HOW}")
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    options |= given
    make = partial(models.get_model, name, **options)
    # What fails without options is not the user's doing.
    model = _run(lambda: _constructed(make, device), _called(name, given)) if given else _constructed(make, device)
    return Built(name, model, _default_inputs(models.get_model_weights(name), model))


_HOW = "; a MODEL is a torchvision name, package.module:callable, path/to/file.py:callable or a saved report .json"


def _constructed(make: Callable[[], nn.Module], device: str) -> nn.Module:
    with warnings.catch_warnings():
        # Inception and GoogLeNet announce a change of their random initialization, which no count depends on.
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        if device == "meta":
            # A constructor may run its layers on real data (SSDlite does, to learn their widths).
            with suppress(RuntimeError, NotImplementedError), _weights_on_meta():
                return make()
        return make()


@contextmanager
def _weights_on_meta() -> Iterator[None]:
    """Send ``torch.empty``, of which layers make their weights, to the meta device.

    Narrower than ``torch.device("meta")``: what a constructor computes (block widths, anchors,
    position tables) keeps its values, so constructors that read them work.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.empty and kwargs.get("device") is None:
                kwargs["device"] = "meta"
            return func(*args, **kwargs)

    with Mode():
        yield


def _default_inputs(weights: Any, model: nn.Module) -> tuple[Any, ...]:
    """The input of the published evaluation: by the model's own resizing, or its weights' transforms."""
    resize = getattr(model, "transform", None)
    if resize is not None and hasattr(resize, "fixed_size"):  # a detector: takes a list of images
        height, width = resize.fixed_size or (resize.min_size[-1],) * 2
        return ([TensorSpec((3, height, width))],)
    if isinstance(size := getattr(model, "image_size", None), int):  # a model made for one size
        return (TensorSpec((1, 3, size, size)),)
    transforms = weights.DEFAULT.transforms()
    if not hasattr(transforms, "resize_size"):  # optical flow: takes two images
        return (TensorSpec((1, 3, *FLOW_SIZE)),) * 2
    crop = getattr(transforms, "crop_size", transforms.resize_size)
    height, width = crop[0], crop[-1]
    if "Video" in type(transforms).__name__:
        return (TensorSpec((1, 3, FRAMES, height, width)),)
    return (TensorSpec((1, 3, height, width)),)


# -- the user's own ----------------------------------------------------------------------------


@contextmanager
def search_path(spec: str) -> Iterator[None]:
    """Let user code import what lies beside it: the working directory, and the file's own folder."""
    path, _, _ = spec.rpartition(":")
    folders = [str(Path(path).resolve().parent)] if path.endswith(".py") else []
    before = list(sys.path)
    sys.path[:0] = [*folders, os.getcwd()]  # noqa: PTH109 - a string, as the import system wants it
    try:
        yield
    finally:
        sys.path[:] = before


def _user_model(spec: str, options: Mapping[str, Any]) -> nn.Module:
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute:
        raise InputError(
            f"a MODEL with a colon must be package.module:callable or path/to/file.py:callable, got {spec!r}"
        )
    with search_path(spec):
        found = _attribute(_user_module(place, spec), attribute, spec)
        return _as_module(found, spec, options)


def _user_module(place: str, spec: str) -> ModuleType:
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise InputError(f"no file {place!r} (from MODEL {spec!r})")
        # A name of its own: a file called random.py must not replace the module of that name.
        name = f"fxprof_model_{Path(place).stem}"
        found = importlib.util.spec_from_file_location(name, place)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module  # dataclasses and pickle look it up there
        _run(lambda: found.loader.exec_module(module), spec)  # type: ignore[union-attr]
        return module
    try:
        missing = importlib.util.find_spec(place) is None
    except (ImportError, ValueError):
        missing = True
    if missing:
        raise InputError(f"no module {place!r} in the working directory or among the installed packages")
    imported: ModuleType = _run(lambda: importlib.import_module(place), spec)
    return imported


def _attribute(module: ModuleType, dotted: str, spec: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise InputError(f"{spec.rpartition(':')[0]!r} has no {dotted!r}{_close(part, public)}")
        found = getattr(found, part)
    return found


def _as_module(found: Any, spec: str, options: Mapping[str, Any]) -> nn.Module:
    from torch import nn

    if isinstance(found, nn.Module):
        if options:
            raise InputError(f"{spec} is a model already and takes no {', '.join(options)}; name what builds it")
        return found
    if not callable(found):
        raise InputError(f"{spec} must be a callable or an nn.Module, got {type(found).__name__}")
    model = _run(partial(found, **options), _called(spec, options))
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} must return an nn.Module, got {type(model).__name__}")
    return model


def _called(spec: str, options: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"{spec} with {given}" if given else spec


def _run(call: Callable[[], Any], spec: str) -> Any:
    """Call user code; what it raises becomes one sentence that names the line."""
    try:
        return call()
    except (Exception, SystemExit) as err:
        raise InputError(f"{spec} failed: {type(err).__name__}: {_first_line(err)}{_where(err)}") from err


def _where(err: BaseException) -> str:
    """The innermost line outside installed packages, or the line that does not parse."""
    if isinstance(err, SyntaxError) and err.filename:
        return f" ({err.filename}, line {err.lineno})"
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if _is_users(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_users(filename: str) -> bool:
    library = ("site-packages", "dist-packages")
    return (
        not filename.startswith("<")
        and Path(filename) != Path(__file__)
        and not any(part in library for part in Path(filename).parts)
        and not filename.startswith(str(Path(importlib.__file__).parent))
    )


def _first_line(err: BaseException) -> str:
    return next(iter(str(err).strip().splitlines()), "no message")


def _close(name: str, known: list[str]) -> str:
    found = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(found)}" if found else ""
