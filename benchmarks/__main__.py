"""``python -m benchmarks NAME``; exit 1 if something failed or differs without an explanation, 2 on bad input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import accuracy, conventions, coverage, growth, loading, matching, picture, profile, readme, speed
from fxprof.errors import FxprofError

# Each has add(parser), its options, and main(args), which runs it, prints its lines and says whether all is well.
BENCHMARKS = {
    "coverage": coverage,
    "accuracy": accuracy,
    "conventions": conventions,
    "matching": matching,
    "loading": loading,
    "speed": speed,
    "growth": growth,
    "profile": profile,
    "picture": picture,
    "readme": readme,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    chosen = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True)
    for name, benchmark in BENCHMARKS.items():
        text = (benchmark.__doc__ or "").strip()
        benchmark.add(chosen.add_parser(name, help=text.splitlines()[0], description=text))
    args = parser.parse_args(argv)
    try:
        return 0 if BENCHMARKS[args.benchmark].main(args) else 1
    except FxprofError as err:
        print(f"benchmarks: {err}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
