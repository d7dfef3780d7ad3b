"""Torchvision names: the architecture without weights, at the input its published weights were evaluated at.

The input is read from torchvision itself, so that a model torchvision adds tomorrow needs nothing here.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError
from fxprof.interrupts import ending_the_process
from fxprof.report import TensorSpec
from fxprof.zoo.common import HOW, Built, close, constructed, first_line
from fxprof.zoo.users_code import called, run

if TYPE_CHECKING:
    from torch import nn

# Two sizes that torchvision's weights do not tell; at these it publishes the cost of the models.
FRAMES = 16
FLOW_SIZE = (512, 512)

# No model is called so; who names one took a checkpoint for a model.
_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors")


def build(name: str, device: str, given: Mapping[str, Any]) -> Built:
    """Build the architecture with the options given. Raises InputError where torchvision has none of that name."""
    models = _torchvision()
    known = models.list_models()
    if name.endswith(_WEIGHTS):
        raise InputError(
            f"{name!r} is a file of weights, and a MODEL is what builds the layers for them; fxprof inspect lists it, "
            "and fxprof match MODEL FILE says what of it fits"
        )
    if name not in known:
        raise InputError(f"no torchvision model is called {name!r}{close(name, known)}; {HOW}")
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    options |= given
    make = partial(models.get_model, name, **options)
    with warnings.catch_warnings():
        # Inception and GoogLeNet announce a change of their random initialization, which no count depends on.
        warnings.filterwarnings("ignore", "The default weight initialization of", FutureWarning)
        # What fails without options is not the user's doing.
        model = run(lambda: constructed(make, device), called(name, given)) if given else constructed(make, device)
    return Built(name, model, _default_inputs(models.get_model_weights(name), model))


def names() -> list[str]:
    """Names of all torchvision models."""
    found: list[str] = _torchvision().list_models()
    return found


def _torchvision() -> Any:
    try:
        with ending_the_process():
            return importlib.import_module("torchvision.models")
    except Exception as err:
        # Beside a torch it was not built for, torchvision's import raises RuntimeError, OSError or AttributeError.
        raise InputError(
            f"torchvision cannot be imported ({type(err).__name__}: {first_line(err)}); it must come from the same "
            "place as torch: pip install --upgrade torch torchvision"
        ) from err


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
