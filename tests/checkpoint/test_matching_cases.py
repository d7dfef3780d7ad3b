"""Hard cases of matching, one each."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torchvision import models

from fxprof.checkpoint.graph import describe
from fxprof.checkpoint.matching import match, match_names
from fxprof.checkpoint.plan import Target
from fxprof.errors import CheckpointError, InputError


def linear(name, rows, columns=4):
    """The tensors of a linear layer."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name, size=4):
    """The tensors of a norm."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def layers(count, make):
    """Numbered blocks."""
    return {key: shape for number in range(count) for key, shape in make(number).items()}


def plan_of(source, target, **options):
    """A plan from two dicts of shapes."""
    return match_names(source, Target(target), **options)


def found(plan):
    """Target -> source, sure ones."""
    return {entry.target: entry.source for entry in plan.matches if entry.sure}


# -- transformers ----------------------------------------------------------------------------------


def block(number):
    """A transformer block with separate q, k and v."""
    at = f"encoder.layer.{number}"
    return {
        **norm(f"{at}.layernorm_after"), **norm(f"{at}.layernorm_before"),
        **linear(f"{at}.attention.value", 4), **linear(f"{at}.attention.key", 4), **linear(f"{at}.attention.query", 4),
        **linear(f"{at}.attention.output.dense", 4), **linear(f"{at}.intermediate.dense", 8),
        **linear(f"{at}.output.dense", 4, 8),
    }  # fmt: skip


def fused_block(number):
    """The same with one tensor for q, k and v."""
    at = f"blocks.{number}"
    return {
        **norm(f"{at}.norm1"), **linear(f"{at}.attn.qkv", 12), **linear(f"{at}.attn.proj", 4),
        **norm(f"{at}.norm2"), **linear(f"{at}.mlp.fc1", 8), **linear(f"{at}.mlp.fc2", 4, 8),
    }  # fmt: skip


def test_q_k_and_v_are_fused_in_the_models_order_whatever_the_checkpoints():
    """The checkpoint lists value, key, query; the model wants q, k, v."""
    plan = plan_of(layers(3, block), layers(3, fused_block))

    assert found(plan)["blocks.2.attn.qkv.weight"] == tuple(
        f"encoder.layer.2.attention.{part}.weight" for part in ("query", "key", "value")
    )
    assert {entry.how for entry in plan.matches if "qkv" in entry.target} == {"qkv"}
    assert not plan.missing_keys and not plan.unexpected_keys


def test_k_without_a_bias_is_fused_and_the_other_biases_find_theirs():
    """BEiT, Swin V2: one matrix for q, k and v on one side, and biases of q and v only on both."""

    def apart(number):
        made = block(number)
        return {key: shape for key, shape in made.items() if not key.endswith("key.bias")}

    def together(number):
        at = f"blocks.{number}.attn"
        made = {key: shape for key, shape in fused_block(number).items() if not key.endswith("qkv.bias")}
        return {**made, f"{at}.q_bias": (4,), f"{at}.v_bias": (4,)}

    plan = plan_of(layers(3, apart), layers(3, together))

    assert len(found(plan)["blocks.1.attn.qkv.weight"]) == 3
    assert found(plan)["blocks.1.attn.q_bias"] == "encoder.layer.1.attention.query.bias"
    assert found(plan)["blocks.1.attn.v_bias"] == "encoder.layer.1.attention.value.bias"
    assert not plan.missing_keys and not plan.unexpected_keys and not plan.ambiguous
    back = plan_of(layers(3, together), layers(3, apart))
    assert back.matches and {match.how for match in back.matches if match.target.endswith("key.weight")} == {"qkv[1/3]"}


def test_k_and_v_are_fused_beside_q():
    """PVT: q for itself, k and v in one matrix, both ways."""

    def together(number):
        at = f"blocks.{number}"
        made = {key: shape for key, shape in fused_block(number).items() if ".qkv." not in key}
        return {**made, **linear(f"{at}.attn.q", 4), **linear(f"{at}.attn.kv", 8)}

    plan = plan_of(layers(3, block), layers(3, together))
    back = plan_of(layers(3, together), layers(3, block))

    assert found(plan)["blocks.2.attn.kv.bias"] == tuple(
        f"encoder.layer.2.attention.{part}.bias" for part in ("key", "value")
    )
    assert found(plan)["blocks.2.attn.q.weight"] == "encoder.layer.2.attention.query.weight"
    split = {entry.target: entry.how for entry in back.matches if entry.source == "blocks.0.attn.kv.weight"}
    assert split == {
        "encoder.layer.0.attention.key.weight": "qkv[0/2]", "encoder.layer.0.attention.value.weight": "qkv[1/2]",
    }  # fmt: skip
    assert not plan.missing_keys and not back.missing_keys


def test_norms_of_nested_layers_go_by_their_words_and_numbers():
    """A row of transformer layers inside a block: before and after of one library are 1 and 2 of the other."""

    def mine(number):
        inner = [norm(f"stages.{number}.t.{i}.norm{j}") for i in (0, 1, 2) for j in (1, 2)]
        outer = [linear(f"stages.{number}.{part}", rows) for part, rows in zip(("first", "mid", "last"), (3, 5, 7))]
        tensors = (*inner, *outer, norm(f"stages.{number}.norm"))
        return {key: shape for part in tensors for key, shape in part.items()}

    def theirs(number):
        inner = [norm(f"enc.{number}.t.layer.{i}.layernorm_{word}") for i in (0, 1, 2) for word in ("after", "before")]
        outer = [linear(f"enc.{number}.{part}", rows) for part, rows in zip(("in", "up", "down"), (3, 5, 7))]
        tensors = (norm(f"enc.{number}.layernorm"), *inner, *outer)
        return {key: shape for part in tensors for key, shape in part.items()}

    plan = plan_of(layers(2, theirs), layers(2, mine))

    assert found(plan)["stages.1.t.2.norm1.weight"] == "enc.1.t.layer.2.layernorm_before.weight"
    assert found(plan)["stages.0.t.0.norm2.bias"] == "enc.0.t.layer.0.layernorm_after.bias"
    assert found(plan)["stages.1.norm.weight"] == "enc.1.layernorm.weight"
    assert not plan.ambiguous


def test_what_lost_its_block_is_not_taken_from_elsewhere():
    """A layer is missing in the checkpoint, whose pooling head happens to hold a tensor of the same words and shape."""
    source = {key: shape for key, shape in layers(4, block).items() if ".layer.1." not in key}
    source |= {**linear("head.attention.in_proj", 12), **linear("head.probe", 4, 1)}
    target = {**layers(4, fused_block), **linear("pool.q", 4), **linear("pool.kv", 8)}

    plan = plan_of(source, target)

    assert "blocks.1.attn.qkv.weight" not in found(plan)
    assert found(plan)["blocks.2.attn.proj.weight"] == "encoder.layer.2.attention.output.dense.weight"


def test_a_second_tower_fills_no_gaps():
    """Two copies of one model: what nothing tells apart is not sure, nor is what is left of either."""

    def theirs(number):
        at = f"trunk.block{number}"
        return {**linear(f"{at}.f.a.0", 4), **norm(f"{at}.f.a.1"), **linear(f"{at}.proj.0", 4), **norm(f"{at}.proj.1")}

    def mine(number):
        at = f"stages.{number}"
        return {
            **linear(f"{at}.layer.0.conv", 4), **norm(f"{at}.layer.0.norm"),
            **linear(f"{at}.shortcut.conv", 4), **norm(f"{at}.shortcut.norm"),
        }  # fmt: skip

    one = layers(3, theirs)
    plan = plan_of({**one, **{f"tower.{key}": shape for key, shape in one.items()}}, layers(3, mine))

    wrong = {target: source for target, source in found(plan).items() if ("shortcut" in target) != ("proj" in source)}
    assert not wrong
    assert not any(source.startswith("tower.") for source in found(plan).values())


def test_a_fused_tensor_is_split_by_rows():
    """Each of q, k and v says which block of rows is its own."""
    plan = plan_of(layers(3, fused_block), layers(3, block))

    hows = {entry.target.split(".")[-2]: entry.how for entry in plan.matches if entry.target.endswith("weight")}
    assert (hows["query"], hows["key"], hows["value"]) == ("qkv[0/3]", "qkv[1/3]", "qkv[2/3]")


def test_separate_q_k_and_v_find_their_own_names():
    """Equal shapes in another order: the letters decide."""

    def other(number):
        names = ("q_proj", "k_proj", "v_proj")
        return {key: shape for name in names for key, shape in linear(f"h.{number}.{name}", 4).items()}

    def mine(number):
        names = ("to_v", "to_q", "to_k")
        return {key: shape for name in names for key, shape in linear(f"l.{number}.attn.{name}", 4).items()}

    plan = plan_of(layers(2, other), layers(2, mine))

    assert found(plan)["l.1.attn.to_q.weight"] == "h.1.q_proj.weight"
    assert found(plan)["l.1.attn.to_v.weight"] == "h.1.v_proj.weight"


def test_one_hint_settles_a_template_for_all_blocks():
    """Names that say nothing are refused until the user says it once."""

    def other(number):
        return {**norm(f"layer.{number}.alpha"), **norm(f"layer.{number}.omega"), **linear(f"layer.{number}.x", 4)}

    def mine(number):
        return {**norm(f"blocks.{number}.one"), **norm(f"blocks.{number}.two"), **linear(f"blocks.{number}.fc", 4)}

    refused = plan_of(layers(4, other), layers(4, mine))
    plan = plan_of(layers(4, other), layers(4, mine), rename={"omega": "one"})

    assert set(refused.ambiguous) == {key for key in layers(4, mine) if ".fc." not in key}
    assert {found(plan)[f"blocks.{number}.one.weight"] for number in range(4)} == {
        f"layer.{number}.omega.weight" for number in range(4)
    }
    assert not plan.ambiguous and not plan.missing_keys


def test_best_takes_the_likeliest_and_marks_it():
    """Order is a guess, and says so."""
    plan = plan_of({**norm("x.alpha"), **norm("x.omega")}, {**norm("y.one"), **norm("y.two")}, rename="best")

    assert len(plan.matches) == 4
    assert not any(entry.sure for entry in plan.matches)
    assert {entry.reason for entry in plan.matches} == {"order"}


@pytest.mark.parametrize("rename", [{"one": "two", "tow": "two"}, [("^one", "two"), ("tow", "two"), ("^two", "two")]])
def test_a_rename_that_fits_no_name_is_told(rename):
    """What fits after another rename does fit."""
    plan = plan_of(linear("one", 4), linear("two", 4), rename=rename)

    assert len(plan.matches) == 2
    assert plan.notes == ("rename has 'tow', which is in no name of the checkpoint.",)


def test_nothing_is_renamed_when_renaming_is_off():
    """Only equal names load."""
    plan = plan_of({**linear("a", 4), **linear("b", 5)}, {**linear("a", 4), **linear("c", 5)}, rename=False)

    assert found(plan) == {"a.weight": "a.weight", "a.bias": "a.bias"}
    assert plan.missing_keys == ("c.weight", "c.bias")
    assert plan.unexpected_keys == ("b.weight", "b.bias")


def test_rotary_rows_of_another_library_are_refused_without_their_adaptation():
    """Meta's q and k have the shapes of transformers' and another row order."""

    def meta(number):
        return {f"layers.{number}.attention.w{letter}.weight": (4, 4) for letter in "qkvo"}

    def theirs(number):
        return {f"model.layers.{number}.self_attn.{letter}_proj.weight": (4, 4) for letter in "qkvo"}

    plain = plan_of(layers(2, meta), layers(2, theirs))
    adapted = plan_of(layers(2, meta), layers(2, theirs), adapt="rope")

    assert {name.split(".")[-2] for name in plain.ambiguous} == {"q_proj", "k_proj"}
    assert any("rope" in note for note in plain.notes)
    assert {entry.target.split(".")[-2] for entry in adapted.matches if entry.how == "rope"} == {"q_proj", "k_proj"}
    assert len(adapted.matches) == 8


def test_square_weights_that_lie_the_other_way_are_refused_without_transpose():
    """GPT-2's square projection has the right shape and the wrong orientation."""

    def conv1d(number):
        return {
            f"h.{number}.fc.weight": (4, 8), f"h.{number}.fc.bias": (8,),
            f"h.{number}.proj.weight": (4, 4), f"h.{number}.proj.bias": (4,),
        }  # fmt: skip

    def dense(number):
        return {**linear(f"h.{number}.fc", 8), **linear(f"h.{number}.proj", 4)}

    plain = plan_of(layers(2, conv1d), layers(2, dense))
    adapted = plan_of(layers(2, conv1d), layers(2, dense), adapt="transpose")

    assert {entry.target for entry in plain.matches} == {f"h.{n}.{m}.bias" for n in (0, 1) for m in ("fc", "proj")}
    assert {entry.how for entry in adapted.matches if entry.target.endswith("weight")} == {"transpose"}


def test_the_graph_tells_norms_apart_that_names_do_not():
    """A norm belongs to the layer that feeds it."""
    source = {
        **linear("l.0.a.dense", 4, 6), **norm("l.0.a.n"), **linear("l.0.b.dense", 4, 8), **norm("l.0.b.n"),
        **linear("l.1.a.dense", 4, 6), **norm("l.1.a.n"), **linear("l.1.b.dense", 4, 8), **norm("l.1.b.n"),
    }  # fmt: skip
    target = layers(2, lambda n: {
        **linear(f"m.{n}.p", 4, 6), **linear(f"m.{n}.q", 4, 8), **norm(f"m.{n}.x"), **norm(f"m.{n}.y")
    })  # fmt: skip
    feeds = {
        f"m.{n}.{one}.weight": (f"m.{n}.{other}.weight",) for n in (0, 1) for one, other in (("y", "p"), ("x", "q"))
    }

    blind = match_names(source, Target(target))
    seeing = match_names(source, Target(target, feeds=feeds))

    assert {"m.0.x.weight", "m.0.y.weight"} <= set(blind.ambiguous)
    assert found(seeing)["m.1.y.weight"] == "l.1.a.n.weight"
    assert {entry.reason for entry in seeing.matches if ".y." in entry.target} == {"graph"}


# -- convolutional nets ----------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["shortcut", "body"])
def test_a_shortcut_registered_before_or_after_is_told_by_name(first):
    """Equal shapes, another order of registration."""

    def mine(number):
        return {f"layer.{number}.conv1.weight": (4, 4, 1, 1), f"layer.{number}.downsample.0.weight": (4, 4, 1, 1)}

    def other(number):
        both = {f"b.{number}.shortcut.conv.weight": (4, 4, 1, 1), f"b.{number}.main.conv.weight": (4, 4, 1, 1)}
        return both if first == "shortcut" else dict(reversed(both.items()))

    plan = plan_of(layers(3, other), layers(3, mine))

    assert found(plan)["layer.2.downsample.0.weight"] == "b.2.shortcut.conv.weight"
    assert found(plan)["layer.2.conv1.weight"] == "b.2.main.conv.weight"


def test_a_vgg_loads_into_a_vgg_with_norms_layer_by_layer():
    """Equal names mean other layers; the row of convolutions does not."""
    with torch.device("meta"):
        plain, normed = models.vgg16(num_classes=2), models.vgg16_bn(num_classes=2)
    plan = match(normed, plain.state_dict())

    mine = [name for name, module in normed.named_modules() if isinstance(module, nn.Conv2d)]
    theirs = [name for name, module in plain.named_modules() if isinstance(module, nn.Conv2d)]
    assert {key: source for key, source in found(plan).items() if key.startswith("features")} == {
        f"{a}.{leaf}": f"{b}.{leaf}" for a, b in zip(mine, theirs) for leaf in ("weight", "bias")
    }
    assert not plan.unexpected_keys


def test_a_linear_layer_becomes_a_convolution_of_full_size():
    """Equal elements, another shape."""
    plan = plan_of(
        {"fc6.weight": (8, 4 * 7 * 7), "fc6.bias": (8,)}, {"pre.fc.weight": (8, 4, 7, 7), "pre.fc.bias": (8,)}
    )

    assert found(plan) == {"pre.fc.weight": "fc6.weight", "pre.fc.bias": "fc6.bias"}
    assert plan.matches[0].how == "reshape"


def test_an_auxiliary_head_in_the_checkpoint_is_left_over():
    """It does not take the place of the head."""
    source = {**linear("body", 4), **linear("aux.fc", 9), **linear("fc", 9)}

    plan = plan_of(source, {**linear("body", 4), **linear("fc", 9)})

    assert found(plan)["fc.weight"] == "fc.weight"
    assert set(plan.unexpected_keys) == {"aux.fc.weight", "aux.fc.bias"}


def test_one_of_two_equal_towers_is_not_chosen():
    """Nothing says which: both are candidates."""

    def tower(name):
        return layers(3, lambda n: {**linear(f"{name}.layers.{n}.a", 8), **norm(f"{name}.layers.{n}.b")})

    plan = plan_of(
        {**tower("left"), **tower("right")},
        layers(3, lambda n: {**linear(f"blocks.{n}.fc", 8), **norm(f"blocks.{n}.n")}),
    )

    assert not found(plan)


def test_a_student_is_preferred_to_its_teacher_and_it_is_said():
    """The trailing copy is the user's choice."""
    model = {**linear("a", 4), **norm("b")}
    source = {f"{who}.{name}": shape for who in ("teacher", "student") for name, shape in model.items()}

    plan = plan_of(source, model)

    assert found(plan) == {name: f"student.{name}" for name in model}
    assert any("teacher" in note for note in plan.notes)
    assert found(plan_of(source, model, prefix="teacher.")) == {name: f"teacher.{name}" for name in model}


@pytest.mark.parametrize(
    ("raw", "copy"),
    [
        ("module.encoder_q.", "module.encoder_k."), ("online_network.", "target_network."), ("net.", "net_ema."),
        ("backbone.", "backbone_momentum."), ("", "ema."), ("model.", "ema_model.module."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lost", ["", "b1", "b3.1"])
def test_a_trailing_copy_fills_no_gaps(raw, copy, lost):
    """Weights that lack a layer, of which a trailing copy holds more: still the weights, and nothing of the copy."""
    model = {
        key: shape
        for stage in range(4)
        for at in (f"b{stage}.0", f"b{stage}.1")
        for key, shape in {**linear(f"{at}.fc", 4 + stage), **norm(f"{at}.ln", 4 + stage)}.items()
    }
    kept = {f"{raw}{name}": shape for name, shape in model.items() if not (lost and name.startswith(lost))}

    plan = plan_of({**{f"{copy}{name}": shape for name, shape in model.items()}, **kept}, model)

    wanted = {name: raw + name for name in model if raw + name in kept}
    assert found(plan) == wanted
    assert set(plan.missing_keys) == set(model) - set(wanted)


def test_between_two_towers_of_equal_rank_nothing_is_likelier():
    """Both are named, and no half of each is offered."""
    model = {**linear("a", 4), **norm("b")}
    plan = plan_of({f"{who}.{name}": shape for who in ("left", "right") for name, shape in model.items()}, model)

    assert not found(plan)
    assert any("'left', 'right'" in note for note in plan.notes)
    assert not any("best" in note for note in plan.notes)


def test_a_lost_layer_is_not_made_up_for_by_one_of_another_name():
    """Everything else is called the same on both sides: what the file holds beside is something else."""
    model = layers(
        3, lambda n: {**linear(f"layer.{n}.key", 4), **linear(f"layer.{n}.query", 4), **linear(f"layer.{n}.up", 8)}
    )
    source = {**model, **linear("pooler.dense", 4)}
    for name in linear("layer.1.key", 4):
        source.pop(name)

    plan = plan_of(source, model)

    assert set(plan.missing_keys) == set(linear("layer.1.key", 4))
    assert set(plan.unexpected_keys) == set(linear("pooler.dense", 4))


def test_a_lost_layer_is_not_made_up_for_by_a_decoders():
    """A block of the decoder holds the one shape that is missing."""
    model = layers(3, lambda n: {f"layer{n}.0.conv{c}.weight": (8 + n, 8 + n, 3, 3) for c in (1, 2)})
    beside = {"decoder.blocks.1.conv2.0.weight": (9, 9, 3, 3), **norm("decoder.blocks.1.conv2.1", 9)}
    source = {f"encoder.{name}": shape for name, shape in model.items()} | beside
    source.pop("encoder.layer1.0.conv2.weight")

    plan = plan_of(source, model, rename="best")

    assert plan.missing_keys == ("layer1.0.conv2.weight",)
    assert set(plan.unexpected_keys) == set(beside)


def stage(name, width, more):
    """Two residual blocks of a decoder's level, and what enlarges it."""
    blocks = layers(2, lambda n: {**norm(f"{name[0]}.{n}.norm", width), **linear(f"{name[0]}.{n}.conv", width, width)})
    return blocks | ({f"{name[1]}.weight": (width, width, 3, 3)} if more else {})


@pytest.mark.parametrize("widths", [(4, 8, 16, 16), (4, 8, 8)])
def test_a_decoder_counted_from_the_other_end(widths):
    """Its levels' widths say so, for those of equal width too, unless one level moved explains them as well."""
    last = len(widths) - 1
    source, model, wanted = {}, {}, {}
    for n, width in enumerate(widths):
        source |= stage((f"up.{n}.block", f"up.{n}.grow"), width, n > 0)
        model |= stage((f"ups.{last - n}.resnets", f"ups.{last - n}.upsamplers.0.conv"), width, n > 0)
    for name in model:
        key = name.replace("ups.", "up.").replace("resnets", "block").replace("upsamplers.0.conv", "grow")
        wanted[name] = re.sub(r"up\.(\d)", lambda level: f"up.{last - int(level[1])}", key)
    lost = "up.0.block.1.conv.weight"

    sure = found(plan_of(source, model))
    damaged = found(plan_of({key: shape for key, shape in source.items() if key != lost}, model))

    assert sure == wanted if len(set(widths)) > 2 else sure.items() <= wanted.items()
    assert damaged.items() <= wanted.items() and lost not in damaged.values()


def test_a_part_that_happens_to_fit_better_is_not_sure():
    """Half of a copy of the encoder lacks what the model keeps elsewhere, and so looks more alike."""
    source = layers(
        4,
        lambda n: {
            **linear(f"stages.{n}.embed.proj", 8 + n, 2), **norm(f"stages.{n}.embed.norm", 8 + n),
            **linear(f"stages.{n}.blocks.0.fc1", 8 + n), **linear(f"stages.{n}.blocks.0.fc2", 9 + n),
            **norm(f"stages.{n}.norm", 8 + n),
        },
    )  # fmt: skip
    copy = {f"neck.{name}": shape for name, shape in list(source.items())[:16]}
    model = layers(
        4,
        lambda n: {
            **linear(f"embed{n + 1}.proj", 8 + n, 2), **norm(f"embed{n + 1}.norm", 8 + n),
            **linear(f"block{n + 1}.0.fc1", 8 + n), **linear(f"block{n + 1}.0.fc2", 9 + n),
            **norm(f"norm{n + 1}", 8 + n),
        },
    )  # fmt: skip

    plan = plan_of({**copy, **source}, model)

    assert not any(key.startswith("neck") for key in found(plan).values())


def test_a_row_that_the_other_side_names_in_part():
    """layers.0 of three is not the layers.0 between a first and a last one."""
    source = {
        **linear("trunk.fc", 8),
        **linear("mlp.layers.0", 4),
        **linear("mlp.layers.1", 4),
        **linear("mlp.layers.2", 3),
    }
    model = {
        **linear("trunk.fc", 8),
        **linear("mlp.proj_in", 4),
        **linear("mlp.proj_out", 3),
        **linear("mlp.layers.0", 4),
    }

    plan, other = plan_of(source, model), plan_of(model, source)

    assert found(plan) == {name: name for name in linear("trunk.fc", 8)} | {
        f"mlp.proj_out.{leaf}": f"mlp.layers.2.{leaf}" for leaf in ("weight", "bias")
    }
    assert set(plan.ambiguous["mlp.layers.0.weight"]) == {"mlp.layers.0.weight", "mlp.layers.1.weight"}
    assert "mlp.layers.0.weight" not in found(other)


def test_a_name_that_is_the_same_to_the_letter():
    """One letter tells the two tables apart, in any order."""

    def make(block, attention, tables):
        return layers(
            3, lambda n: {f"{block}.{n}.{attention}.{t}": (7, 4) for t in tables} | linear(f"{block}.{n}.a", 4)
        )

    plan = plan_of(
        make("blocks", "attn", ("rel_pos_h", "rel_pos_w")), make("layers", "attention", ("rel_pos_w", "rel_pos_h"))
    )

    assert found(plan)["layers.1.attention.rel_pos_h"] == "blocks.1.attn.rel_pos_h"
    assert not plan.ambiguous


@pytest.mark.parametrize("crossed", [False, True])
def test_norms_of_a_decoder_by_what_they_stand_beside(crossed):
    """The first, the one at the cross-attention, the last: by the words of two libraries; of two only, by number too.

    Deformable DETR calls the norm at the cross-attention the first, DETR the second.
    """
    ways = [
        ("blocks.{}.attn_ln", "blocks.{}.cross_attn_ln", "blocks.{}.mlp_ln"),
        ("layers.{}.self_attn_layer_norm", "layers.{}.encoder_attn_layer_norm", "layers.{}.final_layer_norm"),
        ("rows.{}.norm1", "rows.{}.norm2", "rows.{}.norm3"),
    ]
    kept = [way if crossed else (way[0], way[2].replace("norm3", "norm2")) for way in ways]

    def make(way):
        body = layers(2, lambda n: {key: shape for name in sorted(way) for key, shape in norm(name.format(n)).items()})
        return {**body, **linear("head", 3), **layers(2, lambda n: linear(f"{way[0].split('.')[0]}.{n}.fc", 8))}

    for one in kept:
        for other in kept:
            wanted = {f"{there}.weight".format(1): f"{here}.weight".format(1) for here, there in zip(one, other)}
            if crossed and ("norm1" in one[0]) != ("norm1" in other[0]):
                wanted = {name: key for name, key in wanted.items() if "norm3" in f"{name}{key}"}
            sure = found(plan_of(dict(sorted(make(one).items())), make(other)))
            norms = {name: key for name, key in sure.items() if ".1." in name and name.endswith(".weight")}
            assert {name: key for name, key in norms.items() if ".fc." not in name} == wanted


def test_norms_of_torchs_decoder_layer():
    """The names of nn.TransformerDecoderLayer are torch's own, and its order of norms is known."""

    def make(attention, norms):
        parts = [{**linear(f"rows.{n}.{attention}.out_proj", 4), **linear(f"rows.{n}.fc", 8)} for n in range(2)]
        parts += [norm(f"rows.{n}.{name}") for n in range(2) for name in norms]
        return {key: shape for part in parts for key, shape in part.items()}

    target = make("encoder_attn", ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"))
    sure = found(plan_of(make("multihead_attn", ("norm1", "norm2", "norm3")), target))
    assert sure["rows.1.encoder_attn_layer_norm.weight"] == "rows.1.norm2.weight" and len(sure) == len(target)
    sure = found(plan_of(make("cross_attn", ("norm1", "norm2", "norm3")), target))
    assert not any("_attn_layer_norm" in name for name in sure)


def test_norms_after_their_part():
    """Behind attention and behind the MLP: the first and the second, though post_attention is often the second."""

    def make(names):
        parts = [{**norm(f"layers.{n}.{name}"), **linear(f"layers.{n}.fc", 8)} for n in range(2) for name in names]
        return {key: shape for part in parts for key, shape in part.items()}

    after = ("post_attention_layernorm", "post_mlp_layernorm")
    for names in (("norm1", "norm2"), ("attn_ln", "mlp_ln")):
        sure = found(plan_of(make(names[::-1]), make(after)))
        assert [sure[f"layers.1.{name}.weight"] for name in after] == [f"layers.1.{name}.weight" for name in names]


def test_gate_and_up_by_words_only():
    """Which of fc1 and fc3 is the gate is nobody's convention; w1 and w3 are Llama's."""

    def make(at, names):
        gate, up, down = (f"{at}.{{}}.mlp.{name}" for name in names)
        parts = [{**linear(gate.format(n), 8, 4), **linear(up.format(n), 8, 4)} for n in range(2)]
        downs = [linear(down.format(n), 4, 8) for n in range(2)]
        return {key: shape for part in (*parts, *downs) for key, shape in part.items()}

    target = make("layers", ("gate_proj", "up_proj", "down_proj"))
    plan = plan_of(make("blocks", ("fc1", "fc3", "fc2")), target)
    assert found(plan).keys() == {name for name in target if "down_proj" in name}
    sure = found(plan_of(make("blocks", ("w1", "w3", "w2")), target))
    assert sure["layers.1.mlp.up_proj.weight"] == "blocks.1.mlp.w3.weight" and len(sure) == len(target)


def test_levels_of_a_pyramid_under_other_names():
    """DPT's refinenet4 is the first layer of transformers' fusion stage: numbers from another base tell nothing."""

    def make(names):
        return {key: (4, 4, 3, 3) for name in names for key in (f"{name}.one.weight", f"{name}.two.weight")}

    ours, theirs = [f"neck.refinenet{n}" for n in (1, 2, 3, 4)], [f"neck.fusion.layers.{n}" for n in range(4)]
    assert not found(plan_of(make(ours), make(theirs)))
    assert len(found(plan_of(make([f"neck.fusion{n}" for n in (1, 2, 3, 4)]), make(theirs)))) == 8
    longer = [f"neck.refinenet{n}" for n in range(1, 9)], [f"neck.fusion.layers.{n}" for n in range(8)]
    assert len(found(plan_of(make(longer[0]), make(longer[1])))) == 16


def test_one_norm_more_in_every_block():
    """The norm at a cross-attention that only the model has hides neither the blocks nor the other two."""

    def there(n):
        at = f"body.layers.{n}"
        return {
            **norm(f"{at}.layernorm_after"), **norm(f"{at}.layernorm_before"), **linear(f"{at}.attention.out", 4),
            **linear(f"{at}.intermediate.dense", 8), **linear(f"{at}.output.dense", 4, 8),
        }  # fmt: skip

    def here(n):
        at = f"blocks.{n}"
        return {
            **linear(f"{at}.mlp.linear1", 8), **linear(f"{at}.mlp.linear2", 4, 8), **norm(f"{at}.norm1"),
            **linear(f"{at}.attn.proj", 4), **norm(f"{at}.norm2"), **norm(f"{at}.norm_cross_attn"),
        }  # fmt: skip

    plan = plan_of(layers(3, there), layers(3, here))

    sure = found(plan)
    assert sure["blocks.1.norm1.weight"] == "body.layers.1.layernorm_before.weight"
    assert sure["blocks.2.norm2.weight"] == "body.layers.2.layernorm_after.weight"
    assert sure["blocks.2.mlp.linear1.weight"] == "body.layers.2.intermediate.dense.weight"
    assert set(plan.missing_keys) == {key for n in range(3) for key in norm(f"blocks.{n}.norm_cross_attn")}
    assert not plan.unexpected_keys


def test_an_mlp_as_wide_as_q_k_and_v_together():
    """One layer of it is lost: it is not made of the attention's three, which the model has too."""

    def make(at, names):
        return layers(3, lambda n: {f"{at}.{n}.{x}.weight": (4, 4) if "att" in x else (12, 4) for x in names})

    source = make("layers", ("attention.wq", "attention.wk", "attention.wv", "feed.w3"))
    model = make("model.layers", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"))
    source.pop("layers.1.feed.w3.weight")

    sure = found(plan_of(source, model))

    assert not any(isinstance(key, tuple) for key in sure.values())


def test_norms_before_and_after_a_tower():
    """visual.ln_pre is vision_model.pre_layernorm, in the order of a sorted file too."""
    one = {**norm("visual.ln_post"), **norm("visual.ln_pre"), **linear("visual.proj", 3), "scale": ()}
    other = {
        **norm("vision_model.pre_layrnorm"),
        **norm("vision_model.post_layernorm"),
        **linear("vision_projection", 3),
    }

    assert found(plan_of(one, other))["vision_model.pre_layrnorm.weight"] == "visual.ln_pre.weight"


def test_a_transposition_that_was_asked_for_is_not_suggested():
    """The hint is for who did not pass it."""
    source = layers(2, lambda n: {f"h.{n}.fc.weight": (4, 8), f"h.{n}.fc.bias": (8,), **norm(f"h.{n}.ln")})
    model = layers(2, lambda n: {**linear(f"h.{n}.fc", 8), **norm(f"h.{n}.ln")})

    assert any("adapt='transpose'" in note for note in plan_of(source, model).notes)
    assert not plan_of(source, model, adapt="transpose").notes


def test_grouped_queries_are_split_by_their_rows():
    """Fewer keys and values than queries: the fused rows are theirs in turn, both ways."""
    one = layers(2, lambda n: {f"l.{n}.attn.qkv_proj.weight": (8, 4), **linear(f"l.{n}.fc", 6)})
    other = layers(
        2, lambda n: {f"l.{n}.attn.{x}_proj.weight": (4 if x == "q" else 2, 4) for x in "qkv"} | linear(f"l.{n}.fc", 6)
    )

    split, joined = plan_of(one, other), plan_of(other, one)

    assert [entry.how for entry in split.matches if ".1.attn" in entry.target] == ["qkv[0:4]", "qkv[4:6]", "qkv[6:8]"]
    assert found(joined)["l.1.attn.qkv_proj.weight"] == tuple(f"l.1.attn.{x}_proj.weight" for x in "qkv")
    assert not (split.missing_keys or split.unexpected_keys or joined.missing_keys or joined.unexpected_keys)


def test_a_linear_layer_over_patches_is_not_sure():
    """Its pixels may come channels first or last; a classifier's features come channels first."""
    body = layers(2, lambda n: linear(f"blocks.{n}.fc", 8))
    linear_patch, kernel_patch = (
        linear("embed.proj", 8, 12),
        {"embed.proj.weight": (8, 3, 2, 2), "embed.proj.bias": (8,)},
    )
    plan = plan_of({**linear_patch, **body}, {**kernel_patch, **body})

    assert "embed.proj.weight" not in found(plan)
    assert any("order their pixels otherwise" in note for note in plan.notes)
    wide = {"fc1.weight": (8, 16, 2, 2), "fc1.bias": (8,), **body}
    assert found(plan_of({**linear("fc1", 8, 64), **body}, wide))["fc1.weight"] == "fc1.weight"


def test_stages_of_equal_width_are_matched_by_their_numbers():
    """Nothing but the numbers tells them apart."""
    one = {f"trunk.stage{s}.block{b}.conv.weight": (4, 4, 3, 3) for s in (1, 2) for b in (1, 2, 3)}
    other = {f"s.{s}.{b}.c.weight": (4, 4, 3, 3) for s in (0, 1) for b in (0, 1, 2)}

    plan = plan_of({**one, **linear("out", 3)}, {**other, **linear("head", 3)})

    assert found(plan)["s.1.0.c.weight"] == "trunk.stage2.block1.conv.weight"


def test_a_missing_block_leaves_the_others_in_place():
    """Layer 2 of 5 is not in the file: 3 stays 3."""
    make = lambda at: lambda n: {**linear(f"{at}.{n}.fc", 8), **norm(f"{at}.{n}.norm")}  # noqa: E731
    source = {key: shape for key, shape in layers(5, make("h")).items() if not key.startswith("h.2.")}

    plan = plan_of(source, layers(5, make("blocks")))

    assert all(entry.target.split(".")[1] == str(entry.source).split(".")[1] for entry in plan.matches)
    assert {name.split(".")[1] for name in plan.missing_keys} == {"2"}


# -- tied, shared, odd -----------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding whose table is the head's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(5, 4)
        self.fc = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.wte.weight


@pytest.mark.parametrize("gone", ["wte.weight", "head.weight"])
def test_a_tied_tensor_loads_under_either_name(gone):
    """It is not missing when its twin is there."""
    model = Tied()
    state = {key: value for key, value in model.state_dict().items() if key != gone}

    plan = match(model, state)

    assert plan.missing_keys == plan.unexpected_keys == ()
    assert plan.tied == {"head.weight": "wte.weight"}
    assert plan.coverage.model == 1.0


def test_a_tied_tensor_saved_twice_loads_once():
    """The second key is listed as a repeat, to be compared when it is read."""
    model = Tied()

    plan = match(model, model.state_dict())

    assert [entry.target for entry in plan.matches].count("wte.weight") == 1
    assert plan.repeats == {"head.weight": "wte.weight"}


def test_modules_that_share_weights_have_one_value():
    """A layer used twice is one layer."""
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)

    plan = match(model, model.state_dict())

    assert [entry.target for entry in plan.matches] == ["0.weight", "0.bias"]
    assert not plan.missing_keys and not plan.unexpected_keys


def test_scalars_and_tables_in_buffers_are_matched_like_the_rest():
    """Shapes without axes are shapes."""
    table = {"attn.relative_position_index": (9, 9), "logit_scale": (), "fc.weight": (2, 2)}

    plan = plan_of({f"net.{key}": shape for key, shape in table.items()}, table)

    assert found(plan) == {key: f"net.{key}" for key in table}


def test_counters_of_batches_are_never_missing_nor_unexpected():
    """Old files lack them, new ones have them."""
    bare = {f"bn.{leaf}": (4,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    counted = {**bare, "bn.num_batches_tracked": ()}

    for source, target in ((bare, counted), (counted, bare)):
        plan = plan_of(source, target)

        assert plan.missing_keys == plan.unexpected_keys == ()
        assert len(plan.matches) == 4


def test_two_keys_of_one_name_are_refused_until_the_user_chooses():
    """module.fc and fc both: nobody knows which is meant."""
    model = linear("fc", 4)
    source = {**model, **{f"module.{name}": shape for name, shape in model.items()}}

    refused = plan_of(source, model)

    assert not refused.matches
    assert refused.ambiguous["fc.weight"] == ("fc.weight", "module.fc.weight")
    assert any("twice" in note for note in refused.notes)
    assert found(plan_of(source, model, prefix="")) == {name: name for name in model}


# -- options ---------------------------------------------------------------------------------------


def test_include_and_exclude_are_globs_over_the_models_names():
    """What is left out is listed as such, not as missing."""
    model = {**linear("conv1", 4), **linear("conv2", 4), **linear("fc", 2)}

    plan = plan_of(model, model, include=["conv*", "fc.*"], exclude="*.bias")

    assert set(found(plan)) == {"conv1.weight", "conv2.weight", "fc.weight"}
    assert set(plan.excluded) == {"conv1.bias", "conv2.bias", "fc.bias"}
    assert not plan.missing_keys and not plan.unexpected_keys


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include": "nothing.*"}, "fits none"),
        ({"adapt": "magic"}, "adapt must be of"),
        ({"rename": "wild"}, "rename must be"),
        ({"rename": [("(", "x")]}, "regex"),
        ({"rename": lambda name: "same"}, "keep names apart"),
        ({"rename": {"fc.weight": 3}}, "names to names"),
        ({"prefix": 3}, "prefix must be"),
        ({"include": 3}, "include must be a text or several, got 3"),
        ({"exclude": ["fc.*", None]}, "exclude must be a text or several, got None"),
        ({"adapt": 3}, "adapt must be a text"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, said):
    """One sentence says what must hold."""
    with pytest.raises(InputError, match=said):
        plan_of(linear("fc", 4), linear("fc", 4), **options)


def test_a_mapping_must_hold_tensors():
    """A dict around nothing is no checkpoint."""
    with pytest.raises(CheckpointError, match="must hold a dict of tensors by name"):
        match(nn.Linear(2, 2), {"model": {}})


def test_a_mapping_may_be_a_container():
    """What torch.load gives is unwrapped as the file would be, the dict that was asked for included."""
    state = nn.Linear(2, 2).state_dict()
    source = {"state_dict": state, "ema": state, "epoch": 3, "step": torch.tensor(4)}
    plan = match(nn.Linear(2, 2), source)
    assert (plan.container.path, len(plan.matches), plan.container.extras) == (("state_dict",), 2, ("epoch", "step"))
    assert match(nn.Linear(2, 2), source, container="ema").container.path == ("ema",)


@pytest.mark.parametrize(
    ("model", "checkpoint", "adapt"),
    [
        ((4, 1, 3, 3), (4, 3, 3, 3), "first-conv"),
        ((2, 8), (9, 8), "head-rows"),
        ((8, 3), (3, 8), "transpose"),
    ],
)
def test_an_adaptation_is_named_when_it_would_help_and_used_when_asked_for(model, checkpoint, adapt):
    """Without it the tensor is listed with both shapes."""
    refused = plan_of({"x.weight": checkpoint}, {"x.weight": model})
    adapted = plan_of({"x.weight": checkpoint}, {"x.weight": model}, adapt=adapt)

    assert refused.mismatched_keys == {"x.weight": (model, checkpoint)}
    assert any(f"adapt='{adapt}'" in note for note in refused.notes)
    assert [entry.how for entry in adapted.matches] == [adapt]


def test_position_tables_of_another_size_are_resized_when_asked_for():
    """The table keeps its name and its width."""
    refused = plan_of({"pos_embed": (1, 17, 8)}, {"pos_embed": (1, 5, 8)})
    adapted = plan_of({"pos_embed": (1, 17, 8)}, {"pos_embed": (1, 5, 8)}, adapt=("pos-embed",))

    assert refused.mismatched_keys == {"pos_embed": ((1, 5, 8), (1, 17, 8))}
    assert [entry.how for entry in adapted.matches] == ["pos-embed"]


# -- explanations ----------------------------------------------------------------------------------


def test_another_architecture_is_called_one():
    """Nothing loads, and the first sentence says why."""
    with torch.device("meta"):
        plan = match(models.resnet18(), models.vit_b_16().state_dict())

    assert plan.coverage.model < 0.5
    assert "different architectures" in plan.notes[0]


def test_another_width_is_called_one():
    """Every size is the same factor larger."""
    narrow = layers(3, lambda n: {**linear(f"h.{n}.a", 8), **linear(f"h.{n}.b", 4, 8)})
    wide = {name: tuple(2 * size for size in shape) for name, shape in narrow.items()}

    assert any("2 times as wide" in note for note in plan_of(narrow, wide).notes)


def test_another_depth_is_called_one():
    """The missing layers are of a kind that is there."""
    make = lambda n: {**linear(f"h.{n}.a", 8), **norm(f"h.{n}.b")}  # noqa: E731

    assert any("deeper" in note for note in plan_of(layers(2, make), layers(6, make)).notes)


@pytest.mark.parametrize(
    ("key", "said"), [("h.0.a.qweight", "quantized"), ("base.h.0.a.lora_A.weight", "adapters")], ids=["int4", "lora"]
)
def test_files_that_hold_no_plain_weights_are_called_so(key, said):
    """A quantized or adapter-only file is named."""
    plan = plan_of(
        {key: (2, 3), f"{key}.x".replace(".x", "2_lora_B" if "lora" in key else ".scales"): (3, 2)}, linear("h.0.a", 8)
    )

    assert said in plan.notes[0]


# -- the model's side ------------------------------------------------------------------------------


def test_a_traced_model_gives_order_and_neighbours():
    """What forward reads first comes first, whatever was registered first."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.first = nn.Linear(3, 4)

        def forward(self, x):
            return self.last(self.first(x).relu())

    described = describe(Net(), (5, 3))

    assert described.order == ("first.weight", "first.bias", "last.weight", "last.bias")
    assert described.feeds["last.weight"] == ("first.bias", "first.weight")
    assert next(iter(described.shapes)) == "last.weight"


def test_a_wrapped_model_is_described_by_its_own_names():
    """DataParallel's names begin with module."""
    model = nn.DataParallel(nn.Linear(3, 4))

    described = describe(model, (5, 3))

    assert described.order == ("module.weight", "module.bias")
    assert found(match(model, model.module.state_dict())) == {"module.weight": "weight", "module.bias": "bias"}


def test_numbers_that_count_nothing_are_no_order():
    """Hashes have digits too."""
    source = {f"t{number}.weight": (4, 4) for number in (48213, 7, 90210, 5551212)}

    plan = plan_of(source, {f"x{number}.weight": (4, 4) for number in range(4)})

    assert not found(plan)
    assert len(plan.ambiguous) == 4


def test_a_second_tower_fills_no_gap():
    """The model's first layer is not in the file, a copy of it under another name is."""
    model = {**linear("stem", 4), **linear("body", 5), **linear("neck", 6), **linear("fc", 7)}
    source = {**{f"tower.{name}": shape for name, shape in model.items()}, **model}
    del source["stem.weight"], source["stem.bias"]

    plan = plan_of(source, model)

    assert plan.missing_keys == ("stem.weight", "stem.bias")


def test_kernels_of_other_directions_are_told_apart():
    """1x7 is not 7x1, although both have seven elements."""
    plan = plan_of(
        {"a.weight": (4, 4, 1, 7), "b.weight": (4, 4, 7, 1)}, {"x.weight": (4, 4, 7, 1), "y.weight": (4, 4, 1, 7)}
    )

    assert found(plan) == {"x.weight": "b.weight", "y.weight": "a.weight"}
    assert {entry.how for entry in plan.matches} == {"renamed"}


def test_one_tensor_is_said_to_be_one():
    """A single leftover is named in the singular."""
    source = {**linear("a", 4), "kernel.weight": (8, 4, 5, 5)}
    plan = plan_of(source, {**linear("a", 4), "kernel.weight": (8, 4, 3, 3), "other": (7,)})
    assert "kernel.weight has another shape: 8x4x3x3 in the model and 8x4x5x5 in the checkpoint." in plan.notes
    assert "The checkpoint lacks 1 tensor of the model (other)." in plan.notes
