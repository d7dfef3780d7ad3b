"""``python -m benchmarks``; exit 1 if something failed or differs without an explanation."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import accuracy, conventions, coverage, matching, peers
from benchmarks.zoos import ZOOS, chosen
from fxprof.errors import FxprofError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its lines, the summary last."""
    args = _parser().parse_args(argv)
    if args.benchmark == "conventions":
        return _conventions(args)
    if args.benchmark == "matching":
        return _matching(args)
    try:
        models = chosen(args.zoo, args.models)
    except FxprofError as err:
        print(f"benchmarks: {err}", file=sys.stderr)
        return 2
    results: Sequence[Any]
    if args.benchmark == "coverage":
        devices = ("cpu", "meta") if args.device == "both" else (args.device,)
        results = coverage.run(args.zoo, models, devices)
        printed, good = coverage.lines(args.zoo, results)
    else:
        results = accuracy.run(args.zoo, models)
        printed, good = accuracy.lines(args.zoo, results)
    print("\n".join(printed))
    if args.out and results:
        _write(args.out, results)
    return 0 if good else 1


def _matching(args: argparse.Namespace) -> int:
    known = matching.names()
    if unknown := sorted(set(args.models or ()) - set(known)):
        print(f"benchmarks: no pair is called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    results = matching.run(args.models)
    printed, good = matching.lines(results)
    print("\n".join(printed))
    if args.out and results:
        _write(args.out, results)
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    for name, text in (("coverage", coverage.__doc__), ("accuracy", accuracy.__doc__)):
        one = benchmarks.add_parser(name, description=text)
        one.add_argument("zoo", choices=sorted(ZOOS))
        one.add_argument("--models", type=lambda names: names.split(","), metavar="A,B", help="default: all")
        one.add_argument("--out", type=Path, metavar="FILE.csv", help="also write every result there")
    one = benchmarks.add_parser("matching", description=matching.__doc__)
    one.add_argument("--models", type=lambda names: names.split(","), metavar="A,B", help="pairs; default: all")
    one.add_argument("--out", type=Path, metavar="FILE.csv", help="also write every result there")
    _add_conventions(benchmarks.add_parser("conventions", description=conventions.__doc__))
    benchmarks.choices["coverage"].add_argument("--device", choices=("cpu", "meta", "both"), default="both")
    return parser


def _add_conventions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=lambda names: names.split(","), metavar="A,B", help="default: classification")
    parser.add_argument("--cases", action="store_true", help="small models on which tools disagree, instead of a zoo")
    parser.add_argument("--tools", type=lambda names: names.split(","), metavar="A,B", help="default: all installed")
    parser.add_argument("--record", type=Path, metavar="FILE.json", help="also keep there what the tools said")


def _conventions(args: argparse.Namespace) -> int:
    tools = args.tools or list(peers.installed())
    if unknown := sorted(set(tools) - set(peers.LIVE)):
        print(f"benchmarks: no tool is called {', '.join(unknown)}; one of {', '.join(peers.LIVE)}", file=sys.stderr)
        return 2
    if args.cases:
        compared = conventions.run_cases(tools)
    else:
        compared = conventions.run(args.models or conventions.models(), tools)
    printed, good = conventions.lines(compared)
    print("\n".join(printed))
    if args.record:
        conventions.record(args.record, compared)
    return 0 if good else 1


def _write(path: Path, results: Sequence[Any]) -> None:
    rows = [asdict(result) for result in results]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
