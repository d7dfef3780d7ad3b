"""``fxprof explain MODEL [--vs TOOL]``, and what ``fxprof report`` does for ``--by layer`` and ``--time``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fxprof.conventions import CONVENTIONS, conventions
from fxprof.conventions.difference import explain
from fxprof.errors import InputError
from fxprof.report import Report
from fxprof.views import explain as text


def add(
    commands: Any,
    add_model: Callable[[argparse.ArgumentParser], None],
    load: Callable[[argparse.Namespace], Report],
    show: Callable[[str], None],
) -> None:
    """Add ``explain`` to the parser's commands.

    ``add_model`` adds MODEL and --input to a parser, ``load`` makes a report of what they say, ``show``
    prints.
    """
    parser = commands.add_parser("explain", help="say why another tool counts something else")
    parser.set_defaults(run=lambda args: _explain(args, load, show), training=False)
    add_model(parser)
    known = ", ".join(CONVENTIONS)
    parser.add_argument("--vs", metavar="TOOL", help=f"one of {known} (default: what each of them counts)")
    parser.add_argument("--base", metavar="TOOL", default="macs", help="what to compare with (default: fxprof's MACs)")
    parser.add_argument("--ops", type=_natural, default=2, metavar="N", help="places to name per cause (default: 2)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


def _explain(
    args: argparse.Namespace, load: Callable[[argparse.Namespace], Report], show: Callable[[str], None]
) -> int:
    report = load(args)
    if args.format == "json":
        show(json.dumps(_data(report, args), indent=2))
    elif args.vs is None:
        show(text.overview(report))
    else:
        show(text.render(explain(report, args.vs, args.base), args.ops))
    return 0


def _data(report: Report, args: argparse.Namespace) -> Mapping[str, Any]:
    if args.vs is None:
        return {name: asdict(report.count(name)) for name in conventions()}
    return asdict(explain(report, args.vs, args.base))


def _natural(given: str) -> int:
    if not given.isascii() or not given.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {given!r}")
    return int(given)


# -- for fxprof report -------------------------------------------------------------------------


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

    with zoo.search_path(args.model):
        built = zoo.build(args.model, "cpu")
        try:
            model = built.model.to(torch.device(args.device))
        except (RuntimeError, AssertionError, NotImplementedError) as err:
            said = str(err).partition("\n")[0]
            raise InputError(f"--device must be a device of this machine, got {args.device!r}: {said}") from err
        inputs, kwargs = built.inputs, dict(built.kwargs)
        if args.inputs:
            inputs = tuple(spec for name, spec in args.inputs if not name)
            kwargs = {name: spec for name, spec in args.inputs if name}
        return str(time_forward(model, *inputs, kwargs=kwargs))
