"""``load``: match, check everything, then commit. The model changes in the last step only (``commit.py``).

Everything that can be wrong is decided on names, shapes, dtypes and values that a dtype may not hold, with the tensors
mapped from the file instead of read into memory, and adaptations written as copies between views (``pieces.py``).
What comes after the commit only looks at the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fxprof.checkpoint import optimizer as optimizers
from fxprof.checkpoint import pieces, targets
from fxprof.checkpoint.checks import check_coverage, check_keys, check_plan, check_strict, completed, sure
from fxprof.checkpoint.commit import Draft, commit
from fxprof.checkpoint.devices import on_cpu
from fxprof.checkpoint.matching import match as make_plan
from fxprof.checkpoint.plan import Match, Plan
from fxprof.checkpoint.reading import Checkpoint, read
from fxprof.checkpoint.result import Change, Result
from fxprof.checkpoint.sharing import disagreeing
from fxprof.errors import CheckpointError, check_flag
from fxprof.views.text import listed

if TYPE_CHECKING:
    from fxprof.checkpoint.pieces import Piece


@on_cpu()
def load(
    model: nn.Module,
    source: Any,
    *,
    prefix: str = "auto",
    rename: Any = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    adapt: str | Sequence[str] = (),
    inputs: Any = None,
    trust: bool = False,
    container: str | None = None,
    plan: Plan | None = None,
    strict: bool = False,
    force: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    freeze: bool = False,
) -> Result:
    """Load a checkpoint into ``model``: what fits goes over, the rest is reported. All or nothing.

    Dtypes and devices stay the model's; tied, sharded and meta tensors are handled.

    Args:
        model: any module, wrapped or not.
        source: a path, a URL, or a mapping of names to tensors.
        prefix: as in ``match``, like ``rename``, ``include``, ``exclude``, ``adapt`` and ``inputs``.
        rename: "auto" applies what is sure, "best" also the likeliest of what is not.
        include: patterns of the model's names to load.
        exclude: patterns of the model's names to leave.
        adapt: adaptations to allow.
        inputs: example inputs, so that matching can look at the model's graph.
        trust: allow a pickle that runs code.
        container: which of several dicts of tensors in the file.
        plan: a plan made by ``match``, applied as it is, whatever else says how to match.
        strict: refuse unless every tensor of both sides finds its place.
        force: load although little fits, values overflow, or tied values differ.
        optimizer: its state is restored from the checkpoint, or from the optimizer's file in the folder with it, for
            the parameters that were loaded. Of several, the one that fits; refused where two do.
        freeze: loaded parameters need no gradient any more.

    Raises:
        CheckpointError: something cannot be read, matched or applied; the model is as it was.
    """
    for name, flag in (("strict", strict), ("force", force), ("freeze", freeze)):
        check_flag(name, flag)
    targets.check_model(model)
    model_tensors = targets.tensors(model)
    checkpoint = read(source, trust=trust, container=container)
    if plan is None:
        checkpoint = checkpoint.suited({name: tuple(tensor.shape) for name, tensor in model_tensors.items()})
        made = make_plan(
            model, checkpoint, prefix=prefix, rename=rename, include=include, exclude=exclude,
            adapt=adapt, inputs=inputs, trust=trust, container=container,
        )  # fmt: skip
        plan = made if rename == "best" else sure(made)
    else:
        plan = check_plan(plan, model_tensors)
        checkpoint = checkpoint.taken(plan.container)
        check_keys(plan, checkpoint.specs)
        plan = completed(plan, model_tensors, checkpoint.specs)
    if strict:
        check_strict(plan)
    if not force:
        check_coverage(plan, chosen=bool(include or exclude))
    checkpoint.verify({name for match in plan.matches for name in match.sources})
    draft = _draft(model, model_tensors, plan, checkpoint, force)
    follow = None
    if optimizer is not None:
        follow = optimizers.prepare(optimizer, model, plan, checkpoint)
    finite = {targets.identity(piece.target) for piece in commit(draft, follow, freeze)}
    return Result(
        plan=plan,
        trainable_parameters=tuple(parameter for parameter in model.parameters() if parameter.requires_grad),
        optimizer=None if follow is None else follow.report,
        changes=(*draft.changes, *_non_finite(plan, model, finite)),
        extras=checkpoint.extras,
    )


# -- drafting: everything that can fail --------------------------------------------------------


def _draft(
    model: nn.Module, model_tensors: Mapping[str, Tensor], plan: Plan, checkpoint: Checkpoint, force: bool
) -> Draft:
    chosen = {id(model_tensors[match.target]): model_tensors[match.target] for match in plan.matches}
    draft = Draft(replacements=_materialized(model, chosen, force))
    made = {id(entry.old): entry.new for entry in draft.replacements}
    memory = {targets.memory(tensor) for tensor in targets.everything(model)} - {0}
    filled: dict[Any, tuple[Match, list[Piece]]] = {}
    used = {name for match in plan.matches for name in match.sources}
    written: list[tuple[str, Piece]] = []
    for match in plan.matches:
        target = model_tensors[match.target]
        target = made.get(id(target), target)
        sources = [_plain(checkpoint.tensor(name), memory) for name in match.sources]
        for name, source in zip(match.sources, sources):
            pieces.check_scaled(name, source, checkpoint.specs, used)
        found = _pieces(model, match, target, sources)
        before = filled.setdefault(targets.identity(target), (match, found))
        if before[0] is not match:
            _check_tied(draft, before, (match, found), force)
            continue
        _note_values(draft, match, target, sources, force)
        written += [(match.target, piece) for piece in found]
        draft.loaded.append(target)
    draft.copies += [piece for _, piece in written]
    _check_shared(draft, written, force)
    for name, tied in plan.repeats.items():
        _check_repeat(draft, name, tied, plan, checkpoint, force)
    return draft


def _materialized(model: nn.Module, chosen: Mapping[int, Tensor], force: bool) -> list[targets.Replacement]:
    meta = {key: tensor for key, tensor in chosen.items() if tensor.is_meta}
    # An old file lacks the counters of BatchNorm, which start at zero.
    counters = {
        id(buffer): buffer
        for name, buffer in model.named_buffers()
        if buffer.is_meta and name.endswith("num_batches_tracked")
    }
    rest = targets.without_values(model, {**meta, **counters})
    if rest and not force:
        raise CheckpointError(
            f"{listed(rest)} of the model are on the meta device and the load has no values for them: "
            "build the model with memory (to_empty, or without torch.device('meta')) and load again"
        )
    found = targets.materialize(model, {**counters, **meta})
    for entry in found:
        if id(entry.old) not in meta:
            entry.new.zero_()
    return found


def _plain(tensor: Tensor, memory: set[int]) -> Tensor:
    """The values alone: whole if sharded, and not in memory of the model, which the copies overwrite."""
    if targets.is_sharded(tensor):
        tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    plain = torch.Tensor.detach(tensor)
    return plain.clone() if targets.memory(plain) in memory else plain


def _pieces(model: nn.Module, match: Match, target: Tensor, sources: list[Tensor]) -> list[Piece]:
    for name, source in zip(match.sources, sources):
        pieces.check_source(name, source)
    pieces.check_target(match.target, target)
    pieces.check_dtypes(match, target, sources)
    with torch.no_grad():
        return pieces.pieces(match, target, sources, model)


def _check_tied(draft: Draft, first: tuple[Match, list[Piece]], second: tuple[Match, list[Piece]], force: bool) -> None:
    """Two values for one tensor must be one value."""
    if len(first[1]) == len(second[1]) and all(pieces.equal(a.source, b.source) for a, b in zip(first[1], second[1])):
        return
    _conflict(draft, second[0].target, first[0], " + ".join(second[0].sources), force)


def _check_repeat(draft: Draft, name: str, target: str, plan: Plan, checkpoint: Checkpoint, force: bool) -> None:
    """A tensor that the checkpoint holds under two names must have one value."""
    match = next((match for match in plan.matches if match.target == target), None)
    if match is None or len(match.sources) > 1:
        return
    if not pieces.equal(checkpoint.tensor(match.sources[0]), checkpoint.tensor(name)):
        _conflict(draft, target, match, name, force)


def _check_shared(draft: Draft, written: Sequence[tuple[str, Piece]], force: bool) -> None:
    """What two tensors of the model have in common must have one value, too."""
    with torch.no_grad():
        names = disagreeing(written)
    if names and not force:
        raise CheckpointError(
            f"{listed(names)} of the model would be written over in part: another tensor shares their memory, and the "
            "checkpoint has other values for it; leave one out with exclude=, or force=True loads them so"
        )
    draft.changes += [
        Change(name, "tied", "shares memory with another, which has other values in the checkpoint") for name in names
    ]


def _conflict(draft: Draft, target: str, first: Match, other: str, force: bool) -> None:
    names = f"{' + '.join(first.sources)!r} and {other!r}"
    if not force:
        raise CheckpointError(
            f"{names} differ in the checkpoint and are one tensor in the model, {first.target!r}: "
            "leave one out with exclude=, or force=True takes the first"
        )
    draft.changes.append(Change(target, "tied", f"{names} differ and are one tensor; the first was taken"))


def _note_values(draft: Draft, match: Match, target: Tensor, sources: list[Tensor], force: bool) -> None:
    """Refuse values that the model's dtype cannot hold; note conversions."""
    for name, source in zip(match.sources, sources):
        there, here = pieces.dtype_name(source.dtype), pieces.dtype_name(target.dtype)
        if there == here:
            continue
        draft.changes.append(Change(match.target, "dtype", f"{there} to {here}"))
        seen = pieces.values(source, target.dtype) if pieces.may_not_fit(source.dtype, target.dtype) else None
        if seen and seen.changed:
            raise CheckpointError(
                f"{seen.changed:,} values of {name!r} do not fit {here}, which {match.target!r} is; "
                "leave it out with exclude="
            )
        if seen and seen.overflow:
            if not force:
                raise CheckpointError(
                    f"{seen.overflow:,} values of {name!r} ({there}) would become infinite in {here}, which "
                    f"{match.target!r} is; force=True loads them so"
                )
            draft.changes.append(Change(match.target, "overflow", f"{seen.overflow:,} values became infinite"))


def _non_finite(plan: Plan, model: nn.Module, finite: set[tuple[Any, ...]]) -> list[Change]:
    """What is NaN or infinite after loading. Found on the model, whose memory is near; the file's pages are not.

    ``finite`` are identities of tensors that were looked at when they were copied.
    """
    found = []
    tensors = targets.tensors(model)
    for name in (match.target for match in plan.matches):
        if targets.identity(tensors[name]) in finite:
            continue
        local = targets.local_part(tensors[name].detach())
        count = pieces.values(local, local.dtype).non_finite
        if count:
            found.append(Change(name, "non-finite", f"{count:,} values are NaN or infinite"))
    return found
