"""Names of tensors taken apart: tokens, numbers, wrappers, words that mean the same. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Path = tuple[str, ...]

# What wrappers put into a name, anywhere in it; they never carry meaning.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})

# What a part of a model is called that trails the trained weights as their average.
_TRAILING = frozenset("ema swa teacher momentum shadow averaged average polyak".split())
_TRAILING_PARTS = frozenset("encoder_k key_encoder".split())

TRACKED = "num_batches_tracked"

# Leaf names and what they were called elsewhere (TensorFlow's, old BERT's).
LEAVES = {
    "weight": "weight", "bias": "bias", "running_mean": "running_mean", "running_var": "running_var",
    "moving_mean": "running_mean", "moving_variance": "running_var", "kernel": "weight", TRACKED: TRACKED,
}  # fmt: skip
_PAIRED = {"gamma": "weight", "beta": "bias"}  # only where both are there: alone, gamma is a layer scale
_INLINE = re.compile(r"^(.+)_(weight|bias)$")  # in_proj_weight is module in_proj

_SYNONYMS = """
norm: bn ln layernorm batchnorm normalization rmsnorm groupnorm gn lnorm normalize batch_norm layer_norm
down: downsample downsampling shortcut skip identity reduction
attn: attention selfattention mha self_attn self_attention
mlp: ffn feedforward feed_forward
fc1: intermediate lin1 linear1 c_fc fc_1
fc2: lin2 linear2 fc_2
out: output o c_proj out_proj proj wo
head: classifier logits lm_head classification heads
embed: embeddings embedding embedder wte tok tokens
pos: position positional positions wpe
cls: class
q: query queries wq to_q
k: key keys wk to_k
v: value values wv to_v
qkv: in_proj c_attn query_key_value wqkv kqv
reduce: squeeze conv_reduce
vision: visual
expand: excite expansion conv_expand
dw: depthwise dwconv conv_dw
pw: pointwise
scale: gamma lambda ls layer_scale layerscale lambda1
conv: convolution conv2d
gate: w1 gate_proj
up: w3 up_proj
bias_table: relative_position_bias_table
pool: pooler pooling
enc: encoder
dec: decoder
patch: patches patch_embed patch_embeddings
""".strip()
_CANONICAL = {
    word: line.split(":")[0]
    for line in _SYNONYMS.splitlines()
    for word in [line.split(":")[0], *line.split(":")[1].split()]
}
_FILLERS = frozenset("layer layers block blocks module model features stages stage net fn".split())
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER = re.compile(r"\d+")
_DIGITS = 18
# One letter as a number: the a, b, c of a RegNet's bottleneck.
_LETTERS = {"a": 1, "b": 2, "c": 3, "d": 4}

# The norms of a transformer's block, by the phrases that libraries use for them: the first, the one at a decoder's
# cross-attention, and the last.
_FIRST = re.compile(
    r"(layer_?norm_?before|before_?norm|input_?layer_?norm|pre_?attention|attention\.output\."
    r"|(self_?)?(attn|attention)_((layer_?)?norm|ln)|sa_layer_?norm|norm_?attn|ln_?attn|before_?attn|layer_?norm_?1?_?pre$)",
    re.IGNORECASE,
)
_CROSS = re.compile(
    r"((cross|encoder|enc_?dec|encoder_decoder)_?(attn|attention)_?((layer_?)?norm|ln)|ca_layer_?norm"
    r"|(norm|ln)_?cross)",
    re.IGNORECASE,
)
_SECOND = re.compile(
    r"(layer_?norm_?after|after_?norm|post_?attention|(ffn|mlp|ff|feed_?forward)_((layer_?)?norm|ln)|final_layer_?norm"
    r"|^output\.|output_layer_?norm|norm_?(ffn|mlp)|ln_?(mlp|ffn)|before_?mlp)",
    re.IGNORECASE,
)
# The three norms of an inverted bottleneck.
_EXPAND = re.compile(r"expan(d|sion)", re.IGNORECASE)
_DEPTHWISE = re.compile(r"depthwise|(^|[._])dw|3x3", re.IGNORECASE)
_PROJECT = re.compile(r"project|reduce|pwl|pw_linear", re.IGNORECASE)
_NORM = re.compile(r"norm|(^|[._])ln|(^|[._])bn", re.IGNORECASE)


def split(name: str) -> Path:
    """Split a key at its dots.

    >>> split("layer1.0.conv1.weight")
    ('layer1', '0', 'conv1', 'weight')
    """
    return tuple(name.split("."))


def unwrapped(path: Path) -> Path:
    """Drop the tokens that DataParallel, torch.compile and FSDP put in.

    >>> unwrapped(("module", "_orig_mod", "encoder", "module", "fc", "weight"))
    ('encoder', 'fc', 'weight')
    """
    kept = tuple(token for token in path[:-1] if token not in WRAPPERS)
    return (*kept, path[-1])


def is_trailing(prefix: Path) -> bool:
    """Whether a prefix is that of a copy which trails the trained weights; raw siblings are preferred, and it is said.

    >>> is_trailing(("net_ema",)), is_trailing(("target_network", "net")), is_trailing(("target",))
    (True, True, False)
    """
    for token in prefix:
        parts = {part.lower() for part in _WORDS.findall(token)}
        if parts & _TRAILING or token in _TRAILING_PARTS or ("target" in parts and len(parts) > 1):
            return True
    return False


def leaf_of(path: Path, siblings: Iterable[str] = ()) -> tuple[Path, str]:
    """Split into the path of the leaf module and the canonical name of its tensor.

    >>> leaf_of(("attn", "in_proj_weight"))
    (('attn', 'in_proj'), 'weight')
    >>> leaf_of(("cls_token",))
    (('cls_token',), '')
    >>> leaf_of(("norm", "gamma"), {"gamma", "beta"})
    (('norm',), 'weight')
    """
    *parent, last = path
    if last in LEAVES:
        return tuple(parent), LEAVES[last]
    if last in _PAIRED and set(_PAIRED) <= set(siblings):
        return tuple(parent), _PAIRED[last]
    if found := _INLINE.match(last):
        return (*parent, found[1]), found[2]
    return path, ""


def number(digits: str) -> int:
    """The value of digits; what is too long to count anything is cut, as Python refuses to read thousands of them.

    >>> number("12"), number("9" * 5000) == number("9" * 6000)
    (12, True)
    """
    return int(digits[:_DIGITS])


@lru_cache(maxsize=65536)
def numbers(text: str) -> tuple[int, ...]:
    """All numbers of a name, single letters a to d of a dotted name included.

    >>> numbers("layer1.0.conv2"), numbers("f.b.0"), numbers("block1-3")
    ((1, 0, 2), (2, 0), (1, 3))
    """
    found: list[int] = []
    for token in text.split("."):
        if token in _LETTERS:
            found.append(_LETTERS[token])
        else:
            found += [number(digits) for digits in _NUMBER.findall(token)]
    return tuple(found)


def counting(found: Sequence[tuple[int, ...]]) -> bool:
    """Whether the numbers of several names count something: ids and hashes have gaps that no model has.

    >>> counting([(0, 1), (0, 2), (1, 0)]), counting([(48213,), (7,), (90210,)])
    (True, False)
    """
    return all(max(values) - min(values) <= 8 + 4 * len(set(values)) for values in zip(*found))


@lru_cache(maxsize=65536)
def template(text: str) -> str:
    """The name with every number replaced.

    >>> template("layer1.0.conv2"), template("f.b.0")
    ('layer{}.{}.conv{}', 'f.{}.{}')
    """
    return ".".join("{}" if token in _LETTERS else _NUMBER.sub("{}", token) for token in text.split("."))


@lru_cache(maxsize=65536)
def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key: numbers by value.

    >>> sorted(["l.10", "l.9"], key=natural)
    ['l.9', 'l.10']
    """
    parts = re.split(r"(\d+)", text)
    return tuple((0, number(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


@lru_cache(maxsize=65536)
def words(text: str) -> frozenset[str]:
    """What a name says: its words, canonical where several mean the same, fillers and lone letters dropped.

    >>> sorted(words("attention.output.LayerNorm")), sorted(words("s1.b2.q"))
    (['attn', 'norm', 'out'], ['q'])
    """
    found: set[str] = set()
    for token in text.split("."):
        whole = _CANONICAL.get(token.lower())
        if whole:
            found.add(whole)
            continue
        parts = [part.lower() for part in _WORDS.findall(token)]
        joined = "_".join(part for part in parts if not part.isdecimal())
        if joined in _CANONICAL:
            found.add(_CANONICAL[joined])
        else:
            found |= {_CANONICAL.get(part, part) for part in parts if not part.isdecimal()}
    telling = frozenset(word for word in found - _FILLERS if len(word) > 1 or word in "qkv")
    return telling or frozenset(found)


def kind(block: str) -> frozenset[str]:
    """What a block is called beside its number; nothing for what any block may be called.

    >>> kind("neck.refinenet4"), kind("encoder.layers.0"), kind("s.1")
    (frozenset({'refinenet'}), frozenset(), frozenset())
    """
    last = next((token for token in reversed(block.split(".")) if not token.isdecimal()), "")
    return frozenset(word for word in words(_NUMBER.sub("", last)) - _FILLERS if len(word) > 1)


def is_crossed(local: str) -> bool:
    """Whether a norm stands at the cross-attention, which only a decoder has.

    >>> is_crossed("norm_cross_attn"), is_crossed("norm2")
    (True, False)
    """
    return _NORM.search(local) is not None and _CROSS.search(local) is not None


@lru_cache(maxsize=65536)
def norm_role(local: str) -> int | None:
    """The place of a norm in its block, where its name says it without a number.

    >>> norm_role("layernorm_before"), norm_role("output.LayerNorm"), norm_role("norm")
    (0, 2, None)
    >>> norm_role("encoder_attn_layer_norm"), norm_role("cross_attn_ln"), norm_role("mlp_ln")
    (1, 1, 2)
    >>> norm_role("expand_1x1.normalization"), norm_role("conv_3x3.normalization")
    (0, 1)
    """
    if not _NORM.search(local):
        return None
    for place, pattern in enumerate((_EXPAND, _DEPTHWISE, _PROJECT)):
        if pattern.search(local):
            return place
    # post_attention_layernorm names attention, and is the second.
    if _SECOND.search(local):
        return 2
    if _CROSS.search(local):
        return 1
    return 0 if _FIRST.search(local) else None
