"""MODEL and --input: from the words of a command to a report, which every command about models does alike."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fxprof.errors import InputError
from fxprof.interrupts import ending_the_process
from fxprof.report import Report, TensorSpec

if TYPE_CHECKING:
    from fxprof.growth import Scaling
    from fxprof.zoo import Built

T = TypeVar("T")

# What names a model; without saved reports, which are none to load weights into.
BUILT = (
    "a torchvision name (resnet50), timm:NAME, hf:MODEL_TYPE of transformers, package.module:callable or "
    "path/to/file.py:callable, each with arguments of what builds it, or for hf of its configuration, as in "
    "'hf:llama?num_hidden_layers=2&vocab_size=100'"
)
MODEL = f"{BUILT}; or a report saved with -o FILE.json"
_INPUT = re.compile(r"(?:([^\W\d]\w*(?:\.\w+)*)=)?\(?(\d{1,18}(?:[,x]\d{1,18})*),?\)?(?::(\w+))?")

_AROUND = re.compile(r" *([=,x():]) *")  # blanks that separate nothing


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and --input to a command."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    add_inputs(parser)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add --input to a command."""
    parser.add_argument(
        "--input", action="append", type=_input, metavar="[NAME=]SHAPE[:DTYPE]", dest="inputs",
        help="an input tensor, such as 1,3,224,224 or ids=1,128:int64, or batch.ids=1,128:int64 in a dict; repeat for "
        "several (default: the model's own)",
    )  # fmt: skip


def counted(args: argparse.Namespace) -> Report:
    """The report of ``args.model``: analyzed, or read when it is a saved one."""
    if not is_saved(args.model):
        return analyzed(args.model, args.inputs, training=args.training)
    if args.inputs or args.training:
        raise InputError("a saved report cannot be counted again: --input and --training go with a model")
    return saved(args.model)


def saved(path: str) -> Report:
    """Read a report saved as JSON. Raises InputError when it is none."""
    try:
        return Report.from_json(Path(path).read_bytes())
    except OSError as err:
        raise InputError(f"cannot read {path!r}: {err.strerror}") from err
    except InputError as err:
        raise InputError(f"{path!r} must be a report saved by fxprof: {err}") from err


def analyzed(model: str, given: list[tuple[str, TensorSpec]] | None = None, *, training: bool = False) -> Report:
    """Build and count the model that a MODEL string names, at the given inputs or its own."""
    load_torch()
    import fxprof

    return _with_model(fxprof.analyze, model, given, training)


def load_torch() -> None:
    """Import torch: only for what needs it, which --help and saved reports do not."""
    with ending_the_process():
        importlib.import_module("torch")


def is_saved(model: str) -> bool:
    """Whether a MODEL is a saved report."""
    return model.endswith(".json") and "?" not in model  # what follows a question mark are arguments


def scaled(args: argparse.Namespace) -> Scaling:
    """Build the model and count it with each dimension of its inputs doubled."""
    if is_saved(args.model):
        raise InputError("--scaling counts a model again, and a saved report has none: give a MODEL")
    load_torch()
    import fxprof

    return _with_model(fxprof.scaling, args.model, args.inputs, args.training)


def _with_model(count: Callable[..., T], model: str, given: list[tuple[str, TensorSpec]] | None, training: bool) -> T:
    from fxprof import zoo

    with zoo.surroundings(model):
        built = zoo.build(model, inputs=not given)
        inputs, kwargs = inputs_of(built, given)
        for name, why in built.left_out.items():
            print(f"fxprof: {model} is counted without {name}: {why}", file=sys.stderr)
        built.model.train(training)
        return count(built.model, *inputs, kwargs=kwargs, training=training, name=built.name)


def inputs_of(built: Built, given: list[tuple[str, TensorSpec]] | None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What was given with --input, or else the model's default: positional and by name.

    Raises InputError where there is neither, and forward takes any.
    """
    if not given:
        if not built.inputs and not built.kwargs and _takes_inputs(built.model.forward):
            raise InputError(f"{built.name} has no default input: add --input, for example --input 1,3,224,224")
        return built.inputs, dict(built.kwargs)
    kwargs: dict[str, Any] = {}
    for name, spec in given:
        if name:
            _put(kwargs, name, spec)
    return tuple(spec for name, spec in given if not name), kwargs


def _takes_inputs(forward: Callable[..., Any]) -> bool:
    try:
        return bool(signature(forward).parameters)
    except (TypeError, ValueError):  # a function written in C does not tell
        return True


def _put(kwargs: dict[str, Any], name: str, spec: TensorSpec) -> None:
    """Enter an input by name, one with dots into the dicts that the parts before the last name."""
    *path, last = name.split(".")
    for part in path:
        kwargs = kwargs.setdefault(part, {}) if isinstance(kwargs, dict) else kwargs
    if not isinstance(kwargs, dict) or last in kwargs:
        raise InputError(f"--input must name a tensor once, and not also what holds it, got {name} again")
    kwargs[last] = spec


def natural(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)


def _input(text: str) -> tuple[str, TensorSpec]:
    """Read ``[name=]sizes[:dtype]``; sizes are separated by ``,`` or ``x``."""
    match = _INPUT.fullmatch(_AROUND.sub(r"\1", text.strip()))
    if match is None:
        hint = "must be sizes, with an optional name and dtype, such as 1,3,224,224 or ids=1,128:int64"
        raise argparse.ArgumentTypeError(f"{hint}, got {text!r}")
    name, sizes, dtype = match.groups()
    try:
        return name or "", TensorSpec(tuple(map(int, re.split("[,x]", sizes))), dtype)
    except InputError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
