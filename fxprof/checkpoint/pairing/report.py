"""Coverage in numbers, and the leftovers explained: one sentence for each cause."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod

from fxprof.checkpoint.names import TRACKED, numbers, template
from fxprof.checkpoint.pairing.outcome import adaptation
from fxprof.checkpoint.pairing.prefixes import Normalized
from fxprof.checkpoint.plan import Coverage, Match, Plan, Target
from fxprof.records import Shape
from fxprof.views.text import listed

_HALF = 0.5
_FEW = 4
# Buffers that forward computes from sizes alone; they carry nothing that was learned.
_COMPUTED = (TRACKED, "relative_position_index", "relative_coords_table", "position_ids", "attn_mask", "inv_freq")
_QUANTIZED = re.compile(
    r"(qweight|qzeros|scales|g_idx|weight_scale(_inv)?|scale_weight|zero_point|quant_state(\.\w+)?|absmax|quant_map|SCB)$"
)
_OWN = "_extra_state"  # what torch's get_extra_state is saved under
_ADAPTER = re.compile(r"(lora_[AB]|lora_(up|down)|lora_embedding|adapter|ia3|hada_)")


def coverage(matches: Sequence[Match], source: Mapping[str, Shape], target: Target) -> Coverage:
    """Tensors and shares of elements; the counters of BatchNorms do not count."""
    own = {name: shape for name, shape in target.shapes.items() if name not in target.aliases}
    # Buffers are no parameters; a table of indices can be larger than all weights.
    trained = {name: shape for name, shape in own.items() if name not in target.buffers} or own
    loaded = [match for match in matches if not match.target.endswith(TRACKED)]
    given = {match.target: own[match.target] for match in loaded if match.target in trained}
    keys = {key: source[key] for match in loaded for key in match.sources}
    return Coverage(
        tensors=len(loaded),
        model_tensors=sum(not name.endswith(TRACKED) for name in own),
        checkpoint_tensors=sum(not key.endswith(TRACKED) for key in source),
        model=_share(_elements(given), _elements(trained)),
        checkpoint=_share(_elements(keys), _elements(source)),
    )


def _elements(shapes: Mapping[str, Shape]) -> int:
    return sum(prod(shape) for name, shape in shapes.items() if not name.endswith(_COMPUTED))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def explain(
    plan: Plan, source: Mapping[str, Shape], kept: Sequence[str], hints: Iterable[str], found: Normalized
) -> tuple[str, ...]:
    """One sentence for each cause of leftovers; first whether the two belong together at all.

    ``kept`` are sentences about tensors that the two keep in different ways.
    """
    sentences = [
        *_family(plan, source, kept),
        *_prefixes(found),
        *hints,
        *_mismatches(plan),
        *_depth(plan),
        *_clashes(plan, found),
        *_rest(plan, bool(found.rivals)),
    ]
    return tuple(dict.fromkeys(sentences))


def packed(target: Target) -> list[str]:
    """A sentence about what a model keeps in its state and in no tensor that could be written to."""
    names = [name for name in target.beyond if not name.endswith(_OWN)]
    if not names:
        return []
    which = "is no parameter or buffer" if len(names) == 1 else "are no parameters or buffers"
    return [
        f"{listed(names, 3)} of the model's state {which} and cannot be loaded: "
        "load before the model is quantized, or with its own load_state_dict."
    ]


def own_states(extras: Iterable[str], target: Target) -> list[str]:
    """A sentence about states of modules' own making, which only they can read."""
    found = [name for name in extras if name.endswith(_OWN)]
    if not found or not any(name.endswith(_OWN) for name in target.beyond):
        return []
    return [f"{listed(found, 3)} of the checkpoint is not loaded: give result.extras[...] to set_extra_state."]


def _family(plan: Plan, source: Mapping[str, Shape], kept: Sequence[str]) -> list[str]:
    """Another model, another kind of file."""
    said = [*kept]
    count = len(source)
    quantized = sum(bool(_QUANTIZED.search(key)) for key in source)
    adapters = sum(bool(_ADAPTER.search(key)) for key in source)
    if quantized * 4 >= count:
        said.append(
            f"The checkpoint is quantized: {quantized:,} of its {count:,} tensors are scales or packed weights."
        )
    if adapters * 2 > count:
        said.append(
            f"The checkpoint holds adapters (LoRA or the like), no whole model: {adapters:,} of {count:,} tensors."
        )
    cover = plan.coverage
    if not cover.model_tensors and not said:
        said.append("The model has no parameters or buffers to load into.")
    if cover.model < _HALF and cover.checkpoint < _HALF and not plan.excluded:
        why = "" if said else f": {_width(plan) or _unlike(plan)}"
        shares = f"{cover.model:.0%} of the model's parameters and {cover.checkpoint:.0%} of the checkpoint's"
        said.append(f"Only {shares} would load{why}.")
    return said


def _unlike(plan: Plan) -> str:
    """Another model, unless most tensors do have candidates."""
    if 2 * len(plan.ambiguous) < plan.coverage.model_tensors:
        return "the two are probably different architectures"
    return f"{len(plan.ambiguous):,} of its tensors have several candidates, and nothing says which"


def _width(plan: Plan) -> str:
    """Another width of the same model: most sizes differ by one factor."""
    ratios: Counter[float] = Counter()
    for mine, theirs in plan.mismatched_keys.values():
        if mine and theirs and len(mine) == len(theirs) and theirs[0] and mine[0] != theirs[0]:
            ratios[mine[0] / theirs[0]] += 1
    if not ratios:
        return ""
    ratio, count = ratios.most_common(1)[0]
    if count < 4 or count * 2 < len(plan.mismatched_keys):
        return ""
    return f"the names agree, but {count:,} tensors of the model are {ratio:g} times as wide"


def _prefixes(found: Normalized) -> list[str]:
    said = []
    if any(found.preferred):
        taken = f"{found.preferred[0]}.*" if found.preferred[0] else "What has no prefix"
        said.append(f"{taken} was taken; {found.preferred[1]}.* fits as well, as its trailing copy.")
    if found.rivals:
        names = ", ".join(repr(name) for name in found.rivals)
        said.append(f"Several prefixes fit equally well ({names}); choose one with prefix=.")
    return said


def _mismatches(plan: Plan) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for name, (mine, theirs) in plan.mismatched_keys.items():
        kinds.setdefault(adaptation(name, mine, theirs), []).append(name)
    return [_mismatch(plan, kind, names) for kind, names in kinds.items()]


def _mismatch(plan: Plan, kind: str, names: Sequence[str]) -> str:
    """One sentence for all tensors that one adaptation would convert."""
    name = min(names, key=lambda text: (-len(plan.mismatched_keys[text][0]), text))
    mine, theirs = plan.mismatched_keys[name]
    sizes = f"{_x(mine)} in the model and {_x(theirs)} in the checkpoint"
    if kind == "head-rows" and len(names) <= _FEW:
        cause = f"{name} has {mine[0]:,} rows, the checkpoint's {theirs[0]:,}: another number of classes or tokens"
        return f"{cause}; adapt='head-rows' keeps what both have."
    if kind == "first-conv":
        cause = f"{name} takes {mine[1]} input channels, the checkpoint's {theirs[1]}"
        return f"{cause}; adapt='first-conv' converts it."
    if kind == "pos-embed":
        return f"{name} is {sizes}: another input size; adapt='pos-embed' resizes it."
    if kind == "transpose":
        return f"{len(names):,} weights lie the other way round, such as {name}; pass adapt='transpose'."
    if len(names) == 1:
        return f"{name} has another shape: {sizes}."
    return f"{len(names):,} tensors have another shape, such as {name}: {sizes}."


def _x(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _depth(plan: Plan) -> list[str]:
    """More or fewer layers of a kind than the other side has."""
    said = []
    for names, other, more, less in (
        (plan.missing_keys, [m.target for m in plan.matches], "The model", "the checkpoint"),
        (plan.unexpected_keys, [key for m in plan.matches for key in m.sources], "The checkpoint", "the model"),
    ):
        known = Counter(template(name) for name in other)
        extra = Counter(template(name) for name in names if numbers(name))
        deeper = {name: count for name, count in extra.items() if known[name]}
        if deeper and sum(deeper.values()) * 2 >= len(names):
            name = max(deeper, key=lambda text: (deeper[text], text))
            said.append(f"{more} is deeper: {known[name] + deeper[name]} of {name}, {known[name]} in {less}.")
    return said


def _clashes(plan: Plan, found: Normalized) -> list[str]:
    if not found.clashes:
        return []
    keys = next(iter(found.clashes.values()))
    return [
        f"{len(found.clashes):,} names are there twice, such as {' and '.join(keys)}; choose with prefix= or rename=."
    ]


def _rest(plan: Plan, rivals: bool) -> list[str]:
    """Whole parts that only one side has, and what stays open."""
    missing, extra = plan.missing_keys, plan.unexpected_keys
    lacks = f"{len(missing):,} tensor{_s(missing)} of the model ({_parts(missing)})"
    beside = f"{len(extra):,} of the checkpoint ({_parts(extra)})"
    said = []
    if missing and extra:
        said.append(f"No partner was found for {lacks} and {beside}.")
    elif missing:
        said.append(f"The checkpoint lacks {lacks}.")
    elif extra:
        said.append(f"The model has no place for {beside}.")
    if plan.ambiguous:
        have = "tensor has" if len(plan.ambiguous) == 1 else "tensors have"
        count = f"{len(plan.ambiguous):,} {have} several candidates or only order to go by"
        # Between two towers nothing is likelier, and a mixture of both is neither.
        said.append(f"{count}." if rivals else f"{count}; rename='best' takes the likeliest.")
    return said


def _s(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else "s"


def _parts(names: Sequence[str]) -> str:
    counts = Counter(name.split(".")[0] for name in names)
    shown = [f"{name}.*" if count > 1 else name for name, count in counts.most_common(3)]
    return ", ".join(shown) + (" and others" if len(counts) > 3 else "")
