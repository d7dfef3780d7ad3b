"""``fxprof report --time``: also run the model, and say how long a forward takes."""

from __future__ import annotations

import argparse

from fxprof.commands.models import inputs_of
from fxprof.errors import InputError


def add_time(parser: argparse.ArgumentParser) -> None:
    """Add --time and --device to ``fxprof report``."""
    parser.add_argument("--time", action="store_true", help="also run the model, and print how long a forward takes")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="where --time runs it (default: cpu)")


def forward_time(args: argparse.Namespace) -> str:
    """What ``--time`` prints below the report."""
    if args.model.endswith(".json"):
        raise InputError("--time runs the model, and a saved report has none: give a MODEL")
    import torch

    from fxprof import zoo
    from fxprof.timing import time_forward

    with zoo.surroundings(args.model):
        built = zoo.build(args.model, "cpu")
        try:
            model = built.model.to(torch.device(args.device))
        except (RuntimeError, AssertionError, NotImplementedError) as err:
            said = str(err).partition("\n")[0]
            raise InputError(f"--device must be a device of this machine, got {args.device!r}: {said}") from err
        inputs, kwargs = inputs_of(built, args.inputs)
        return str(time_forward(model, *inputs, kwargs=kwargs))
