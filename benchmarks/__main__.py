"""``python -m benchmarks``; exit 1 if something failed or differs without an explanation."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import accuracy, coverage
from benchmarks.zoos import ZOOS, chosen
from fxprof.errors import FxprofError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its lines, the summary last."""
    args = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    for name, text in (("coverage", coverage.__doc__), ("accuracy", accuracy.__doc__)):
        one = benchmarks.add_parser(name, description=text)
        one.add_argument("zoo", choices=sorted(ZOOS))
        one.add_argument("--models", type=lambda names: names.split(","), metavar="A,B", help="default: all")
        one.add_argument("--out", type=Path, metavar="FILE.csv", help="also write every result there")
    benchmarks.choices["coverage"].add_argument("--device", choices=("cpu", "meta", "both"), default="both")
    return parser


def _write(path: Path, results: Sequence[Any]) -> None:
    rows = [asdict(result) for result in results]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
