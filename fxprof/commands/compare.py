"""``fxprof compare A B ...``: models or saved reports side by side, and the modules that differ."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fxprof.commands.models import MODEL, add_inputs, analyzed, is_saved, natural, saved
from fxprof.commands.output import add_output, chosen_format, colour, emit, width
from fxprof.compare import Comparison, labels
from fxprof.errors import FxprofError, InputError
from fxprof.measures import MEASURES
from fxprof.progress import progress
from fxprof.report import Report
from fxprof.views import compare as view
from fxprof.views.pages import compare_page

_FORMATS: dict[str, Callable[..., str]] = {
    "table": view.render, "markdown": view.to_markdown, "csv": view.to_csv, "latex": view.to_latex,
    "html": compare_page, "json": view.to_json,
}  # fmt: skip


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "compare", help="put models side by side, and list the modules that differ",
        description="Put models, or saved reports of one model before and after a change, side by side. Modules are "
        "matched by path; their differences add up to those of the totals.",
    )  # fmt: skip
    parser.set_defaults(run=_compare)
    parser.add_argument("models", metavar="MODEL", nargs="+", help=f"two or more, each {MODEL}")
    add_inputs(parser)
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    parser.add_argument("--depth", type=natural, metavar="N", help="the modules at depth N, with all below them")
    parser.add_argument("--top", type=natural, metavar="N", help="the N modules that differ most, and the rest's sum")
    parser.add_argument(
        "--metric", action="append", choices=tuple(MEASURES), default=[], dest="measures",
        help="what to compare modules by; repeat for more (default: all)",
    )  # fmt: skip
    add_output(parser, _FORMATS)


def _compare(args: argparse.Namespace) -> int:
    form = chosen_format(args)
    options = _options(args, form)
    emit(_FORMATS[form](_compared(args), **options), args.output)
    return 0


def _options(args: argparse.Namespace, form: str) -> dict[str, Any]:
    """What the command line asks of a format. Raises InputError where the format has no use for it."""
    if form == "json" and (args.top is not None or args.measures):
        raise InputError("json has every module and every measure that differs: leave out --top and --metric")
    if form == "latex" and (args.depth is not None or args.top is not None):
        raise InputError("latex has a row per model, and no modules: leave out --depth and --top")
    given = {"depth": args.depth, "top": args.top, "measures": args.measures}
    takes = {"json": ("depth",), "latex": ("measures",)}.get(form, tuple(given))
    terminal = {"width": width(args), "colour": colour(args)} if form == "table" else {}
    return {name: given[name] for name in takes} | terminal


def _compared(args: argparse.Namespace) -> Comparison:
    if len(args.models) < 2:
        raise InputError(f"compare takes two or more models or saved reports, got {args.models[0]!r} only")
    if (args.inputs or args.training) and all(is_saved(model) for model in args.models):
        raise InputError("saved reports cannot be counted again: --input and --training go with a model")
    reports = [_report(args, model) for model in progress(args.models, "model")]
    names = [report.name for report in reports]
    return Comparison(labels(names, [Path(model).name for model in args.models], args.models), tuple(reports))


def _report(args: argparse.Namespace, model: str) -> Report:
    """One of the reports. Where it cannot be made, the error says of which model."""
    try:
        return saved(model) if is_saved(model) else analyzed(model, args.inputs, training=args.training)
    except FxprofError as err:
        raise err if model in str(err) else type(err)(f"{model}: {err}") from err
