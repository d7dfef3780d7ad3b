"""``fxprof check MODEL``: hold a model against budgets, given here or in pyproject.toml.

Exit status: 0 every budget is kept; 1 one is exceeded, ``--strict`` found something inexact, or ``--scaling`` a cost
that is not in proportion to the batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fxprof.budget import METRICS, Budget, from_table, limit, merged
from fxprof.budget import check as verdicts_of
from fxprof.commands.models import add_model, counted, saved, scaled
from fxprof.commands.output import add_output, chosen_format, colour, emit, width
from fxprof.compare import Comparison
from fxprof.errors import InputError, UncountedError
from fxprof.views import check as view
from fxprof.views import notes
from fxprof.views import scaling as growth

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FORMATS = ("table", "markdown", "json")


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "check", help="hold a model against budgets: exit 1 where one is exceeded",
        description="Hold a model against budgets, given here or in [tool.fxprof] of pyproject.toml: "
        "exit 0 where all are kept, 1 where one is exceeded.",
    )  # fmt: skip
    parser.set_defaults(run=_check)
    add_model(parser)
    parser.add_argument("--training", action="store_true", help="training mode, backward pass included")
    parser.add_argument("--strict", action="store_true", help="exit 1 unless every op is counted and no size assumed")
    for name, metric in METRICS.items():
        form = "[GLOB=]N" if metric.measure else "N"
        example = "such as 16GiB" if metric.unit == "bytes" else "such as 5G; with GLOB, of each module it matches"
        text = f"limit of {_in_a_sentence(metric.title)}, {example}"
        parser.add_argument(f"--max-{name}", action="append", default=[], metavar=form, help=text)
    parser.add_argument("--baseline", metavar="FILE.json", help="a saved report: also print what changed since")
    parser.add_argument(
        "--scaling", action="store_true",
        help="instead, double batch, image size or sequence length, and print with which power of it each module's "
        "cost grows: exit 1 where MACs are not in proportion to the batch",
    )  # fmt: skip
    add_output(parser, _FORMATS)


def _check(args: argparse.Namespace) -> int:
    form = chosen_format(args)
    if args.scaling:
        return _scaling(args, form)
    budgets = merged(_given(args), configured(Path()))
    if not budgets and not args.baseline:
        raise InputError('nothing to check: add --max-macs 5G, or max-macs = "5G" to [tool.fxprof] of pyproject.toml')
    before = saved(args.baseline) if args.baseline else None
    report = counted(args)
    verdicts = verdicts_of(report, budgets)
    since = Comparison(("before", "now"), (before, report)) if before else None
    if form == "table":
        text = view.render(report, verdicts, since, width=width(args), colour=colour(args))
    else:
        text = (view.to_markdown if form == "markdown" else view.to_json)(report, verdicts, since)
    emit(text, args.output)
    if args.strict and not report.exact:
        raise UncountedError(f"not exact: {' '.join(notes.inexact(report))}")
    return int(any(verdict.over for verdict in verdicts))


def _scaling(args: argparse.Namespace, form: str) -> int:
    if _given(args) or args.baseline or args.strict or form == "markdown":
        raise InputError("--scaling is a check of its own, as a table or JSON: leave out budgets, --baseline, --strict")
    found = scaled(args)
    table = form == "table"
    text = growth.render(found, width=width(args), colour=colour(args)) if table else growth.to_json(found)
    emit(text, args.output)
    return int(bool(found.odd))


def _given(args: argparse.Namespace) -> list[Budget]:
    """The budgets of the command line: ``5G`` or ``layer*=1G``."""
    found = []
    for name in METRICS:
        for text in getattr(args, f"max_{name}"):
            glob, _, size = text.rpartition("=")
            try:
                found.append(Budget(name, limit(size), glob))
            except InputError as err:
                raise InputError(f"--max-{name}: {err}") from err
    return found


def configured(folder: Path) -> list[Budget]:
    """The budgets of the nearest pyproject.toml, from ``folder`` upward; none where it has no ``[tool.fxprof]``."""
    for place in (folder.resolve(), *folder.resolve().parents):
        if (file := place / "pyproject.toml").is_file():
            return from_table(_table(file))
    return []


def _table(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            table = tomllib.load(opened).get("tool", {}).get("fxprof", {})
    except OSError as err:
        raise InputError(f"cannot read {str(file)!r}: {err.strerror}") from err
    except (ValueError, AttributeError) as err:
        raise InputError(f"{str(file)!r} must be TOML with tables, got {err}") from err
    if not isinstance(table, Mapping):
        raise InputError(f"[tool.fxprof] in {str(file)!r} must be a table, got {table!r}")
    return table


def _in_a_sentence(title: str) -> str:
    return title if title[1].isupper() else title.lower()  # MACs and FLOPs stay what they are
