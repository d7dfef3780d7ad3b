"""Architectures of timm and transformers are left as they were, as torchvision's are in test_families.py."""

from __future__ import annotations

import pytest

import fxprof
from fxprof import zoo
from tests.tracing.same import fingerprint, process, warmed_up

# Small ones: windows and relative positions, convolutions, gates; sequence models with caches, masks and tables.
TIMM = (
    "test_byobnet", "test_convnext", "test_efficientnet_evos", "test_mambaout", "test_maxvit", "test_nfnet",
    "test_vit3", "mobilevit_xxs", "edgenext_xx_small", "ghostnet_050",
)  # fmt: skip
TRANSFORMERS = (
    "albert?num_hidden_layers=1",
    "bart?encoder_layers=1&decoder_layers=1&d_model=64&vocab_size=99",
    "clip?text_config.num_hidden_layers=1&vision_config.num_hidden_layers=1",
    "gpt2?n_layer=1&n_embd=48&vocab_size=999",
    "llama?num_hidden_layers=1&hidden_size=64&intermediate_size=64&num_attention_heads=4&vocab_size=99",
    "mamba?num_hidden_layers=1&hidden_size=32&vocab_size=99&intermediate_size=64",
    "mixtral?num_hidden_layers=1&hidden_size=64&intermediate_size=64&num_attention_heads=4&num_key_value_heads=2"
    "&vocab_size=99&num_local_experts=4",
    "swin?depths=[1,1]&num_heads=[1,1]&embed_dim=24",
    "wav2vec2?num_hidden_layers=1&hidden_size=48&num_attention_heads=4&intermediate_size=48",
    "whisper?encoder_layers=1&decoder_layers=1&d_model=96",
)


@pytest.mark.parametrize("name", [f"timm:{name}" for name in TIMM] + [f"hf:{name}" for name in TRANSFORMERS])
def test_a_zoos_model_is_left_untouched(name: str) -> None:
    """Modules, tensors, hooks, flags, generators, defaults and torch's functions are as before, in both modes."""
    made = zoo.build(name, device="cpu")
    warmed_up()
    for training in (False, True):
        made.model.train(training)
        before = fingerprint(made.model), process()
        assert fxprof.analyze(made.model, *made.inputs, kwargs=dict(made.kwargs)).macs > 0
        assert (fingerprint(made.model), process()) == before
