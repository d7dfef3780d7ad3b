"""What a plan must fulfil before anything of it is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from fxprof.checkpoint.names import TRACKED
from fxprof.checkpoint.plan import Plan
from fxprof.errors import CheckpointError, InputError
from fxprof.views.text import listed

LEAST_COVERAGE = 0.5


def sure(plan: Plan) -> Plan:
    """The plan without its guesses; what they would have filled is ambiguous."""
    guesses = {match.target: match.sources for match in plan.matches if not match.sure}
    if not guesses:
        return plan
    return replace(
        plan,
        matches=tuple(match for match in plan.matches if match.sure),
        ambiguous={**plan.ambiguous, **{name: found for name, found in guesses.items() if name not in plan.ambiguous}},
    )


def check_plan(plan: Plan, model_tensors: Mapping[str, Tensor]) -> Plan:
    """The plan, if it is one of this model. Raises InputError for what is no plan, else CheckpointError."""
    if not isinstance(plan, Plan):
        raise InputError(f"plan= must be a Plan from match or Plan.from_dict, got {type(plan).__name__}")
    plan = plan.checked()
    names = [match.target for match in plan.matches]
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise CheckpointError(f"the plan must name each tensor of the model once, got {listed(twice)} twice")
    if unknown := sorted(set(names) - set(model_tensors)):
        raise CheckpointError(f"the plan names {listed(unknown)}, which the model does not have")
    return plan


def check_keys(plan: Plan, specs: Mapping[str, Any]) -> None:
    """Refuse a plan of another checkpoint. Raises CheckpointError."""
    if lost := sorted({name for match in plan.matches for name in match.sources} - set(specs)):
        raise CheckpointError(f"the plan names {listed(lost)}, which the checkpoint does not hold")


def completed(plan: Plan, model_tensors: Mapping[str, Tensor], specs: Mapping[str, Any]) -> Plan:
    """A plan that was made for another model or edited, with what it does not mention as missing and unexpected."""
    given = {match.target for match in plan.matches}
    named = {*given, *plan.missing_keys, *plan.ambiguous, *plan.mismatched_keys, *plan.excluded, *plan.tied}
    known = {id(model_tensors[name]) for name in named if name in model_tensors}
    missing = [name for name, tensor in model_tensors.items() if id(tensor) not in known]
    used = {key for keys in (*(match.sources for match in plan.matches), *plan.ambiguous.values()) for key in keys}
    used |= {*plan.unexpected_keys, *plan.mismatched_sources.values(), *plan.repeats}
    # Of what was left out with include= and exclude=, a plan keeps no sources.
    unexpected = [key for key in specs if key not in used and not plan.excluded]
    return replace(
        plan,
        missing_keys=(*plan.missing_keys, *(name for name in missing if not name.endswith(TRACKED))),
        unexpected_keys=(*plan.unexpected_keys, *(key for key in unexpected if not key.endswith(TRACKED))),
    )


def check_strict(plan: Plan) -> None:
    """Refuse a plan that leaves anything on either side. Raises CheckpointError."""
    lines = [
        *(f"missing {name!r}" for name in sorted({*plan.missing_keys, *plan.ambiguous})),
        *(f"unexpected {name!r}" for name in sorted(plan.unexpected_keys)),
        *(
            f"{name!r} is {ours} in the model and {theirs} in the checkpoint"
            for name, (ours, theirs) in sorted(plan.mismatched_keys.items())
        ),
    ]
    if lines:
        raise CheckpointError(f"strict=True needs every tensor to find its place: {'; '.join(lines)}")


def check_coverage(plan: Plan, chosen: bool) -> None:
    """Refuse what hardly fits. A few large tensors that differ (a head, a table) are not that: tensors count too."""
    share = plan.coverage
    tensors = [share.tensors / (total or 1) for total in (share.model_tensors, share.checkpoint_tensors)]
    few = max(share.model, share.checkpoint, *tensors) < LEAST_COVERAGE and not (chosen or plan.excluded)
    if few or not plan.matches:
        why = plan.notes[0].rstrip(".") if plan.notes else "their names and shapes do not correspond"
        hint = "; force=True loads what fits" if plan.matches else ""
        count = f"{share.tensors if plan.matches else 0:,} of the model's {share.model_tensors:,} tensors fit"
        raise CheckpointError(f"nothing was loaded, because {count}: {why}{hint}")
