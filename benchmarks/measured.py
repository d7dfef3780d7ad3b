"""One pass over models: each in its own process, every result written when it is there, the rest left for --resume."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from benchmarks.isolated import each
from benchmarks.options import limits, read, written
from benchmarks.zoos import warm_up
from fxprof.errors import InputError
from fxprof.progress import progress

J = TypeVar("J", bound=Hashable)
R = TypeVar("R")


def measured(
    work: Callable[[J], R], jobs: Sequence[J], args: argparse.Namespace, kind: type[R], job_of: Callable[[R], J],
    failed: Callable[[J, str], R],
) -> list[R]:  # fmt: skip
    """The results of ``work`` on every job, in the order of the jobs; ``args`` are those of ``options.py``.

    ``kind`` is the dataclass of a result, ``job_of`` the job it came from, ``failed(job, why)`` what stands for one
    whose process ended without.
    """
    if args.resume and args.out is None:
        raise InputError("--resume needs the --out FILE.csv to go on with")
    before = read(args.out, kind) if args.resume else []
    results = {job_of(result): result for result in before}
    todo = [job for job in jobs if job not in results]
    if todo:
        warm_up(args.zoo)
    fresh = written(args.out, each(work, todo, limits(args), failed), kind, append=bool(before))
    for result in progress(fresh, "model", lambda result: str(job_of(result)), len(todo)):
        results[job_of(result)] = result
    return [results[job] for job in jobs]
