"""Hints as they are typed: a message says ``rename='best'``, the command line has ``--rename best``."""

from __future__ import annotations

import argparse
import re

_ARGUMENT = re.compile(r"(?<![\w.?&-])([a-z]+)=(True|'[^']*')?(?!\w)")


def typed(text: str, args: argparse.Namespace) -> str:
    """A message with the arguments that this command has as options written as such.

    >>> typed("pass trust=True, or adapt='rope'; choose with prefix=", argparse.Namespace(trust=0, adapt=0, prefix=0))
    'pass --trust, or --adapt rope; choose with --prefix'
    >>> typed("'hf:llama?trust=True' with inputs= or strict=True", argparse.Namespace(trust=0))
    "'hf:llama?trust=True' with inputs= or strict=True"
    """
    return _ARGUMENT.sub(lambda found: _option(found) if found[1] in vars(args) else found[0], text)


def _option(found: re.Match[str]) -> str:
    value = (found[2] or "").strip("'")
    return f"--{found[1]}" + (f" {value}" if value not in ("", "True") else "")
