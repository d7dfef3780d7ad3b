"""``fxprof sweep MODEL --batch 1,2,4 --size 128:256:32``: totals over a grid of sizes, and how they grow.

Exit status: 0 every point was counted; 1 some could not be, which are listed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fxprof.commands.models import add_inputs, inputs_of, is_saved, load_torch
from fxprof.commands.output import add_output, chosen_format, colour, emit, width
from fxprof.errors import FxprofError, InputError
from fxprof.progress import progress
from fxprof.resize import resized
from fxprof.sweep import Point, Sweep, grid, sizes, values
from fxprof.views import sweep as view
from fxprof.views.pages import sweep_page

if TYPE_CHECKING:
    from fxprof.zoo import Built

_SIZES = {
    "batch": ("B,...", "batch sizes, such as 1,2,4"),
    "size": ("S,...", "heights and widths of images, such as 128:256:32"),
    "seq": ("L,...", "lengths of sequences, such as 128,512,2048"),
}
_FORMATS: dict[str, Callable[..., str]] = {
    "table": view.render, "markdown": view.to_markdown, "csv": view.to_csv, "latex": view.to_latex,
    "html": sweep_page, "json": view.to_json,
}  # fmt: skip


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "sweep", help="count a model over a grid of sizes, and say how its cost grows",
        description="Count a model at every combination of sizes, and say with which power of each size its cost "
        "grows. Sizes are lists (1,2,4), ranges (128:256:32, both ends included) or both.",
    )  # fmt: skip
    parser.set_defaults(run=_sweep)
    parser.add_argument("model", metavar="MODEL", help="as of report, but no saved one")
    add_inputs(parser)
    for name, (form, text) in _SIZES.items():
        parser.add_argument(f"--{name}", metavar=form, help=text)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=V,...", dest="options",
        help="values of a keyword argument of what builds the model, such as width=16,32; repeat for more",
    )  # fmt: skip
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    add_output(parser, _FORMATS)


def _sweep(args: argparse.Namespace) -> int:
    form = chosen_format(args)
    if is_saved(args.model):
        raise InputError("sweep counts a model again and again, and a saved report has none: give a MODEL")
    axes, options = _axes(args), _options(args)
    if not axes and not options:
        raise InputError("nothing to sweep: add --batch 1,2,4, --size 128:256:32, --seq 128,256 or --set NAME=1,2")
    done = Sweep(args.model, (*options, *axes), tuple(_points(args, axes, options)))
    if not done.counted:
        raise InputError(
            f"{args.model} could not be counted at any point; at {done.points[0].place}: {done.points[0].error}"
        )
    given = {"width": width(args), "colour": colour(args)} if form == "table" else {}
    emit(_FORMATS[form](done, **given), args.output)
    return int(len(done.counted) < len(done.points))


def _axes(args: argparse.Namespace) -> dict[str, list[int]]:
    found = {}
    for name in _SIZES:
        if (text := getattr(args, name)) is not None:
            try:
                found[name] = sizes(text)
            except InputError as err:
                raise InputError(f"--{name}: {err}") from err
    return found


def _options(args: argparse.Namespace) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for text in args.options:
        name, equals, listed = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--set must be NAME=VALUES, such as width=16,32, got {text!r}")
        if name in found or name in _SIZES:
            raise InputError(
                f"a dimension must have a name of its own, got {name!r} twice or as one of {', '.join(_SIZES)}"
            )
        found[name] = values(listed)
    return found


def _points(args: argparse.Namespace, axes: Mapping[str, list[int]], options: Mapping[str, list[Any]]) -> list[Point]:
    """Count every point. Models are built once per choice of options; what fails at a point is said there."""
    from fxprof import zoo

    load_torch()
    points = grid({**options, **axes})  # so that points of one model follow each other
    found = []
    model: tuple[Any, Built] | None = None
    with zoo.surroundings(args.model):
        for at in progress(points, "point", _place):
            chosen = {name: at[name] for name in options}
            try:
                if model is None or model[0] != chosen:
                    model = chosen, zoo.build(args.model, options=chosen, inputs=not args.inputs)
                found.append(_point(args, at, model[1], {name: at[name] for name in axes}))
            except FxprofError as err:
                found.append(Point(at, {}, error=str(err)))
    return found


def _place(at: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in at.items())


def _point(args: argparse.Namespace, at: Mapping[str, Any], built: Built, chosen: Mapping[str, int]) -> Point:
    import fxprof

    inputs, kwargs = inputs_of(built, args.inputs)
    inputs, kwargs = resized(inputs, kwargs, chosen)
    built.model.train(args.training)
    report = fxprof.analyze(built.model, *inputs, kwargs=kwargs, training=args.training, name=built.name)
    return Point.of(at, report)
