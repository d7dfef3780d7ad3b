"""Evidence: rules that tell the members of an open class apart, each returning the pairs it is sure of."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fxprof.checkpoint.names import counting, is_crossed, norm_role, numbers, template, words
from fxprof.checkpoint.pairing.families import container
from fxprof.checkpoint.pairing.types import BlockType, Local, OpenClass

Pairs = list[tuple[Local, Local]]
# What kind of layer it is, the shapes say: another candidate may just not name it.
_KINDS = frozenset("norm conv linear dense weight".split())
_LARGEST = 200  # members of a class compared each with each


@dataclass
class Known:
    """What has been decided so far, across all types, and what the user said."""

    kinds: Sequence[BlockType] = ()
    hints: Sequence[tuple[str, str]] = ()
    complete: bool = True  # neither side holds much that the other lacks
    paired: frozenset[str] = frozenset()  # templates of the leaf modules in paired blocks
    turned: Mapping[tuple[str, str], set[tuple[int, int]]] = field(default_factory=dict)  # levels not counted alike

    def allows(self, kind: BlockType, one: Local, other: Local) -> bool:
        """Whether two may be one: outside blocks, where either side lacks much, names must mostly say the same.

        Nor is what has lost its block made up for by what never was in one.
        """
        levels = self.turned.get((container(one), container(other))) if kind.whole else None
        if levels is not None and (numbers(one)[:1] + numbers(other)[:1]) not in levels:
            return False
        if not kind.whole or self.complete:
            return True
        lost = template(one) in self.paired, template(other) in self.paired
        said = words(one) - _KINDS, words(other) - _KINDS
        return lost[0] == lost[1] and 2 * len(said[0] & said[1]) > min(map(len, said))


def by_hint(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """The user's words: a fragment of a source name stands for a fragment of a target name."""
    fits: set[tuple[Local, Local]] = set()
    for mine, theirs in known.hints:
        ours = [one for one in group.source if _contains(one, mine)]
        fits.update((one, other) for other in group.target if _contains(other, theirs) for one in ours)
    return _unique(fits)


def by_structure(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """One member on each side: nothing else has the shape."""
    if len(group.source) != 1 or len(group.target) != 1:
        return []
    return [(group.source[0], group.target[0])]


def by_vote(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """What the same local names mean in other types, as long as nothing in these means something else here."""
    fits: set[tuple[Local, Local]] = set()
    ours, theirs = set(group.source), set(group.target)
    for voter in () if kind.whole else known.kinds:
        if voter is kind or voter.whole or not voter.sure:
            continue
        votes = [(c.source, c.target) for c in voter.choices if c.sure and c.source in ours and c.target in theirs]
        if votes and _agree(kind, voter):
            fits.update(pair for pair in votes if _same_rows(kind, voter, *pair))
    return _unique(fits)


def _same_rows(one: BlockType, other: BlockType, mine: Local, theirs: Local) -> bool:
    """Whether both types hold the same numbered siblings: bn1 of three norms is not bn1 of two."""
    rows = (one.source, other.source, mine), (one.target, other.target, theirs)
    return all(_row(names, local) == _row(others, local) for names, others, local in rows)


def _row(names: Sequence[Local], local: Local) -> set[Local]:
    return {name for name in names if template(name) == template(local)}


def _agree(one: BlockType, other: BlockType) -> bool:
    """Whether no local name of either side was paired differently in the two types."""
    forward = {choice.source: choice.target for choice in one.choices}
    backward = {choice.target: choice.source for choice in one.choices}
    return all(
        forward.get(c.source, c.target) == c.target and backward.get(c.target, c.source) == c.source
        for c in other.choices
    )


def by_equal_name(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """Names whose last part is the same to the letter, and no other's: rel_pos_h is not rel_pos_w."""
    ours, theirs = _by_last(group.source), _by_last(group.target)
    return sorted((ours[last], theirs[last]) for last in ours.keys() & theirs.keys())


def _by_last(names: Sequence[Local]) -> dict[str, Local]:
    """The names by their last part, where it has a word and is nobody else's."""
    counts = Counter(name.rpartition(".")[2] for name in names)
    lasts = {name: name.rpartition(".")[2] for name in names}
    return {
        last: name for name, last in lasts.items() if counts[last] == 1 and words(last) - _KINDS and not numbers(last)
    }


def by_number(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """One numbered template on each side, or the two norms of a transformer block."""
    names = group.source, group.target
    if len(names[0]) != len(names[1]):
        # A norm at a cross-attention that the other side does not have.
        names = [name for name in names[0] if not is_crossed(name)], [name for name in names[1] if not is_crossed(name)]
    if len(names[0]) != len(names[1]) or len(names[0]) < 2:
        return []
    ours, theirs = _ordered(names[0]), _ordered(names[1])
    pairs = list(zip(ours, theirs)) if ours and theirs else []
    crossed = any(map(is_crossed, names[0])), any(map(is_crossed, names[1]))
    if crossed[0] == crossed[1] or _has_torchs_names(kind.target if crossed[0] else kind.source):
        return pairs
    # Deformable DETR's norm1 is that of the cross-attention, others' that of the self-attention; the last is the last.
    return [pair for pair in pairs if 2 in map(norm_role, pair)]


def _has_torchs_names(names: Iterable[Local]) -> bool:
    """Whether a block is ``nn.TransformerDecoderLayer``, whose norm2 is that of its multihead_attn."""
    return any("multihead_attn" in name.split(".") for name in names)


def by_same_words(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """Names that say the same, however they put it, where no other name of either side says it."""
    ours, theirs = _unrivalled(group.source), _unrivalled(group.target)
    return sorted((ours[said], theirs[said]) for said in ours.keys() & theirs.keys())


def _unrivalled(names: Sequence[Local]) -> dict[frozenset[str], Local]:
    counts = Counter(map(_said, names))
    return {_said(name): name for name in names if counts[_said(name)] == 1}


def by_name(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """The words that a name shares with one candidate and with no other; numbered siblings go together."""
    if len(group.source) * len(group.target) > _LARGEST**2:
        return []
    ours, theirs = _clusters(group.source), _clusters(group.target)
    if len(ours) * len(theirs) > _LARGEST * 10:
        return []
    said = _telling(ours), _telling(theirs)
    scores = {
        (one, other): _score(said[0][one], said[1][other])
        for one in ours
        for other in theirs
        if len(ours[one]) == len(theirs[other]) and said[0][one] & said[1][other]
    }
    found: Pairs = []
    for one, other in _clear(scores, margin=1.0):
        found += zip(ours[one], theirs[other])
    return found or _by_single_names(group)


def _by_single_names(group: OpenClass) -> Pairs:
    """Each name for itself: the w1 and w3 of one library are the gate and up of another."""
    said = _telling({name: (name,) for name in group.source}), _telling({name: (name,) for name in group.target})
    scores = {
        (one, other): _score(said[0][one], said[1][other])
        for one in group.source
        for other in group.target
        if said[0][one] & said[1][other]
    }
    return _clear(scores, margin=1.0)


def by_siblings(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """Neighbours by name on the checkpoint's side are neighbours by name on the model's."""
    if _may_lack(kind, group, known):
        return []
    return _by_neighbours(kind, group, lambda other: _near(other, [c.target for c in kind.choices if c.sure]))


def by_graph(kind: BlockType, group: OpenClass, known: Known) -> Pairs:
    """Neighbours by name on the checkpoint's side are neighbours in the model's dataflow."""
    if not kind.feeds or _may_lack(kind, group, known):
        return []
    return _by_neighbours(kind, group, lambda other: kind.feeds.get(other, frozenset()))


def _may_lack(kind: BlockType, group: OpenClass, known: Known) -> bool:
    """Where one is missing, another would be taken for the neighbour."""
    return len(group.source) != len(group.target) or (kind.whole and not known.complete)


RULES: tuple[tuple[str, Callable[[BlockType, OpenClass, Known], Pairs]], ...] = (
    ("user", by_hint),
    ("structure", by_structure),
    ("vote", by_vote),
    ("number", by_number),
    ("name", by_same_words),
    ("name", by_equal_name),
    ("name", by_name),
    ("structure", by_siblings),
    ("graph", by_graph),
)


# -- helpers ---------------------------------------------------------------------------------------


def _contains(name: Local, fragment: str) -> bool:
    return re.search(rf"(^|\.){re.escape(fragment.strip('.'))}(\.|$)", name) is not None


def _unique(fits: Iterable[tuple[Local, Local]]) -> Pairs:
    """The pairs in which both sides have this one partner only."""
    fits = list(fits)
    ours, theirs = defaultdict(list), defaultdict(list)
    for one, other in fits:
        ours[one].append(other)
        theirs[other].append(one)
    return sorted((one, other) for one, other in fits if len(ours[one]) == len(theirs[other]) == 1)


def _ordered(names: Sequence[Local]) -> list[Local]:
    """In the order of the numbers of one shared template, or of the roles of norms; else empty.

    >>> _ordered(["t.1.before_norm", "t.0.after_norm", "t.0.before_norm", "t.1.after_norm"])
    ['t.0.before_norm', 't.0.after_norm', 't.1.before_norm', 't.1.after_norm']
    >>> _ordered(["post_mlp_layernorm", "post_attention_layernorm"])
    ['post_attention_layernorm', 'post_mlp_layernorm']
    """
    placed = {_placed(name): name for name in names}
    if len(placed) == len(names) and len(set(map(template, placed))) == 1 and counting(list(map(numbers, placed))):
        return [placed[name] for name in sorted(placed, key=numbers)]
    roles = {role: name for name in names if (role := norm_role(name)) is not None}
    if len(roles) == len(names):
        return [roles[role] for role in sorted(roles)]
    # Where both come after their part, that after attention is the first.
    both = len(names) == 2 and [norm_role(name) for name in names] == [2, 2]
    after = [name for name in names if both and "attn" in words(name)]
    return sorted(names, key=lambda name: name not in after) if len(after) == 1 else []


def _placed(name: Local) -> Local:
    """A norm that says its place has it as its number."""
    role = norm_role(name)
    return name if role is None else f"{name.rpartition('.')[0]}.norm{role}"


def _clusters(names: Sequence[Local]) -> dict[str, list[Local]]:
    found: dict[str, list[Local]] = defaultdict(list)
    for name in sorted(names, key=numbers):
        found[template(name)].append(name)
    return dict(found)


def _telling(clusters: Mapping[str, Sequence[Local]]) -> dict[str, frozenset[str]]:
    """The words of each name that not all of its rivals have."""
    # A lone member speaks with its number: the w1 of one library is the gate of another.
    said = {name: _said(found[0] if len(found) == 1 else name.replace("{}", "0")) for name, found in clusters.items()}
    common = frozenset.intersection(*said.values()) if len(said) > 1 else frozenset()
    return {name: found - common - _KINDS for name, found in said.items()}


def _said(name: Local) -> frozenset[str]:
    """The words of a name; a norm that says its place says nothing else: post_attention_norm is no attention_norm."""
    role = norm_role(name)
    return words(name) if role is None else frozenset({f"norm {role}"})


def _score(one: frozenset[str], other: frozenset[str]) -> float:
    return 2.0 * len(one & other) - 0.25 * len(one ^ other)


def _clear(scores: Mapping[tuple[str, str], float], margin: float) -> Pairs:
    """The pairs that are best for both sides by at least the margin."""
    rows, columns = defaultdict(list), defaultdict(list)
    for (one, other), score in scores.items():
        rows[one].append(score)
        columns[other].append(score)

    def clear(score: float, rivals: list[float]) -> bool:
        ranked = sorted(rivals, reverse=True)
        return score == ranked[0] and (len(ranked) == 1 or ranked[0] - ranked[1] >= margin)

    return sorted(
        pair for pair, score in scores.items() if clear(score, rows[pair[0]]) and clear(score, columns[pair[1]])
    )


def _by_neighbours(kind: BlockType, group: OpenClass, near_target: Callable[[Local], frozenset[Local]]) -> Pairs:
    if len(group.source) * len(group.target) > _LARGEST * 10:
        return []
    decided = {choice.source: choice.target for choice in kind.choices if choice.sure}
    ours = {one: {decided[s] for s in _near(one, decided)} for one in group.source}
    theirs = {other: near_target(other) for other in group.target}
    scores = {
        (one, other): float(shared)
        for one in group.source
        for other in group.target
        if (shared := len(ours[one] & theirs[other]))
    }
    return _clear(scores, margin=1.0)


def _near(name: Local, others: Iterable[Local]) -> frozenset[Local]:
    """Those that share the longest beginning of the dotted path with a name, or the number at its end."""
    path = name.split(".")
    best, found = 0, set()
    for other in others:
        shared = 0
        for a, b in zip(path[:-1], other.split(".")[:-1]):
            if a != b:
                break
            shared += 1
        if shared > best:
            best, found = shared, {other}
        elif shared == best and shared:
            found.add(other)
    return frozenset(found or {other for other in others if _numbered_norm(name, other)})


def _numbered_norm(name: Local, other: Local) -> bool:
    """bn2 belongs to conv2; a transformer's norm2 has nothing to do with its fc2."""
    last = words(name.split(".")[-1]), words(other.split(".")[-1])
    return (
        numbers(name) == numbers(other) and ("norm" in last[0]) != ("norm" in last[1]) and "conv" in last[0] | last[1]
    )
