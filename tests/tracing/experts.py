"""Mixtures of experts as people write them: 5 experts of which a token takes 2, of 8 x 16 x 8 each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HIDDEN, EXPERTS, CHOSEN = 8, 16, 5, 2
EXPERT = 2 * WIDTH * HIDDEN  # weights of one expert, and its MACs per token
ROUTER = WIDTH * EXPERTS


def expert() -> nn.Module:
    """Two layers without biases."""
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN, bias=False), nn.ReLU(), nn.Linear(HIDDEN, WIDTH, bias=False))


class Router(nn.Module):
    """Which experts a token takes."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, EXPERTS, bias=False)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and experts of each token."""
        scores, chosen = torch.topk(self.gate(x), CHOSEN)
        return scores.softmax(-1), chosen


class Experts(Router):
    """A router and its experts, one module each."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(expert() for _ in range(EXPERTS))


class Stacked(Router):
    """A router, and the weights of all experts in two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN))
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH))


class Where(Experts):
    """A loop over the experts that finds each one's tokens."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        out = torch.zeros_like(x)
        for index, each in enumerate(self.experts):
            token, rank = torch.where(chosen == index)
            out[token] += weights[token, rank, None] * each(x[token])
        return out


class AnyMask(Experts):
    """A mask per expert over the tokens, sparse scores, and a look whether there is anything to do."""

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        top, chosen = logits.topk(CHOSEN, dim=-1)
        gates = F.softmax(torch.full_like(logits, float("-inf")).scatter(-1, chosen, top), dim=-1)
        flat, flat_gates = x.view(-1, WIDTH), gates.view(-1, EXPERTS)
        out = torch.zeros_like(flat)
        for index, each in enumerate(self.experts):
            mask = (chosen == index).any(dim=-1).view(-1)
            if mask.any():
                out[mask] += each(flat[mask]) * flat_gates[mask, index].unsqueeze(1)
        return out.view_as(x)


class SkipsEmpty(Experts):
    """One-hot masks, and experts without tokens passed over by their count."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        masks = F.one_hot(chosen, EXPERTS).permute(2, 1, 0)
        out = torch.zeros_like(x)
        for index in range(EXPERTS):
            if masks[index].sum() == 0:
                continue
            rank, token = torch.where(masks[index])
            out.index_add_(0, token, self.experts[index](x[token]) * weights[token, rank, None])
        return out


class SparseDispatcher(Experts):
    """Non-zero gates say which expert gets which rows, in parts of the sizes that they add up to."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        gates = torch.zeros(x.shape[0], EXPERTS, dtype=x.dtype, device=x.device).scatter(1, chosen, weights)
        by_expert, order = torch.nonzero(gates).sort(0)
        rows = torch.nonzero(gates)[order[:, 1], 0]
        sizes = (gates > 0).sum(0).tolist()
        gate = torch.gather(gates[rows], 1, by_expert[:, 1:])
        parts = torch.split(x[rows], sizes, dim=0)
        stitched = torch.cat([each(part) for each, part in zip(self.experts, parts)], 0) * gate
        return torch.zeros_like(x).index_add(0, rows, stitched)


class SortedSlices(Experts):
    """Tokens in order of their experts, each expert's slice cut out by the counts as NumPy numbers."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        counts = chosen.new_zeros((chosen.shape[0], EXPERTS))
        counts.scatter_(1, chosen, 1)
        per_expert = counts.sum(dim=0).cpu().numpy()
        order = chosen.view(-1).argsort()
        ordered = x[order // chosen.shape[1]]
        outputs, start = [], 0
        for index, number in enumerate(per_expert):
            end = start + number
            if number == 0:
                continue
            outputs.append(self.experts[index](ordered[start:end]))
            start = end
        out = torch.cat(outputs, dim=0)
        restored = torch.empty_like(out)
        restored[order] = out
        return (restored.view(*chosen.shape, -1) * weights.unsqueeze(-1)).sum(dim=1)


class Bincount(Stacked):
    """Sorted tokens split by bincount, each part with its slice of the stacked weights."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        order = torch.argsort(chosen.flatten(), stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=EXPERTS).tolist()
        parts = x.repeat_interleave(CHOSEN, dim=0)[order].split(counts)
        outs = torch.cat([F.relu(part @ self.up[i]) @ self.down[i] for i, part in enumerate(parts)])
        inverse = torch.argsort(order)
        return (outs[inverse].view(-1, CHOSEN, WIDTH) * weights[..., None]).sum(1)


class GatheredWeights(Stacked):
    """Each token's own weights gathered, and batched products."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        up, down = self.up[chosen.reshape(-1)], self.down.index_select(0, chosen.reshape(-1))
        rows = x.repeat_interleave(CHOSEN, dim=0).unsqueeze(1)
        out = torch.bmm(torch.bmm(rows, up).relu(), down).squeeze(1)
        return (out.view(-1, CHOSEN, WIDTH) * weights.unsqueeze(-1)).sum(1)


class Grouped(Stacked):
    """torch's grouped product over tokens in order of their experts."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        ids, order = torch.sort(chosen.reshape(-1))
        ends = torch.cumsum(torch.histc(ids.float(), bins=EXPERTS, min=0, max=EXPERTS - 1), 0, dtype=torch.int32)
        out = torch._grouped_mm(torch._grouped_mm(x[order // CHOSEN], self.up, offs=ends).relu(), self.down, offs=ends)
        out = out * weights.reshape(-1)[order].unsqueeze(-1)
        return torch.zeros_like(x).index_add_(0, order // CHOSEN, out)


class Capacity(Stacked):
    """Dispatch and combine tensors with as many slots per expert as its even part of the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(x).softmax(-1)
        capacity = x.shape[0] * CHOSEN // EXPERTS
        combine = torch.zeros(x.shape[0], EXPERTS, capacity, dtype=x.dtype, device=x.device)
        left, used = gates, torch.zeros(1, EXPERTS, dtype=torch.int64, device=x.device)
        for _ in range(CHOSEN):
            mask = F.one_hot(left.argmax(-1), EXPERTS)
            slot = (mask.cumsum(0) - 1 + used) * mask
            kept = mask * (slot < capacity)
            used = used + mask.sum(0, keepdim=True)
            where = F.one_hot((slot * kept).sum(-1).clamp(max=capacity - 1), capacity).to(x.dtype)
            combine = combine + torch.einsum("te,tc->tec", gates * kept, where)
            left = left.masked_fill(mask.bool(), float("-inf"))
        rows = torch.einsum("tec,td->ecd", combine.bool().to(x.dtype), x)
        out = torch.einsum("ech,ehd->ecd", torch.einsum("ecd,edh->ech", rows, self.up).relu(), self.down)
        return torch.einsum("tec,ecd->td", combine, out)


class ExpertChoice(Stacked):
    """Each expert takes its tokens instead."""

    def forward(self, x: Tensor) -> Tensor:
        capacity = x.shape[0] * CHOSEN // EXPERTS
        scores, tokens = torch.topk(self.gate(x).softmax(-1).t(), capacity)
        out = torch.bmm(torch.bmm(x[tokens], self.up).relu(), self.down) * scores.unsqueeze(-1)
        return torch.zeros_like(x).index_add(0, tokens.flatten(), out.flatten(0, 1))


class Dense(Experts):
    """Every expert sees every token, and weights of zero leave most of it out."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        gates = torch.zeros(x.shape[0], EXPERTS, dtype=x.dtype).scatter(1, chosen, weights)
        return torch.stack([each(x) * gates[:, i : i + 1] for i, each in enumerate(self.experts)]).sum(0)


class SparseColumns(Experts):
    """A column of the gates says which tokens an expert gets."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        gates = torch.zeros(x.shape[0], EXPERTS, dtype=x.dtype, device=x.device).scatter_(-1, chosen, weights)
        out = torch.zeros_like(x)
        for index, each in enumerate(self.experts):
            token = gates[:, index].nonzero().squeeze(-1)
            out.index_add_(0, token, each(x[token]) * gates[token, index, None])
        return out


class MaskedScatter(Experts):
    """Elements selected by an expanded mask, and scattered back."""

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.choose(x)
        out = torch.zeros_like(x)
        for rank in range(CHOSEN):
            for index, each in enumerate(self.experts):
                mask = (chosen[:, rank : rank + 1] == index).expand_as(x)
                rows = each(x.masked_select(mask).view(-1, WIDTH))
                out = out + torch.zeros_like(x).masked_scatter(mask, rows) * weights[:, rank : rank + 1]
        return out


class InParts(Experts):
    """One half of the tokens after the other, as sequences of a batch are."""

    def forward(self, x: Tensor) -> Tensor:
        outs = []
        for part in x.view(2, -1, WIDTH):
            weights, chosen = self.choose(part)
            out = torch.zeros_like(part)
            for index, each in enumerate(self.experts):
                token, rank = torch.where(chosen == index)
                out.index_put_((token,), each(part[token]) * weights[token, rank, None], accumulate=True)
            outs.append(out)
        return torch.cat(outs)


# Exact in total whatever the data, one expert for each choice.
EXACT: dict[str, type[Any]] = {
    made.__name__: made
    for made in (
        Where, AnyMask, SkipsEmpty, SparseDispatcher, SortedSlices, Bincount, GatheredWeights, ExpertChoice,
        SparseColumns, MaskedScatter, InParts,
        *((Grouped,) if hasattr(torch, "_grouped_mm") else ()),  # from torch 2.7 on
    )
}  # fmt: skip
