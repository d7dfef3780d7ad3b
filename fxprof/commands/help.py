"""The form of ``--help``: the same text under every Python, at the width of the terminal."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

_MOST = 100  # columns; wider lines are hard to read


class HelpFormatter(argparse.HelpFormatter):
    """``-o, --output FILE``, the value named once, as newer Pythons write it."""

    def __init__(self, prog: str, width: int | None = None, **given: Any) -> None:
        super().__init__(prog, max_help_position=30, width=width, **given)
        self._width = min(self._width, _MOST)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        value = "" if action.nargs == 0 else f" {self._format_args(action, action.dest.upper())}"
        return ", ".join(action.option_strings) + value


def shaped(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give a parser and its commands this form: a usage of one line, since the options are listed below it."""
    parser.formatter_class = HelpFormatter
    for command in commands(parser).values():
        command.formatter_class = HelpFormatter
        positional = (_place(action) for action in command._actions if not action.option_strings)
        command.usage = " ".join([command.prog, "[options]", *positional])
    return parser


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, by name."""
    return dict(_choices(parser).choices)


def summaries(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the parser's own help says of each command."""
    return {action.dest: action.help for action in _choices(parser)._choices_actions}


def _choices(parser: argparse.ArgumentParser) -> Any:
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def text(parser: argparse.ArgumentParser, width: int) -> str:
    """What ``--help`` prints, at a given width and without colour."""
    before = parser.formatter_class
    parser.formatter_class = partial(HelpFormatter, width=width)
    vars(parser)["color"] = False  # Python 3.14's; unknown to earlier ones
    try:
        return parser.format_help().rstrip()
    finally:
        parser.formatter_class = before


def _place(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"+": f"{name} ...", "?": f"[{name}]", "*": f"[{name} ...]"}.get(str(action.nargs), name)
