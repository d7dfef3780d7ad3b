"""The pairs of the matching benchmark: architectures that exist twice, under other names.

Every maker builds random weights on the CPU; nothing is downloaded. Epsilons are made equal on both sides
(``same_eps``), because a checkpoint does not carry them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.matching_nets import Bert, MetaLlama, NanoGPT

Make = Callable[[], nn.Module]
_LIBRARIES = {"tv": "torchvision", "timm": "timm", "hf": "transformers"}


@dataclass(frozen=True)
class Pair:
    """A source and a target of one architecture; ``needs`` names the libraries, ``adapt`` what names cannot tell."""

    name: str
    source: Make
    target: Make
    needs: tuple[str, ...]
    inputs: Callable[[], Tensor] = lambda: torch.randn(2, 3, 64, 64)
    adapt: tuple[str, ...] = ()
    rename_keys: Mapping[str, Any] = field(default_factory=dict)  # regex -> replacement: the source's other names


def same_eps(model: nn.Module) -> nn.Module:
    """Give every norm the same epsilon, and leave training mode."""
    for module in model.modules():
        for name in ("eps", "variance_epsilon", "layer_norm_eps"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 1e-5)
    return model.eval()


def scrambled(model: nn.Module) -> nn.Module:
    """Random values everywhere: a norm's ones and zeros would hide an exchange."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator)
                if value.dim() > 1:
                    value.mul_(1).add_(0.02 * (noise - 0.5))
                else:
                    value.copy_(0.5 + noise if name.endswith(("weight", "running_var")) else noise - 0.5)
    return model


def tv(name: str, **options: Any) -> Make:
    """A torchvision model."""
    return lambda: importlib.import_module("torchvision.models").get_model(
        name, weights=None, num_classes=10, **options
    )


def timm(name: str, classes: int = 10, **options: Any) -> Make:
    """A timm model."""
    return lambda: importlib.import_module("timm").create_model(name, pretrained=False, num_classes=classes, **options)


def hf(config: str, model: str, **options: Any) -> Make:
    """A transformers model from a config: of ten classes, where it classifies."""
    if model.endswith(("ImageClassification", "WithTeacher")):
        options["num_labels"] = 10

    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        return getattr(library, model)(getattr(library, config)(**options))

    return make


def ids() -> Tensor:
    """Token ids."""
    return torch.randint(0, 50, (2, 16))


def picture(size: int) -> Callable[[], Tensor]:
    """Pictures of one size."""
    return lambda: torch.randn(2, 3, size, size)


def _tv_vit() -> nn.Module:
    library = importlib.import_module("torchvision.models")
    return library.VisionTransformer(64, 16, 6, 4, 96, 384, num_classes=10)


# -- one architecture in several libraries -------------------------------------------------------

_HF_VIT = {"hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 384, "image_size": 64, "patch_size": 16}
_HF_VIT4 = {**_HF_VIT, "num_hidden_layers": 4}
_TIMM_VIT4 = {"img_size": 64, "embed_dim": 96, "depth": 4, "num_heads": 4}
_BASIC = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}

# Name -> the size of its pictures, the ways to go, and its maker in each library; cheapest families first.
_FAMILIES: dict[str, tuple[int, str, dict[str, Make]]] = {
    "resnet18": (64, "tv>timm tv>hf hf>tv timm>hf", {
        "tv": tv("resnet18"), "timm": timm("resnet18"),
        "hf": hf("ResNetConfig", "ResNetForImageClassification", **_BASIC),
    }),
    "resnet50": (64, "tv>hf hf>timm", {
        "tv": tv("resnet50"), "timm": timm("resnet50"), "hf": hf("ResNetConfig", "ResNetForImageClassification"),
    }),
    "resnext50": (64, "tv>timm", {"tv": tv("resnext50_32x4d"), "timm": timm("resnext50_32x4d")}),
    "bit_r50": (64, "hf>timm timm>hf", {
        "timm": timm("resnetv2_50x1_bit"), "hf": hf("BitConfig", "BitForImageClassification", global_padding=None),
    }),
    "vit": (64, "tv>timm timm>tv tv>hf hf>timm hf>tv timm>hf", {
        "tv": _tv_vit, "timm": timm("vit_tiny_patch16_224", img_size=64, embed_dim=96, depth=6, num_heads=4),
        "hf": hf("ViTConfig", "ViTForImageClassification", **_HF_VIT, num_hidden_layers=6, hidden_act="gelu"),
    }),
    "deit_distilled": (64, "hf>timm timm>hf", {
        "timm": timm("deit_tiny_distilled_patch16_224", **_TIMM_VIT4),
        "hf": hf("DeiTConfig", "DeiTForImageClassificationWithTeacher", **_HF_VIT4),
    }),
    "beit": (64, "hf>timm timm>hf", {
        "timm": timm("beit_base_patch16_224", **_TIMM_VIT4),
        "hf": hf("BeitConfig", "BeitForImageClassification", **_HF_VIT4, use_relative_position_bias=True,
                 use_mean_pooling=True, layer_scale_init_value=0.1),
    }),
    "clip_vision": (64, "hf>timm timm>hf", {
        "timm": timm("vit_base_patch16_clip_224", classes=0, **_TIMM_VIT4),
        "hf": hf("CLIPVisionConfig", "CLIPVisionModel", **_HF_VIT4, hidden_act="gelu"),
    }),
    "siglip_vision": (64, "hf>timm timm>hf", {
        "timm": timm("vit_base_patch16_siglip_224", classes=0, **_TIMM_VIT4),
        "hf": hf("SiglipVisionConfig", "SiglipVisionModel", **_HF_VIT4, hidden_act="gelu"),
    }),
    "ijepa": (64, "hf>timm", {
        "timm": timm("vit_tiny_patch16_224", classes=0, class_token=False, global_pool="", **_TIMM_VIT4),
        "hf": hf("IJepaConfig", "IJepaModel", **_HF_VIT4, hidden_act="gelu", add_pooling_layer=False),
    }),
    "dinov2": (56, "hf>timm timm>hf", {
        "timm": timm("vit_small_patch14_dinov2", img_size=56, depth=4, classes=0),
        "hf": hf("Dinov2Config", "Dinov2Model", hidden_size=384, num_hidden_layers=4, num_attention_heads=6,
                 image_size=56, patch_size=14),
    }),
    "swin_t": (224, "tv>timm timm>tv hf>timm timm>hf", {
        "tv": tv("swin_t"), "timm": timm("swin_tiny_patch4_window7_224"),
        "hf": hf("SwinConfig", "SwinForImageClassification"),
    }),
    "swin_v2_t": (256, "hf>timm timm>hf", {
        "timm": timm("swinv2_tiny_window8_256"),
        "hf": hf("Swinv2Config", "Swinv2ForImageClassification", image_size=256, window_size=8, embed_dim=96,
                 depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    }),
    "pvt_v2_b0": (64, "hf>timm timm>hf", {
        "timm": timm("pvt_v2_b0"),
        "hf": hf("PvtV2Config", "PvtV2ForImageClassification", hidden_sizes=[32, 64, 160, 256], depths=[2, 2, 2, 2],
                 num_attention_heads=[1, 2, 5, 8], mlp_ratios=[8, 8, 4, 4], sr_ratios=[8, 4, 2, 1]),
    }),
    "hiera_t": (224, "hf>timm timm>hf", {
        "timm": timm("hiera_tiny_224"),
        "hf": hf("HieraConfig", "HieraForImageClassification", depths=[1, 2, 7, 2]),
    }),
    "levit_128s": (224, "hf>timm timm>hf", {
        "timm": timm("levit_128s"),
        "hf": hf("LevitConfig", "LevitForImageClassificationWithTeacher", hidden_sizes=[128, 256, 384],
                 num_attention_heads=[4, 6, 8], depths=[2, 3, 4], key_dim=[16, 16, 16]),
    }),
    "focalnet_t": (224, "hf>timm timm>hf", {
        "timm": timm("focalnet_tiny_srf"),
        "hf": hf("FocalNetConfig", "FocalNetForImageClassification", depths=[2, 2, 6, 2], focal_levels=[2, 2, 2, 2],
                 focal_windows=[3, 3, 3, 3]),
    }),
    "convnext_tiny": (64, "tv>timm timm>tv hf>timm hf>tv tv>hf", {
        "tv": tv("convnext_tiny"), "timm": timm("convnext_tiny"),
        "hf": hf("ConvNextConfig", "ConvNextForImageClassification"),
    }),
    "convnextv2": (64, "hf>timm timm>hf", {
        "timm": timm("convnextv2_atto"),
        "hf": hf("ConvNextV2Config", "ConvNextV2ForImageClassification", depths=[2, 2, 6, 2],
                 hidden_sizes=[40, 80, 160, 320]),
    }),
    "efficientnet_b0": (64, "tv>timm timm>tv", {"tv": tv("efficientnet_b0"), "timm": timm("efficientnet_b0")}),
    "efficientnet_v2_s": (64, "tv>timm timm>tv", {"tv": tv("efficientnet_v2_s"), "timm": timm("efficientnetv2_s")}),
    "tf_efficientnet_b0": (64, "hf>timm timm>hf", {
        "timm": timm("tf_efficientnet_b0"),
        "hf": hf("EfficientNetConfig", "EfficientNetForImageClassification", image_size=64, hidden_dim=1280,
                 width_coefficient=1.0, depth_coefficient=1.0, dropout_rate=0.2),
    }),
    "mobilenet_v1": (64, "hf>timm timm>hf", {
        "timm": timm("mobilenetv1_100"),
        "hf": hf("MobileNetV1Config", "MobileNetV1ForImageClassification", tf_padding=False, image_size=64),
    }),
    "mobilenet_v2": (64, "tv>timm timm>tv hf>timm tv>hf", {
        "tv": tv("mobilenet_v2"), "timm": timm("mobilenetv2_100"),
        "hf": hf("MobileNetV2Config", "MobileNetV2ForImageClassification", tf_padding=False),
    }),
    "mobilenet_v3_large": (64, "tv>timm timm>tv", {
        "tv": tv("mobilenet_v3_large"), "timm": timm("mobilenetv3_large_100"),
    }),
    "mobilenet_v3_small": (64, "tv>timm", {"tv": tv("mobilenet_v3_small"), "timm": timm("mobilenetv3_small_100")}),
    "mobilevit_xxs": (64, "hf>timm timm>hf", {
        "timm": timm("mobilevit_xxs"),
        "hf": hf("MobileViTConfig", "MobileViTForImageClassification", hidden_sizes=[64, 80, 96], expand_ratio=2.0,
                 neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320], image_size=64),
    }),
    "mobilevitv2_050": (64, "hf>timm timm>hf", {
        "timm": timm("mobilevitv2_050"),
        "hf": hf("MobileViTV2Config", "MobileViTV2ForImageClassification", width_multiplier=0.5, image_size=64),
    }),
    "regnet_x_400mf": (64, "tv>timm timm>tv hf>timm tv>hf", {
        "tv": tv("regnet_x_400mf"), "timm": timm("regnetx_004_tv"),
        "hf": hf("RegNetConfig", "RegNetForImageClassification", embedding_size=32, hidden_sizes=[32, 64, 160, 400],
                 depths=[1, 2, 7, 12], groups_width=16, layer_type="x"),
    }),
    "regnet_y_400mf": (64, "tv>timm timm>tv hf>timm tv>hf", {
        "tv": tv("regnet_y_400mf"), "timm": timm("regnety_004"),
        "hf": hf("RegNetConfig", "RegNetForImageClassification", embedding_size=32, hidden_sizes=[48, 104, 208, 440],
                 depths=[1, 3, 6, 6], groups_width=8, layer_type="y"),
    }),
    "mnasnet1_0": (64, "tv>timm timm>tv", {"tv": tv("mnasnet1_0"), "timm": timm("mnasnet_100")}),
    "inception_v3": (128, "tv>timm timm>tv", {
        "tv": tv("inception_v3", aux_logits=False, init_weights=False), "timm": timm("inception_v3"),
    }),
    "vgg11_bn": (224, "tv>timm timm>tv", {"tv": tv("vgg11_bn"), "timm": timm("vgg11_bn")}),
}  # fmt: skip

# -- texts, and names of no installed library ----------------------------------------------------

_TEXT = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_BERT = hf("BertConfig", "BertModel", **_TEXT, intermediate_size=64, max_position_embeddings=40, hidden_act="gelu")
_GPT2 = hf("GPT2Config", "GPT2LMHeadModel", vocab_size=50, n_positions=40, n_embd=32, n_layer=3, n_head=4)
_LLAMA = hf(
    "LlamaConfig", "LlamaForCausalLM", **_TEXT, intermediate_size=96, rms_norm_eps=1e-5, tie_word_embeddings=False
)
_D2 = {
    r"^conv1\.": "stem.conv1.", r"^bn1\.": "stem.conv1.norm.",
    r"^layer(\d)\.": lambda found: f"res{int(found[1]) + 1}.", r"\.bn(\d)\.": r".conv\1.norm.",
    r"downsample\.0\.": "shortcut.", r"downsample\.1\.": "shortcut.norm.", r"^fc\.": "linear.",
}  # fmt: skip
_MMSWIN = {
    r"^patch_embed\.proj": "patch_embed.projection", r"^layers\.": "stages.", r"\.attn\.": ".attn.w_msa.",
    r"\.mlp\.fc1": ".ffn.layers.0.0", r"\.mlp\.fc2": ".ffn.layers.1", r"^norm\.": "norm3.", r"^head\.fc": "head.fc",
}  # fmt: skip
_OPENAI_CLIP = {
    r"^blocks\.": "transformer.resblocks.", r"\.norm(\d)\.": r".ln_\1.", r"\.attn\.qkv\.": ".attn.in_proj_",
    r"\.attn\.proj\.": ".attn.out_proj.", r"\.mlp\.fc1": ".mlp.c_fc", r"\.mlp\.fc2": ".mlp.c_proj",
    r"^patch_embed\.proj": "conv1", r"^norm_pre": "ln_pre", r"^norm\.": "ln_post.",
    r"^pos_embed": "positional_embedding", r"^cls_token": "class_embedding", r"^head": "proj",
}  # fmt: skip
_OLD_DENSENET = {r"(norm|conv)([12])\.": r"\1.\2."}
_OTHERS = (
    Pair("resnet50 detectron2->tv", tv("resnet50"), tv("resnet50"), ("torchvision",), rename_keys=_D2),
    Pair("vit openai-clip->timm", _FAMILIES["vit"][2]["timm"], _FAMILIES["vit"][2]["timm"], ("timm",),
         rename_keys=_OPENAI_CLIP),
    Pair("swin_t mm->tv", _FAMILIES["swin_t"][2]["timm"], tv("swin_t"), ("timm", "torchvision"), picture(224),
         rename_keys=_MMSWIN),
    Pair("densenet121 old->tv", tv("densenet121"), tv("densenet121"), ("torchvision",), rename_keys=_OLD_DENSENET),
    Pair("bert hf->torch", _BERT, Bert, ("transformers",), ids),
    Pair("bert torch->hf", Bert, _BERT, ("transformers",), ids),
    Pair("gpt2 hf->nanogpt", _GPT2, NanoGPT, ("transformers",), ids, ("transpose",)),
    Pair("gpt2 nanogpt->hf", NanoGPT, _GPT2, ("transformers",), ids, ("transpose",)),
    Pair("llama meta->hf", MetaLlama, _LLAMA, ("transformers",), ids, ("rope",)),
)  # fmt: skip


def pairs() -> list[Pair]:
    """Every pair."""
    found = [
        Pair(f"{name} {one}->{other}", makers[one], makers[other], (_LIBRARIES[one], _LIBRARIES[other]), picture(size))
        for name, (size, ways, makers) in _FAMILIES.items()
        for one, _, other in (way.partition(">") for way in ways.split())
    ]
    return [*found, *_OTHERS]


def renamed(state: Mapping[str, Tensor], rules: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same tensors under the names that the rules give."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, replacement in rules.items():
            key = re.sub(pattern, replacement, key)
        found[key] = value
    return found
