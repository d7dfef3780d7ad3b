"""From pairs of leaf modules to matches of tensors, each with the transformation it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from fxprof.checkpoint.names import TRACKED, words
from fxprof.checkpoint.pairing.leaves import Leaf, Tensor, folded
from fxprof.checkpoint.pairing.solve import LeafPair
from fxprof.checkpoint.plan import Match
from fxprof.records import Shape

ADAPTATIONS = ("qkv", "reshape", "first-conv", "head-rows", "pos-embed", "transpose", "rope")
_COLOURS = 3
_POSITIONS = {"pos", "bias_table", "relative", "rel"}


@dataclass
class Outcome:
    """What becomes of every tensor; filled step by step."""

    adapt: frozenset[str]
    user_named: Mapping[str, str]
    matches: dict[str, Match] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    mismatched_sources: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)  # sentences about layouts that names cannot tell

    @property
    def used(self) -> set[str]:
        """Checkpoint keys that a match takes."""
        return {key for match in self.matches.values() for key in match.sources}

    def add(self, pair: LeafPair) -> None:
        """Match the tensors of two leaf modules."""
        for one, other in tensor_pairs(pair.source, pair.target):
            base = self._base(one, other, pair)
            if one.how or other.how:
                self._compute(one, other, pair)
            elif len(one.keys) == 1 and len(other.keys) == 1:
                self._add_one(one, other, pair, base)
            elif len(other.keys) == 1:
                self._put(Match(other.keys[0], one.keys, "qkv", pair.sure, pair.reason), one, pair)
            else:
                self._split(one, other, pair)

    def _base(self, one: Tensor, other: Tensor, pair: LeafPair) -> str:
        if one.keys == other.keys:
            return "exact"
        if one.keys[0] in self.user_named:
            return "renamed"
        return "prefix" if pair.source.path == pair.target.path and len(one.keys) == 1 else "renamed"

    def _add_one(self, one: Tensor, other: Tensor, pair: LeafPair, base: str) -> None:
        key, name = one.keys[0], other.keys[0]
        reason = "user" if key in self.user_named else pair.reason
        mine, theirs = one.shapes[0], other.shapes[0]
        if one.flipped != other.flipped:
            if "transpose" in self.adapt:
                self._put(Match(name, key, "transpose", pair.sure, reason), one, pair)
            elif mine == theirs:
                self.ambiguous[name] = (key,)
            else:
                self.mismatch(name, key, theirs, mine)
            if "transpose" not in self.adapt:
                self._say("Linear weights lie the other way round in the checkpoint; pass adapt='transpose'")
        elif mine == theirs:
            self._put(Match(name, key, base, pair.sure, reason), one, pair)
        elif folded(one.shape) == folded(other.shape):
            told = pair.sure and not _is_patch(mine, theirs)
            if pair.sure and not told:
                self._say("A linear layer over patches may order their pixels otherwise than a convolution does")
                reason = "guess"
            self._put(Match(name, key, "reshape", told, reason), one, pair)
        else:
            self.mismatch(name, key, theirs, mine)

    def _compute(self, one: Tensor, other: Tensor, pair: LeafPair) -> None:
        """A tensor that one side keeps in parts, onto the same; nothing else is made of it."""
        name = other.keys[-1]
        if (one.how and other.how) or len(one.shapes) > 1 or len(other.shapes) > 1 or one.flipped != other.flipped:
            self.ambiguous.update(dict.fromkeys(other.keys, one.keys))
        elif one.shapes != other.shapes:
            self.mismatched[name] = (other.shapes[0], one.shapes[0])
            self.mismatched_sources[name] = one.keys[0]
        elif one.how:
            self._put(Match(name, one.keys, one.how, pair.sure, pair.reason), one, pair)
        else:
            how, colon, axis = other.how.partition(":")
            for part, role in zip(other.keys, ("g", "v")):
                made = f"{how}[{role}{colon}{axis}]"
                self._put(Match(part, one.keys[0], made, pair.sure, pair.reason), one, pair)

    def _split(self, one: Tensor, other: Tensor, pair: LeafPair) -> None:
        """One fused tensor onto separate q, k and v: by blocks of rows, equal ones or those of grouped queries."""
        if len(one.keys) == len(other.keys):
            for key, name in zip(one.keys, other.keys):
                self._put(Match(name, key, "renamed", pair.sure, pair.reason), one, pair)
        elif len({shape[0] for shape in other.shapes}) == 1:
            count = len(other.keys)
            for index, name in enumerate(other.keys):
                self._put(Match(name, one.keys[0], f"qkv[{index}/{count}]", pair.sure, pair.reason), one, pair)
        else:
            start = 0
            for name, shape in zip(other.keys, other.shapes):
                how = f"qkv[{start}:{start + shape[0]}]"
                self._put(Match(name, one.keys[0], how, pair.sure, pair.reason), one, pair)
                start += shape[0]

    def _put(self, match: Match, one: Tensor, pair: LeafPair) -> None:
        match = self._layout(match, one, pair)
        if match.target in self.matches:
            return
        self.matches[match.target] = match
        if match.sure:
            self.ambiguous.pop(match.target, None)
        else:
            self.ambiguous.setdefault(match.target, match.sources)

    def _layout(self, match: Match, one: Tensor, pair: LeafPair) -> Match:
        """Row orders that names and shapes do not tell: rotary halves, heads interleaved in a fused q, k, v."""
        rotated = words(".".join(pair.target.path[-1:])) & {"q", "k"} and match.how in ("exact", "prefix", "renamed")
        if rotated and "rope" in self.adapt:
            return Match(match.target, match.source, "rope", match.sure, match.reason)
        meta = _tokens(pair.source) & {"wq", "wk"}, _tokens(pair.target) & {"wq", "wk"}
        if rotated and bool(meta[0]) != bool(meta[1]):
            self._say("q and k come from a model that may order rotary rows otherwise; pass adapt='rope'")
            return Match(match.target, match.source, match.how, False, "guess")
        interleaved = "query_key_value" in pair.source.path, "query_key_value" in pair.target.path
        if interleaved[0] != interleaved[1] and match.how != "exact":
            self._say("query_key_value is often ordered by head, which names cannot tell")
            return Match(match.target, match.source, match.how, False, "guess")
        return match

    def mismatch(self, name: str, key: str, model: Shape, checkpoint: Shape) -> None:
        """Same tensor, other shape: adapted where asked for, else listed."""
        how = adaptation(name, model, checkpoint)
        if how in self.adapt:
            self.matches.setdefault(name, Match(name, key, how, True, "name"))
        else:
            self.ambiguous.pop(name, None)
            self.mismatched[name] = (model, checkpoint)
            self.mismatched_sources[name] = key

    def _say(self, sentence: str) -> None:
        if sentence not in self.hints:
            self.hints.append(sentence)


def _tokens(leaf: Leaf) -> set[str]:
    return set(leaf.path[-1:])


def tensor_pairs(source: Leaf, target: Leaf) -> list[tuple[Tensor, Tensor]]:
    """Tensors of the same canonical name; two single ones belong together whatever they are called."""
    shared = [(source.tensors[name], target.tensors[name]) for name in target.tensors if name in source.tensors]
    if any(name != TRACKED for name in source.tensors.keys() & target.tensors.keys()):
        return shared
    ones = [tensor for name, tensor in source.tensors.items() if name != TRACKED]
    others = [tensor for name, tensor in target.tensors.items() if name != TRACKED]
    return [*shared, (ones[0], others[0])] if len(ones) == len(others) == 1 else shared


def _is_patch(one: Shape, other: Shape) -> bool:
    """A linear layer against a convolution over patches of an image: channels may come first or last."""
    flat, kernel = sorted((one, other), key=len)
    return len(flat) == 2 and len(kernel) > 3 and 1 < kernel[1] <= _COLOURS and prod(kernel[2:]) > 1


def adaptation(name: str, model: Shape, checkpoint: Shape) -> str:
    """The opt-in adaptation that would turn the one shape into the other; "" where none does.

    >>> adaptation("conv1.weight", (64, 1, 7, 7), (64, 3, 7, 7)), adaptation("fc.bias", (10,), (1000,))
    ('first-conv', 'head-rows')
    """
    if words(name) & _POSITIONS and len(model) == len(checkpoint) and len(model) > 1:
        return "pos-embed"
    if len(model) == len(checkpoint) and len(model) > 2:
        same = model[0] == checkpoint[0] and model[2:] == checkpoint[2:]
        return "first-conv" if same and (checkpoint[1] in (1, 3) or model[1] in (1, 3)) else ""
    if len(model) == len(checkpoint) == 2 and model == checkpoint[::-1]:
        return "transpose"
    return "head-rows" if model and len(model) == len(checkpoint) and model[1:] == checkpoint[1:] else ""
