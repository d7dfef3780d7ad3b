"""``fxprof report MODEL``: count a model and print where the cost goes."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from typing import Any

from fxprof.commands.models import add_model, counted, natural
from fxprof.commands.output import add_output, chosen_format, emit, show
from fxprof.commands.time import add_time, forward_time
from fxprof.errors import InputError, UncountedError
from fxprof.report import Report
from fxprof.views import html, layers, notes, table
from fxprof.views.rows import BY, SORT

_SUFFIXES = {".json": "json", ".html": "html", ".txt": "table", "": "table"}


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("report", help="count a model and print where the cost goes")
    parser.set_defaults(run=_report)
    add_model(parser)
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless every op is counted and no size assumed")
    parser.add_argument("--by", choices=(*BY, "layer"), default="module", help="what a row is (default: module)")
    parser.add_argument("--depth", type=natural, metavar="N", help="cut the module tree below depth N")
    parser.add_argument("--top", type=natural, metavar="N", help="only the N largest rows, and the sum of the rest")
    parser.add_argument("--sort", choices=SORT, help="order of the rows (default: execution, or MACs)")
    add_time(parser)
    add_output(parser, _FORMATS)


def _report(args: argparse.Namespace) -> int:
    form = chosen_format(args, _SUFFIXES)
    report = counted(args)
    emit(_FORMATS[form](report, args), args.output)
    if args.time:
        show(forward_time(args))
    if args.strict and not report.exact:
        raise UncountedError(f"not exact: {' '.join(notes.inexact(report))}")
    return 0


def _table(report: Report, args: argparse.Namespace) -> str:
    if args.by == "layer":
        if args.depth is not None or args.top is not None or args.sort is not None:
            raise InputError("--by layer lists every layer in call order: leave out --depth, --top and --sort")
        return layers.render(report)
    width = shutil.get_terminal_size().columns if args.output is None and sys.stdout.isatty() else None
    return table.render(report, by=args.by, depth=args.depth, top=args.top, sort=args.sort, width=width)


def _json(report: Report, args: argparse.Namespace) -> str:
    return report.to_json(indent=2)


def _html(report: Report, args: argparse.Namespace) -> str:
    return html.render(report)


_FORMATS: dict[str, Callable[[Report, argparse.Namespace], str]] = {"table": _table, "json": _json, "html": _html}
