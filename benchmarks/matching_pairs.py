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

Make = Callable[[], nn.Module]


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
    """A transformers model from a config."""

    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        return getattr(library, model)(getattr(library, config)(num_labels=10, **options))

    return make


def hf_bare(config: str, model: str, **options: Any) -> Make:
    """A transformers model without labels."""

    def make() -> nn.Module:
        library = importlib.import_module("transformers")
        return getattr(library, model)(getattr(library, config)(**options))

    return make


# -- plain torch ---------------------------------------------------------------------------------


class Bert(nn.Module):
    """BERT's encoder on torch's own layers."""

    def __init__(self, depth: int = 3, dim: int = 32, heads: int = 4, wide: int = 64, vocab: int = 50) -> None:
        super().__init__()
        self.tok = nn.Embedding(vocab, dim)
        self.pos = nn.Embedding(40, dim)
        self.seg = nn.Embedding(2, dim)
        self.ln = nn.LayerNorm(dim)
        layer = nn.TransformerEncoderLayer(dim, heads, wide, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the last hidden states."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.encoder(self.ln(self.tok(ids) + self.pos(places) + self.seg(torch.zeros_like(ids))))


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(dim, 3 * dim)
        self.c_proj = nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(nn.functional.gelu(self.c_fc(x), approximate="tanh"))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = _Attention(dim, heads)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = _MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class NanoGPT(nn.Module):
    """The names of nanoGPT."""

    def __init__(self, depth: int = 3, dim: int = 32, heads: int = 4, vocab: int = 50, context: int = 40) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, dim),
                "wpe": nn.Embedding(context, dim),
                "h": nn.ModuleList(_Block(dim, heads) for _ in range(depth)),
                "ln_f": nn.LayerNorm(dim),
            }
        )
        self.lm_head = nn.Linear(dim, vocab, bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        parts = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1], device=ids.device))
        for block in parts["h"].children():
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


class _MetaAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        y = nn.functional.scaled_dot_product_attention(_rotate(q), _rotate(k), v, is_causal=True)
        return self.wo(y.transpose(1, 2).flatten(2))


def _rotate(x: Tensor) -> Tensor:
    """Rotary embedding on neighbouring pairs, as Meta's code has it."""
    length, size = x.shape[-2:]
    rates = 10000.0 ** (-torch.arange(0, size, 2, device=x.device) / size)
    angles = torch.outer(torch.arange(length, device=x.device), rates)
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class _MetaFeedForward(nn.Module):
    def __init__(self, dim: int, wide: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (nn.Linear(*size, bias=False) for size in ((dim, wide), (wide, dim), (dim, wide)))

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))


class _MetaBlock(nn.Module):
    def __init__(self, dim: int, heads: int, wide: int) -> None:
        super().__init__()
        self.attention = _MetaAttention(dim, heads)
        self.feed_forward = _MetaFeedForward(dim, wide)
        self.attention_norm = nn.RMSNorm(dim, 1e-5)
        self.ffn_norm = nn.RMSNorm(dim, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class MetaLlama(nn.Module):
    """The names of Meta's Llama."""

    def __init__(self, depth: int = 3, dim: int = 32, heads: int = 4, wide: int = 96, vocab: int = 50) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(_MetaBlock(dim, heads, wide) for _ in range(depth))
        self.norm = nn.RMSNorm(dim, 1e-5)
        self.output = nn.Linear(dim, vocab, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        x = self.tok_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.output(self.norm(x))


def ids() -> Tensor:
    """Token ids."""
    return torch.randint(0, 50, (2, 16))


def picture(size: int) -> Callable[[], Tensor]:
    """Pictures of one size."""
    return lambda: torch.randn(2, 3, size, size)


_TEXT = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
_BERT = hf_bare("BertConfig", "BertModel", **_TEXT, intermediate_size=64, max_position_embeddings=40, hidden_act="gelu")
_GPT2 = hf_bare("GPT2Config", "GPT2LMHeadModel", vocab_size=50, n_positions=40, n_embd=32, n_layer=3, n_head=4)
_LLAMA = hf_bare(
    "LlamaConfig", "LlamaForCausalLM", **_TEXT, intermediate_size=96, rms_norm_eps=1e-5, tie_word_embeddings=False
)

# -- the list ------------------------------------------------------------------------------------

_BASIC = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
_RESNET = {
    "tv": lambda depth: tv(f"resnet{depth}"),
    "timm": lambda depth: timm(f"resnet{depth}"),
    "hf": lambda depth: hf("ResNetConfig", "ResNetForImageClassification", **(_BASIC if depth == 18 else {})),
}
_VIT = {"hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 384}


def _tv_vit() -> nn.Module:
    library = importlib.import_module("torchvision.models")
    return library.VisionTransformer(64, 16, 6, 4, 96, 384, num_classes=10)


def _same(name: str, one: str, other: str, makers: Mapping[str, Make], **options: Any) -> Pair:
    needs = tuple({"tv": "torchvision", "timm": "timm", "hf": "transformers"}[side] for side in (one, other))
    return Pair(f"{name} {one}->{other}", makers[one], makers[other], needs, **options)


def _each(name: str, makers: Mapping[str, Make], *ways: str, **options: Any) -> list[Pair]:
    sides = [way.partition(">") for way in ways]
    return [_same(name, one, other, makers, **options) for one, _, other in sides]


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


def pairs() -> list[Pair]:
    """Every pair, cheapest families first."""
    resnet = {18: {k: make(18) for k, make in _RESNET.items()}, 50: {k: make(50) for k, make in _RESNET.items()}}
    vit = {
        "tv": _tv_vit,
        "timm": timm("vit_tiny_patch16_224", img_size=64, embed_dim=96, depth=6, num_heads=4),
        "hf": hf("ViTConfig", "ViTForImageClassification", **_VIT, image_size=64, hidden_act="gelu"),
    }
    swin = {
        "tv": tv("swin_t"),
        "timm": timm("swin_tiny_patch4_window7_224"),
        "hf": hf("SwinConfig", "SwinForImageClassification"),
    }
    convnext = {
        "tv": tv("convnext_tiny"),
        "timm": timm("convnext_tiny"),
        "hf": hf("ConvNextConfig", "ConvNextForImageClassification"),
    }
    efficient = {"tv": tv("efficientnet_b0"), "timm": timm("efficientnet_b0")}
    tf_efficient = {
        "timm": timm("tf_efficientnet_b0"),
        "hf": hf("EfficientNetConfig", "EfficientNetForImageClassification", image_size=64, hidden_dim=1280,
                 width_coefficient=1.0, depth_coefficient=1.0, dropout_rate=0.2),
    }  # fmt: skip
    mobile2 = {
        "tv": tv("mobilenet_v2"),
        "timm": timm("mobilenetv2_100"),
        "hf": hf("MobileNetV2Config", "MobileNetV2ForImageClassification", tf_padding=False),
    }
    mobile3 = {"tv": tv("mobilenet_v3_large"), "timm": timm("mobilenetv3_large_100")}
    mobile3s = {"tv": tv("mobilenet_v3_small"), "timm": timm("mobilenetv3_small_100")}
    regnet = {
        "tv": tv("regnet_y_400mf"),
        "timm": timm("regnety_004"),
        "hf": hf("RegNetConfig", "RegNetForImageClassification", embedding_size=32, hidden_sizes=[48, 104, 208, 440],
                 depths=[1, 3, 6, 6], groups_width=8, layer_type="y"),
    }  # fmt: skip
    mnas = {"tv": tv("mnasnet1_0"), "timm": timm("mnasnet_100")}
    vgg = {"tv": tv("vgg11_bn"), "timm": timm("vgg11_bn")}
    dinov2 = {
        "timm": timm("vit_small_patch14_dinov2", img_size=56, depth=4, classes=0),
        "hf": hf_bare("Dinov2Config", "Dinov2Model", hidden_size=384, num_hidden_layers=4,
                 num_attention_heads=6, image_size=56, patch_size=14),
    }  # fmt: skip
    convnext2 = {
        "timm": timm("convnextv2_atto"),
        "hf": hf("ConvNextV2Config", "ConvNextV2ForImageClassification", depths=[2, 2, 6, 2],
                 hidden_sizes=[40, 80, 160, 320]),
    }  # fmt: skip
    return [
        *_each("resnet18", resnet[18], "tv>timm", "tv>hf", "hf>tv", "timm>hf"),
        *_each("resnet50", resnet[50], "tv>hf", "hf>timm"),
        Pair("resnet50 detectron2->tv", tv("resnet50"), tv("resnet50"), ("torchvision",), rename_keys=_D2),
        *_each("vit", vit, "tv>timm", "timm>tv", "tv>hf", "hf>timm", "hf>tv", "timm>hf"),
        Pair("vit openai-clip->timm", vit["timm"], vit["timm"], ("timm",), rename_keys=_OPENAI_CLIP),
        *_each("swin_t", swin, "tv>timm", "timm>tv", "hf>timm", "timm>hf", inputs=picture(224)),
        Pair("swin_t mm->tv", swin["timm"], swin["tv"], ("timm", "torchvision"), picture(224), rename_keys=_MMSWIN),
        *_each("convnext_tiny", convnext, "tv>timm", "timm>tv", "hf>timm", "hf>tv", "tv>hf"),
        *_each("efficientnet_b0", efficient, "tv>timm", "timm>tv"),
        *_each("tf_efficientnet_b0", tf_efficient, "hf>timm", "timm>hf"),
        *_each("mobilenet_v2", mobile2, "tv>timm", "timm>tv", "hf>timm", "tv>hf"),
        *_each("mobilenet_v3_large", mobile3, "tv>timm", "timm>tv"),
        *_each("mobilenet_v3_small", mobile3s, "tv>timm"),
        *_each("regnet_y_400mf", regnet, "tv>timm", "timm>tv", "hf>timm", "tv>hf"),
        *_each("mnasnet1_0", mnas, "tv>timm", "timm>tv"),
        *_each("vgg11_bn", vgg, "tv>timm", "timm>tv", inputs=picture(224)),
        *_each("dinov2", dinov2, "hf>timm", "timm>hf", inputs=picture(56)),
        *_each("convnextv2", convnext2, "hf>timm", "timm>hf"),
        Pair("densenet121 old->tv", tv("densenet121"), tv("densenet121"), ("torchvision",), rename_keys=_OLD_DENSENET),
        Pair("bert hf->torch", _BERT, Bert, ("transformers",), ids),
        Pair("bert torch->hf", Bert, _BERT, ("transformers",), ids),
        Pair("gpt2 hf->nanogpt", _GPT2, NanoGPT, ("transformers",), ids, ("transpose",)),
        Pair("gpt2 nanogpt->hf", NanoGPT, _GPT2, ("transformers",), ids, ("transpose",)),
        Pair("llama meta->hf", MetaLlama, _LLAMA, ("transformers",), ids, ("rope",)),
    ]


def renamed(state: Mapping[str, Tensor], rules: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same tensors under the names that the rules give."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, replacement in rules.items():
            key = re.sub(pattern, replacement, key)
        found[key] = value
    return found
