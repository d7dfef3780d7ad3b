"""Other tools' counting, as data over one Report: ``report.count("thop")`` is what thop would print.

    parts.py       causes, Item, Count, Convention: a tool's number is the sum of its items
    operators.py   tools that see every op: a table of op names
    hooks.py       tools that hook module calls: a table of layer types
    missed.py      why a tool does not see an op
    own.py         fxprof's own MACs and FLOPs, to compare with
    difference.py  the difference between two conventions, by cause

One file per tool: its version, where its formulas were read, its table, and what it cannot see. To add
one, write such a file and its line in CONVENTIONS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches

from fxprof.conventions.deepspeed import DEEPSPEED
from fxprof.conventions.fvcore import FVCORE
from fxprof.conventions.own import FLOPS, MACS
from fxprof.conventions.parts import Convention, Count
from fxprof.conventions.ptflops import PTFLOPS
from fxprof.conventions.thop import THOP
from fxprof.conventions.timm import TIMM
from fxprof.conventions.torch import TORCH
from fxprof.conventions.torchinfo import TORCHINFO
from fxprof.conventions.torchreid import TORCHREID, TORCHREID_CONV_LINEAR
from fxprof.conventions.torchsummaryx import TORCHSUMMARYX
from fxprof.errors import InputError, shown
from fxprof.report import Report

__all__ = ["CONVENTIONS", "Convention", "Count", "conventions", "count", "find"]

CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        MACS, FLOPS, TORCHREID, TORCHREID_CONV_LINEAR, TORCH, FVCORE, THOP, PTFLOPS, TORCHINFO, DEEPSPEED,
        TORCHSUMMARYX, TIMM,
    )
}  # fmt: skip


def conventions() -> tuple[str, ...]:
    """The names that ``report.count`` and ``report.explain`` take."""
    return tuple(CONVENTIONS)


def find(name: str) -> Convention:
    """The convention of that name, in any case. Raises InputError when there is none."""
    known = {known.lower(): convention for known, convention in CONVENTIONS.items()}
    if not isinstance(name, str) or name.lower() not in known:
        close = get_close_matches(str(name).lower(), known, n=2)
        hint = f"; did you mean {' or '.join(known[key].name for key in close)}" if close else ""
        raise InputError(f"a convention must be one of {', '.join(CONVENTIONS)}, got {shown(name)}{hint}")
    return known[name.lower()]


def count(report: Report, name: str) -> Count:
    """What a tool would print for the model of a report."""
    check_forward(report)
    with fitting(report):
        return find(name).count(report)


@contextmanager
def fitting(report: Report) -> Iterator[None]:
    """Raise InputError where shapes do not fit the ops that have them, as in a saved report changed by hand."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError) as err:
        raise InputError(
            f"the ops of {report.name} must have the shapes that they were recorded with, got others, which cannot be "
            f"counted ({type(err).__name__}: {err}); make the report again"
        ) from err


def check_forward(report: Report) -> None:
    """Raises InputError for a report that holds a backward pass: the tools count a forward."""
    if report.training:
        raise InputError("a convention counts a forward, but the report was made with training=True; analyze without")
