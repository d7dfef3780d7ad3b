"""``fxprof inspect FILE``, ``fxprof match MODEL FILE``, ``fxprof load MODEL FILE -o OUT``.

Exit status: 0 everything loads; 1 something is left; 2 a wrong argument, model or file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxprof.commands.models import BUILT, load_torch
from fxprof.commands.output import colour, show, width
from fxprof.commands.typed import typed
from fxprof.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from fxprof.checkpoint.plan import Plan

ADAPTATIONS = ("first-conv", "head-rows", "pos-embed", "reshape", "qkv", "transpose", "rope")
_FILE = "a checkpoint: .pth .pt .bin .tar .safetensors, a sharded index, a folder of these, or a URL"
_PREFIX = "what to take off the checkpoint's names, or else off the model's; '' is nothing (default: auto)"
_RENAME = (
    "auto: what is sure (default); best: also the likeliest; none; or OLD=NEW, repeated, to settle a part of names"
)


def add(commands: Any) -> None:
    """Add the three commands to the parser's."""
    _add_inspect(commands.add_parser("inspect", help="list what is in a checkpoint, without loading it"))
    match = commands.add_parser("match", help="show what of a checkpoint would go where in a model")
    match.set_defaults(run=_match)
    _add_matching(match)
    load = commands.add_parser("load", help="load a checkpoint into a model and write its weights")
    load.set_defaults(run=_load)
    _add_matching(load)
    load.add_argument("--plan", type=Path, metavar="FILE.json", help="apply a plan saved by match --format json")
    load.add_argument("--strict", action="store_true", help="refuse unless every tensor finds its place")
    load.add_argument("--force", action="store_true", help="load although little fits")
    load.add_argument(
        "-o", "--output", required=True, type=Path, metavar="OUT", help="where to write, .safetensors or .pth"
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_inspect)
    parser.add_argument("file", metavar="FILE", help=_FILE)
    _add_reading(parser)


def _add_matching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=BUILT)
    parser.add_argument("file", metavar="FILE", help=_FILE)
    parser.add_argument("--prefix", default="auto", help=_PREFIX)
    parser.add_argument("--rename", action="append", metavar="HOW", help=_RENAME)
    parser.add_argument("--adapt", action="append", choices=ADAPTATIONS, default=[], help="allow this; repeat for more")
    for name, text in (("--include", "load only these"), ("--exclude", "leave these")):
        parser.add_argument(
            name, action="append", default=[], metavar="PATTERN", help=f"{text}, such as 'fc.*'; repeat"
        )
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--container", metavar="KEY", help="which dict of tensors in the file")
    parser.add_argument("--trust", action="store_true", help="allow a pickle that runs code")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


# -- commands ----------------------------------------------------------------------------------


def _inspect(args: argparse.Namespace) -> int:
    load_torch()
    from fxprof.checkpoint.reading import read

    checkpoint = read(args.file, trust=args.trust, container=args.container)
    show(json.dumps(checkpoint.to_dict(), indent=1) if args.format == "json" else typed(str(checkpoint), args))
    return 0


def _match(args: argparse.Namespace) -> int:
    load_torch()
    from fxprof.checkpoint.matching import match

    plan = match(_model(args), args.file, **_matching(args))
    show(plan.to_json() if args.format == "json" else _shown(plan, args))
    return _status(plan)


def _load(args: argparse.Namespace) -> int:
    load_torch()
    from fxprof.checkpoint.loading import load
    from fxprof.checkpoint.result import grouped
    from fxprof.checkpoint.saving import check_path, save
    from fxprof.views.grid import prose

    check_path(args.output)
    plan = None
    if args.plan:
        given = [name for name in ("rename", "adapt", "include", "exclude") if getattr(args, name)]
        if given or args.prefix != "auto":
            raise InputError(f"--plan is applied as it is: give --{(given or ['prefix'])[0]} to match, which makes it")
        plan = _saved_plan(args.plan)
    model = _model(args)
    result = load(model, args.file, plan=plan, strict=args.strict, force=args.force, **_matching(args))
    save(model, args.output)
    if args.format == "json":
        show(json.dumps(result.to_dict(), indent=1))
    else:
        changed = prose([typed(line, args) for line in grouped(result.changes)], width(args))
        show("\n".join([_shown(result.plan, args, done=True), *changed]))
    return _status(result.plan)


def _shown(plan: Plan, args: argparse.Namespace, *, done: bool = False) -> str:
    from fxprof.views.plan import render

    said = replace(plan, notes=tuple(typed(note, args) for note in plan.notes))
    return render(said, done=done, width=width(args), colour=colour(args))


def _status(plan: Plan) -> int:
    left = plan.missing_keys or plan.unexpected_keys or plan.mismatched_keys or plan.ambiguous
    return 1 if left else 0


def _model(args: argparse.Namespace) -> nn.Module:
    from fxprof import zoo

    with zoo.surroundings(args.model):
        return zoo.build(args.model, device="cpu", inputs=False).model


def _matching(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "prefix": args.prefix, "rename": _rename(args.rename), "include": tuple(args.include),
        "exclude": tuple(args.exclude), "adapt": tuple(args.adapt), "trust": args.trust, "container": args.container,
    }  # fmt: skip


def _rename(given: list[str] | None) -> Any:
    if not given:
        return "auto"
    if len(given) == 1 and given[0] in ("auto", "best", "none"):
        return False if given[0] == "none" else given[0]
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (old, sign, _) in zip(given, pairs) if not (old and sign)]:
        raise InputError(f"--rename must be auto, best or none, or OLD=NEW (may repeat), got {wrong[0]!r}")
    return {old: new for old, _, new in pairs}


def _saved_plan(path: Path) -> Plan:
    from fxprof.checkpoint.plan import Plan

    try:
        return Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as err:
        raise InputError(f"cannot read {str(path)!r}: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise InputError(f"{str(path)!r} must be a plan saved by fxprof match --format json: {err}") from err
