"""What the browser opens: reports of real models, one of many nodes, one with hostile names."""

from __future__ import annotations

import json

import torch
import torchvision
from torch import nn

import fxprof
from fxprof.report import Cost, InputProfile, ModuleInfo, OpProfile, Report, StateProfile, TensorSpec

HOSTILE = "</script><img src=x onerror=alert(1)>"


class Block(nn.Module):
    """A decoder layer: attention and a gated feed-forward, each behind a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (batch, tokens, width) -> the same."""
        split = (*x.shape[:2], self.heads, -1)
        q, k, v = (part.view(split).transpose(1, 2) for part in self.qkv(self.attention_norm(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        y = self.mlp_norm(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class LanguageModel(nn.Module):
    """Eighty decoder layers between an embedding and a head."""

    def __init__(self, layers: int = 80, width: int = 8192, words: int = 128_000) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.layers = nn.ModuleList(Block(width, width // 128) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, words, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids (batch, tokens) -> logits (batch, tokens, words)."""
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def counted(name: str) -> Report:
    """The report of one of the models, after a trip through JSON."""
    with torch.device("meta"):
        model = LanguageModel() if name == "llm" else torchvision.models.get_model(name)
    inputs = TensorSpec((1, 2048), "int64") if name == "llm" else (1, 3, 224, 224)
    report = fxprof.analyze(model.eval(), inputs, name=name)
    return Report.from_dict(json.loads(report.to_json()))


def many(blocks: int) -> Report:
    """Five modules and ten ops per block, no two blocks alike, so that nothing can be drawn or sent once."""
    modules, ops = [ModuleInfo("", "Net", 1), ModuleInfo("blocks", "ModuleList")], []
    for i in range(blocks):
        out = TensorSpec((1, 64 + i % 7, 512 + i), "bfloat16")
        modules.append(ModuleInfo(f"blocks.{i}", "DecoderBlock", 1, outputs=(out,)))
        for j in range(4):
            path = f"blocks.{i}.projection_{j}"
            weight = StateProfile(f"{path}.weight", TensorSpec((512 + i, 512 + j), "bfloat16"), "parameter", True, True)
            modules.append(ModuleInfo(path, "Linear", 1, (weight,), (out,)))
        for j in range(10):
            path = f"blocks.{i}.projection_{j}" if j < 4 else f"blocks.{i}"
            cost = Cost(macs=out.numel * (512 + j) * (j < 4), flops=out.numel * (1024 + j))
            name, kind, args = f"op_{i}_{j}", "linear" if j < 4 else "add", (f"blocks.{i}.projection_{j}.weight",)
            source = f"a/package/modeling_net.py:{100 + j}"
            ops.append(OpProfile(name, kind, path, (out,), (out,), cost, args, (name,), 2 * out.nbytes, source))
    return Report("many", (InputProfile("x", TensorSpec((1, 64, 512))),), tuple(ops), tuple(modules))


def hostile() -> Report:
    """A report in which every name that a model may choose is markup."""
    out = TensorSpec((2, 4))
    state = (StateProfile(f"{HOSTILE}.weight", out, "parameter", True, True),)
    ops = (
        OpProfile(HOSTILE, HOSTILE, HOSTILE, (out,), (out,), Cost(macs=8, flops=16), ("x",), (HOSTILE,), 64, HOSTILE),
        OpProfile("gap", HOSTILE + "?", HOSTILE, (out,), (out,), None, ("x",), ("gap",), 64, HOSTILE),
    )
    modules = (ModuleInfo("", HOSTILE, 1), ModuleInfo(HOSTILE, HOSTILE, 1, state, (out,)))
    bound = fxprof.report.Bound(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    return Report(HOSTILE, (InputProfile(HOSTILE, out),), ops, modules, (bound,), versions={HOSTILE: HOSTILE})
