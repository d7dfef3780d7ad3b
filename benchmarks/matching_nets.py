"""Models in plain torch for the matching benchmark: BERT on torch's own layers, and nanoGPT's and Meta's names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
