"""``timm:NAME`` and ``hf:MODEL_TYPE``: nothing is downloaded, weights take no memory, every model has an input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import fxprof
import fxprof.cli
from fxprof import zoo
from fxprof.errors import InputError
from fxprof.report import TensorSpec


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any connection fail."""

    def refuse(*_: object) -> None:
        raise AssertionError("the zoo must not download")

    monkeypatch.setattr("socket.socket.connect", refuse)


# -- timm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"), [("vit_tiny_patch16_384", 384), ("resnet18", 224), ("resnet50.fb_swsl_ig1b_ft_in1k", 224)]
)
def test_timm_input_is_its_own(name: str, size: int) -> None:
    """The input size is that of the pretrained configuration, a tag's where one is given."""
    assert zoo.build(f"timm:{name}").inputs == (TensorSpec((1, 3, size, size)),)


def test_timm_input_follows_the_arguments() -> None:
    """A model for other channels or another size is counted at these."""
    grey = zoo.build("timm:vit_tiny_patch16_224?img_size=96&in_chans=1")
    assert grey.inputs == (TensorSpec((1, 1, 96, 96)),)
    assert fxprof.analyze(grey.model.eval(), *grey.inputs).exact


@pytest.mark.parametrize(
    ("name", "gmacs", "mparams"), [("resnet18", 1.8, 11.7), ("convnext_tiny", 4.5, 28.6), ("efficientnet_b0", 0.4, 5.3)]
)
def test_timm_counts_what_is_published(name: str, gmacs: float, mparams: float) -> None:
    """The figures of timm's model cards."""
    built = zoo.build(f"timm:{name}")
    report = fxprof.analyze(built.model.eval(), *built.inputs)
    assert (round(report.macs / 1e9, 1), round(report.params / 1e6, 1)) == (gmacs, mparams)


def test_timm_tables_keep_their_values() -> None:
    """Weights are on the meta device, tables of positions are not."""
    model = zoo.build("timm:swin_tiny_patch4_window7_224").model
    assert all(p.is_meta for name, p in model.named_parameters() if name.endswith("weight") and "norm" not in name)
    assert all(t.max() > 0 for name, t in model.named_buffers() if name.endswith("relative_position_index"))


# -- transformers ------------------------------------------------------------------------------------


# One per kind of default input: argument -> shape.
SHAPES = {
    "bert": {"input_ids": (1, 128)},
    "t5": {"input_ids": (1, 128), "decoder_input_ids": (1, 16)},
    "vit": {"pixel_values": (1, 3, 224, 224)},
    "clip": {"input_ids": (1, 77), "pixel_values": (1, 3, 224, 224)},
    "whisper": {"input_features": (1, 80, 3000), "decoder_input_ids": (1, 16)},
    "wav2vec2": {"input_values": (1, 48000)},
    # 24 x 24 patches are 576 tokens
    "llava": {"input_ids": (1, 128 + 576), "pixel_values": (1, 3, 336, 336)},
}


def made(spec: str) -> Any:
    """The model, with attributes that torch's types do not know of."""
    return zoo.build(spec).model


@pytest.mark.parametrize("kind", SHAPES)
def test_default_input(kind: str) -> None:
    """Ids, pixels, waveforms, spectrograms, decoder ids, and as many image tokens as the model makes features."""
    built = zoo.build(f"hf:{kind}")
    assert {name: tuple(value.shape) for name, value in built.kwargs.items()} == SHAPES[kind]
    assert fxprof.analyze(built.model.eval(), kwargs=dict(built.kwargs)).macs > 0


def test_ids_are_plain_text() -> None:
    """No id of the default input is a special token, and none is out of the vocabulary."""
    built = zoo.build("hf:bert")
    ids, config = built.kwargs["input_ids"], made("hf:bert").config
    assert config.pad_token_id not in ids
    assert int(ids.min()) >= 0 and int(ids.max()) < config.vocab_size


def test_overrides_reach_what_follows_from_them() -> None:
    """Two of GPT-2's layers, by its own name or the common one; the kinds of layers follow their number."""
    for key in ("num_hidden_layers", "n_layer"):
        assert len(made(f"hf:gpt2?{key}=2").h) == 2
    model = made("hf:gemma3_text?num_hidden_layers=3")
    assert len(model.config.layer_types) == 3


def test_overrides_of_a_part_keep_the_rest_of_it() -> None:
    """Dotted keys; LLaVA's vision tower stays the one of LLaVA, not of CLIP."""
    model = made("hf:llava?text_config.num_hidden_layers=1&vision_config.num_hidden_layers=4")
    assert (len(model.language_model.layers), model.config.vision_config.num_hidden_layers) == (1, 4)
    assert model.config.vision_config.image_size == 336


def test_a_70b_model_takes_no_memory() -> None:
    """Llama-2-70B's published sizes: 68,714,504,192 parameters without the output layer's 262,144,000."""
    sizes = {
        "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "intermediate_size": 28672, "vocab_size": 32000,
    }  # fmt: skip
    model = zoo.build("hf:llama?" + "&".join(f"{key}={value}" for key, value in sizes.items())).model
    assert sum(p.numel() for p in model.parameters()) == 68_714_504_192
    assert sum(p.nbytes for p in model.parameters() if not p.is_meta) < 10_000_000


# -- what is wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:resnet5", r"timm has no model called 'resnet5'; did you mean resnet50 or"),
        ("timm:resnet50.nobody", r"timm:resnet50.nobody failed to build: RuntimeError: Invalid pretrained tag"),
        ("hf:lama", r"AutoModel has no model type 'lama'; did you mean llama or"),
        ("hf:some-one/bert-base-uncased", r"must be one such as bert or llama: no checkpoint is downloaded"),
        ("hf:llama?num_layers=2", r"hf:llama has no configuration key 'num_layers'; did you mean num_hidden_layers"),
        ("hf:llava?num_attention_heads=2", r"did you mean vision_config.num_attention_heads or text_config.num_att"),
        ("hf:llama?hidden_size=big", r"hf:llama\?hidden_size must be like its default 4096, got 'big'"),
        ("hf:llama?use_cache=2", r"hf:llama\?use_cache must be like its default True, got '2'"),
        ("hf:llama?hidden_size", r"must have key=value after the question mark, joined by &, got 'hidden_size'"),
        ("hf:llama?hidden_size=4095", r"hf:llama cannot be configured so: .*hidden"),
    ],
)
def test_wrong_models(spec: str, message: str) -> None:
    """One sentence that says what is near, or what must hold."""
    with pytest.raises(InputError, match=message):
        zoo.build(spec)


@pytest.mark.parametrize(("spec", "library"), [("timm:resnet18", "timm"), ("hf:bert", "transformers")])
def test_a_missing_library_names_the_extra(
    spec: str, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and what to install."""
    monkeypatch.setitem(sys.modules, library, None)
    assert fxprof.cli.main(["report", spec]) == 2
    assert f"{library} is not installed; it comes with: pip install 'fxprof[zoo]'" in capsys.readouterr().err


# -- in the commands ---------------------------------------------------------------------------------


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    """The zoo's strings are MODELs; --input takes the place of the default."""
    assert fxprof.cli.main(["report", "hf:bert?num_hidden_layers=1", "--input", "input_ids=2,8:int64"]) == 0
    assert "hf:bert?num_hidden_layers=1: input_ids 2x8" in capsys.readouterr().out


def test_match_and_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of a timm model find their places in it."""
    path = tmp_path / "weights.pth"
    torch.save(zoo.build("timm:test_vit", device="cpu").model.state_dict(), path)
    assert fxprof.cli.main(["match", "timm:test_vit", str(path)]) == 0
    assert fxprof.cli.main(["load", "timm:test_vit", str(path), "-o", str(tmp_path / "out.safetensors")]) == 0
    capsys.readouterr()
