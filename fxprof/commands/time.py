"""``fxprof report --time``: also run the model, and say how long a forward takes."""

from __future__ import annotations

import argparse

from fxprof.commands.models import inputs_of, is_saved
from fxprof.errors import InputError


def add_time(parser: argparse.ArgumentParser) -> None:
    """Add --time and --device to ``fxprof report``."""
    parser.add_argument("--time", action="store_true", help="also run the model, and print how long a forward takes")
    parser.add_argument("--device", metavar="DEVICE", help="where --time runs it (default: cpu)")


def check_time(args: argparse.Namespace, form: str) -> None:
    """Refuse, before any work is done, what --time and --device do not go with."""
    if args.device is not None and not args.time:
        raise InputError("--device is where --time runs the model: add --time")
    if args.time and is_saved(args.model):
        raise InputError("--time runs the model, and a saved report has none: give a MODEL")
    if args.time and form != "table" and args.output is None:
        raise InputError(f"--time prints a line of text, which is no {form}: add -o FILE for the report")


def forward_time(args: argparse.Namespace) -> str:
    """What ``--time`` prints below the report."""
    import torch

    from fxprof import zoo
    from fxprof.timing import time_forward

    with zoo.surroundings(args.model):
        built = zoo.build(args.model, "cpu")
        try:
            model = built.model.to(torch.device(args.device or "cpu"))
        except (RuntimeError, AssertionError, NotImplementedError) as err:
            said = str(err).partition("\n")[0]
            raise InputError(f"--device must be a device of this machine, got {args.device!r}: {said}") from err
        inputs, kwargs = inputs_of(built, args.inputs)
        return str(time_forward(model, *inputs, kwargs=kwargs))
