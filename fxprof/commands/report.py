"""``fxprof report MODEL``: count a model and print where the cost goes."""

from __future__ import annotations

import argparse
from typing import Any

from fxprof.commands.models import add_model, counted, natural
from fxprof.commands.output import add_output, chosen_format, colour, emit, show, width
from fxprof.commands.time import add_time, check_time, forward_time
from fxprof.errors import InputError, UncountedError
from fxprof.report import Report
from fxprof.views import formats, layers, notes
from fxprof.views.rows import BY, SORT

_CUTS = ("depth", "top", "sort")


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("report", help="count a model and print where the cost goes")
    parser.set_defaults(run=_report)
    add_model(parser)
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless every op is counted and no size assumed")
    parser.add_argument("--by", choices=(*BY, "layer"), help="what a row is (default: module)")
    parser.add_argument("--depth", type=natural, metavar="N", help="cut the module tree below depth N")
    parser.add_argument("--top", type=natural, metavar="N", help="only the N largest rows, and the sum of the rest")
    parser.add_argument("--sort", choices=SORT, help="order of the rows (default: execution, or MACs)")
    add_time(parser)
    add_output(parser, formats.FORMATS)


def _report(args: argparse.Namespace) -> int:
    form = chosen_format(args)
    check_time(args, form)
    report = counted(args)
    emit(_layers(report, args, form) if args.by == "layer" else _rendered(report, args, form), args.output)
    if args.time:
        show(forward_time(args))
    if args.strict and not report.exact:
        raise UncountedError(f"not exact: {' '.join(notes.inexact(report))}")
    return 0


def _rendered(report: Report, args: argparse.Namespace, form: str) -> str:
    options = {"by": args.by, **{name: getattr(args, name) for name in _CUTS}}
    if form == "table":
        options |= {"width": width(args), "colour": colour(args)}
    return formats.render(report, form, **options)


def _layers(report: Report, args: argparse.Namespace, form: str) -> str:
    if form != "table" or any(getattr(args, name) is not None for name in _CUTS):
        raise InputError(
            "--by layer lists every layer in call order, as a table: leave out --format, --depth, --top and --sort"
        )
    return layers.render(report, width(args), colour(args))
