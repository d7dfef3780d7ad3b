"""``fxprof explain MODEL [--vs TOOL]``: why another tool counts something else."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fxprof.commands.models import add_model, counted, natural
from fxprof.commands.output import colour, show, width
from fxprof.conventions import CONVENTIONS, conventions
from fxprof.conventions.difference import Difference, explain
from fxprof.errors import InputError
from fxprof.report import Report
from fxprof.views import explain as text


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("explain", help="say why another tool counts something else")
    parser.set_defaults(run=_explain, training=False)
    add_model(parser)
    known = ", ".join(CONVENTIONS)
    parser.add_argument("--vs", metavar="TOOL", help=f"one of {known} (default: what each of them counts)")
    parser.add_argument("--base", metavar="TOOL", help="what to compare TOOL with (default: fxprof's MACs)")
    parser.add_argument("--ops", type=natural, metavar="N", help="places to name per cause (default: 2)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


def _explain(args: argparse.Namespace) -> int:
    if args.vs is None and (args.base is not None or args.ops is not None):
        raise InputError("--base and --ops are about the difference to one tool: add --vs TOOL")
    if args.format == "json" and args.ops is not None:
        raise InputError("json names every place: leave out --ops")
    report = counted(args)
    if args.format == "json":
        show(json.dumps(_data(report, args), indent=2))
    elif args.vs is None:
        show(text.overview(report, width(args), colour(args)))
    else:
        show(text.render(_difference(report, args), 2 if args.ops is None else args.ops, width(args), colour(args)))
    return 0


def _data(report: Report, args: argparse.Namespace) -> Mapping[str, Any]:
    if args.vs is None:
        return {name: asdict(report.count(name)) for name in conventions()}
    return asdict(_difference(report, args))


def _difference(report: Report, args: argparse.Namespace) -> Difference:
    return explain(report, args.vs, args.base or "macs")
