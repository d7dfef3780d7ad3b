"""Checkpoints of one library onto the same architecture of another: right by equal outputs, wrong by sure keys."""

from __future__ import annotations

import argparse
import importlib.util
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.matching_pairs import Pair, pairs, renamed, same_eps, scrambled
from benchmarks.options import add_models, add_out, write
from fxprof.checkpoint.graph import describe
from fxprof.checkpoint.matching import match_names
from fxprof.checkpoint.names import TRACKED
from fxprof.checkpoint.plan import Match, Plan, Target
from fxprof.errors import InputError
from fxprof.progress import progress
from fxprof.records import Shape

_TOLERANCE = 1e-3
_WANTED = {"registered": 0.95, "sorted": 0.90}


@dataclass(frozen=True)
class Matched:
    """One pair: whether outputs are equal per order, keys refused and wrong, and the seconds of one match."""

    pair: str
    registered: bool
    sorted: bool
    refused: int  # model tensors left to rename="best", registered order
    wrong: int  # sure keys that are wrong, over all orders and disturbances
    checked: int  # sure keys compared
    seconds: float
    skipped: str = ""


def names() -> list[str]:
    """The pairs' names."""
    return [pair.name for pair in pairs()]


def run(chosen: Sequence[str] | None = None, traced: bool = True) -> list[Matched]:
    """Match every pair in both orders, apply, compare outputs; then disturb the checkpoint."""
    wanted = [pair for pair in pairs() if not chosen or pair.name in chosen]
    by_name = {pair.name: pair for pair in wanted}
    return [_one(by_name[name], traced) for name in progress([pair.name for pair in wanted], "pair")]


def lines(results: Iterable[Matched]) -> tuple[list[str], bool]:
    """The printed lines, and whether all aims are met."""
    printed = []
    done = [result for result in results if not result.skipped]
    for result in results:
        if result.skipped:
            printed.append(f"{result.pair:28} skipped: {result.skipped} is not installed")
            continue
        right = f"registered {_word(result.registered)}, sorted {_word(result.sorted)}"
        printed.append(
            f"{result.pair:28} {right}, refused {result.refused}, "
            f"wrong {result.wrong} of {result.checked:,} sure, {result.seconds:.2f} s"
        )
    if not done:
        return printed, True
    shares = {order: sum(getattr(result, order) for result in done) / len(done) for order in _WANTED}
    wrong, checked = sum(result.wrong for result in done), sum(result.checked for result in done)
    printed.append(
        f"{len(done)} pairs: {shares['registered']:.0%} right in registered order, {shares['sorted']:.0%} sorted; "
        f"{wrong} wrong of {checked:,} sure keys"
    )
    return printed, wrong == 0 and all(shares[order] >= share for order, share in _WANTED.items())


def _word(right: bool) -> str:
    return "right" if right else "WRONG"


# -- one pair --------------------------------------------------------------------------------------


def _one(pair: Pair, traced: bool) -> Matched:
    for library in pair.needs:
        if importlib.util.find_spec(library) is None:
            return Matched(pair.name, False, False, 0, 0, 0, 0.0, library)
    torch.manual_seed(0)
    source, model, x = scrambled(same_eps(pair.source())), same_eps(pair.target()), pair.inputs()
    state = renamed(source.state_dict(), pair.rename_keys)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    targets = {False: describe(model), True: describe(model, [x]) if traced else describe(model)}
    with torch.no_grad():
        wanted = _output(source, x)
    twins = _twins(state)
    del source
    right, plans = {}, {}
    start = time.perf_counter()
    for order in _WANTED:
        given = dict(sorted(shapes.items())) if order == "sorted" else shapes
        plans[order] = match_names(given, targets[traced], rename="best", adapt=pair.adapt)
    seconds = (time.perf_counter() - start) / 2
    for order, plan in plans.items():
        _fill(model, state, plan)
        with torch.no_grad():
            right[order] = _equal(wanted, _output(model, x))
    good = [order for order in _WANTED if right[order]]
    truth = {match.target: _content(match, twins) for match in plans[good[0] if good else "registered"].matches}
    wrong, checked = _disturbed(shapes, targets, truth, twins, pair.adapt)
    refused = sum(not match.sure for match in plans["registered"].matches)
    return Matched(pair.name, right["registered"], right["sorted"], refused, wrong, checked, seconds)


def _output(model: nn.Module, x: Tensor) -> Tensor:
    found = model(x)
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if getattr(found, name, None) is not None and not isinstance(found, Tensor):
            # BERT's pooler has no counterpart in an encoder; DINOv2's is its first token.
            if name == "pooler_output" and hasattr(model, "pooler"):
                continue
            return getattr(found, name)
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())


def _fill(model: nn.Module, state: Mapping[str, Tensor], plan: Plan) -> None:
    """Apply a plan in the plainest way, over values that could be mistaken for nothing."""
    own = model.state_dict()
    counts = {name for name in own if name.endswith(("relative_position_index", "position_ids", TRACKED))}
    with torch.no_grad():
        for name, value in own.items():
            if name not in counts:
                value.fill_(0.3)
        for match in plan.matches:
            own[match.target].copy_(_values(match, state).reshape(own[match.target].shape))


def _values(match: Match, state: Mapping[str, Tensor]) -> Tensor:
    parts = [state[key] for key in match.sources]
    if match.how.startswith("qkv[") and ":" in match.how:
        start, end = map(int, match.how[4:-1].split(":"))
        return parts[0][start:end]
    if match.how.startswith("qkv["):
        index, count = map(int, match.how[4:-1].split("/"))
        return parts[0].chunk(count)[index]
    if match.how == "transpose":
        return parts[0].t()
    if match.how == "rope":  # four heads, from neighbouring pairs to halves
        return parts[0].unflatten(0, (4, -1, 2)).transpose(1, 2).reshape(parts[0].shape)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


# -- disturbed checkpoints -------------------------------------------------------------------------


def _twins(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Each key -> the first key of the same tensor: either name of a tied one is right."""
    first: dict[tuple[int, Shape], str] = {}
    return {key: first.setdefault((value.data_ptr(), tuple(value.shape)), key) for key, value in state.items()}


def _content(match: Match, twins: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """What decides the values: the keys, and the block of rows where there is one."""
    return tuple(twins.get(key, key) for key in match.sources), match.how if match.how.startswith("qkv[") else ""


def _disturbed(
    shapes: Mapping[str, Shape],
    targets: Mapping[bool, Target],
    truth: Mapping[str, tuple[tuple[str, ...], str]],
    twins: Mapping[str, str],
    adapt: Sequence[str],
) -> tuple[int, int]:
    """Sure matches that differ from the right ones: other orders, no head, dropped layers, an added tower."""
    chance = random.Random(0)
    wrong = checked = 0
    for given in _disturbances(dict(shapes), chance):
        for target in targets.values():
            for match in match_names(given, target, adapt=adapt).matches:
                if match.sure and not match.target.endswith(TRACKED):
                    checked += 1
                    wrong += truth.get(match.target) != _content(match, twins)
    return wrong, checked


def _disturbances(shapes: dict[str, Shape], chance: random.Random) -> Iterable[dict[str, Shape]]:
    keys = list(shapes)
    yield shapes
    yield dict(sorted(shapes.items()))
    for _ in range(2):
        chance.shuffle(keys)
        yield {key: shapes[key] for key in keys}
    heads = {keys_prefix(key) for key in list(shapes)[-2:]}
    yield {key: shape for key, shape in shapes.items() if keys_prefix(key) not in heads}
    owners = sorted({keys_prefix(key) for key in shapes})
    for share in (1, 1, 3):
        gone = set(chance.sample(owners, share))
        yield {key: shape for key, shape in shapes.items() if keys_prefix(key) not in gone}
    stages = sorted(
        {key[: key.index(".", key.index(digit))] for key in shapes for digit in "0123" if f".{digit}." in key}
    )
    for stage in chance.sample(stages, min(2, len(stages))):
        yield {key: shape for key, shape in shapes.items() if not key.startswith(f"{stage}.")}
    yield {**shapes, **{f"tower.{key}": shape for key, shape in shapes.items()}}
    half = {f"neck.{key}": shape for key, shape in list(shapes.items())[: len(shapes) // 2]}
    yield {**half, **shapes}


def keys_prefix(key: str) -> str:
    """The owner of a tensor."""
    return key.rpartition(".")[0]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_models(parser, "pairs; default: all")
    add_out(parser)


def main(args: argparse.Namespace) -> bool:
    """Run and print; whether enough is right and nothing sure is wrong. Raises InputError on an unknown pair."""
    known = names()
    if unknown := sorted(set(args.models or ()) - set(known)):
        raise InputError(f"no pair is called {', '.join(unknown)}; there are {', '.join(known)}")
    matched = run(args.models)
    printed, good = lines(matched)
    print("\n".join(printed))
    write(args.out, matched)
    return good
