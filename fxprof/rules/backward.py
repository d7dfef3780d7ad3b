"""What the backward pass of one op adds, from its forward cost and which operands need a gradient.

The law is that of a product: the gradient of each factor of an inner product is an inner product
of the same size. So a contraction costs its own MACs once more per differentiable operand that
needs a gradient, whatever its groups or strides; composite ops (attention, recurrent layers, chains)
apply it to each of their products, whose factors may be inner values: those need a gradient where
anything behind them does. The gradient of a bias is a sum. Any other arithmetic costs its forward
FLOPs again per needing operand, a convention: d(x * y) is two products, d exp(x) is one. Moving
data backward costs nothing. Recomputed activations are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from fxprof.report import Cost, Shape
from fxprof.rules import kernels, recurrent
from fxprof.rules.attention import softmax_flops
from fxprof.rules.contraction import chain_order, chain_sizes
from fxprof.rules.einsum import operands_of, steps
from fxprof.rules.registry import arithmetic, contraction, first, is_shape

Backward = Callable[..., Cost]

# Positions of the two factors and of the bias (None: none) of ops that are one contraction.
FACTORS: dict[str, tuple[int, int, int | None]] = {
    **dict.fromkeys(("linear", "mkldnn_linear", "conv1d", "conv2d", "conv3d", "conv_tbc"), (0, 1, 2)),
    **dict.fromkeys(("convolution", "_convolution"), (0, 1, 2)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "mkldnn_convolution"), (0, 1, 2)),
    **dict.fromkeys(("miopen_convolution", "miopen_depthwise_convolution", "miopen_convolution_transpose"), (0, 1, 2)),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "linalg_vecdot", "tensordot"), (0, 1, None)),
    **dict.fromkeys(("cudnn_convolution", "cudnn_convolution_transpose", "_conv_depthwise2d"), (0, 1, None)),
    **dict.fromkeys(("_scaled_mm", "_grouped_mm", "grouped_mm", "scaled_mm", "scaled_grouped_mm"), (0, 1, None)),
    "transformers::grouped_mm_fallback": (0, 1, None),
    **dict.fromkeys((kernels.CAUSAL_CONV, "DaoAILab::_causal_conv1d_fwd_cpp"), (0, 1, 2)),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm", "_addmm_activation", "_sparse_addmm"), (1, 2, 0)),
}  # fmt: skip


def count(needs: Any) -> int:
    """How many operands, at any depth, need a gradient."""
    return sum(map(count, needs)) if isinstance(needs, (tuple, list)) else int(bool(needs))


def at(items: Sequence[Any], position: int | None) -> Any:
    """The argument at ``position``; None where it was not given."""
    return items[position] if position is not None and position < len(items) else None


def bias_gradient(out: Shape, bias: Any, needed: Any) -> Cost:
    """Every output's gradient is added into the bias that it came from."""
    return arithmetic(prod(out) - prod(bias)) if needed and bias is not None else Cost()


def backward(
    op: str,
    cost: Cost,
    args: Sequence[Any],
    needs: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    out: Any = None,
) -> Cost:
    """The cost that the backward pass of one call adds.

    ``args`` are the arguments in torch's order with shapes for tensors, ``needs`` has the same
    structure and says which of them need a gradient, ``kwargs`` holds what has no position, and
    ``cost`` is the forward's.
    """
    needing = count(needs)
    if not needing or not (cost.macs or cost.flops):
        return Cost()
    if op in FACTORS:
        a, b, bias = FACTORS[op]
        products = contraction(cost.macs * (count(at(needs, a)) + count(at(needs, b))))
        return products + bias_gradient(first(out), at(args, bias), at(needs, bias))
    rule = BACKWARD.get(op)
    return rule(cost, args, needs, kwargs or {}, out) if rule else cost * needing


def attention(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """Scores are products of q and k, outputs of scores and v; scores need a gradient for q, k or the mask."""
    q, k, v = (bool(at(needs, i)) for i in range(3))
    scores = q or k or at(needs, 3) is True
    (*rows, _), keys = first(out), args[1][-2]
    pairs = prod(rows) * keys
    macs = pairs * args[0][-1] * (q + k) + pairs * args[2][-1] * (v + scores)
    return contraction(macs, cost.flops - 2 * cost.macs if scores else 0)


def multi_head_attention(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """Each projection is a product of its input and its weight; the heads are attention over the projections."""
    query, key, value, heads = args[0], args[1], args[2], args[4]
    need = [bool(at(needs, i)) for i in range(23)]
    weights = need[18:21] if at(args, 17) else [need[5]] * 3
    # A projection needs a gradient if its input, its weight or its bias does; so does a row added to it.
    q, k, v = (need[i] or weights[i] or need[6] or added for i, added in enumerate((False, need[7], need[8])))
    e, queries, keys = query[-1], prod(query[:-1]), prod(key[:-1])
    macs = queries * e * e * (need[0] + weights[0])
    macs += keys * e * (key[-1] * (need[1] + weights[1]) + value[-1] * (need[2] + weights[2]))

    static = at(args, 21)
    length = (static[1] if static is not None else key[0]) + (at(args, 7) is not None) + bool(at(args, 9))
    rows = queries * heads
    scores = q or k or need[16] or need[14]
    macs += queries * length * e * (q + k + v + scores)
    width = args[11][0]
    macs += queries * e * width * ((scores or v) + need[11])

    other = (rows * length + softmax_flops(rows, length)) if scores else 0
    masked = at(args, 16) is not None or at(args, 14) is not None
    other += rows * length if scores and masked else 0
    projected = (queries + 2 * keys) * e
    other += max(projected - 3 * e, 0) if need[6] else 0
    other += max(queries * width - width, 0) if need[12] else 0
    return contraction(macs, other)


def gates(
    tokens: int, batch: int, hidden: int, update: int, below: bool, state: bool, params: Any, needs: Any
) -> tuple[Cost, bool]:
    """One layer and direction: the cost, and whether its output needs a gradient.

    ``below`` and ``state`` say whether the input and the initial state need one. The gradient of
    the state goes back through every step, but only through the first for the initial state.
    """
    w_ih, w_hh, *rest = params
    inner = below or state or bool(count(needs))
    macs = tokens * prod(w_ih) * (below + bool(needs[0]))
    macs += prod(w_hh) * (tokens * bool(needs[1]) + (tokens - batch) * inner + batch * state)
    other = tokens * hidden * update * inner
    for param, needed in zip(rest, needs[2:]):
        if len(param) == 2:  # the projection of the output
            macs += tokens * prod(param) * (bool(needed) + inner)
        elif needed:
            other += max(tokens - 1, 0) * prod(param)
    return contraction(macs, other), inner


def layers(update: int) -> Backward:
    """The backward of lstm, gru or rnn, whose gates take ``update`` operations per hidden element."""

    def recurrent_backward(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
        """Every layer and direction is a product of its input and one of its state."""
        state, params = recurrent.packed(args[1], args[2], at(args, 3))
        start = 3 if params is at(args, 3) else 2
        state_needs, param_needs = needs[start - 1], needs[start]
        count_, directions = args[start + 2], 2 if args[start + 5] else 1
        hidden = state if is_shape(state) else state[0]
        width = hidden[-1] if is_shape(state) else state[-1][-1]
        tokens, each = prod(args[0][:-1]), len(params) // (count_ * directions)
        below, total = bool(needs[0]), Cost()
        for layer in range(count_):
            above = False
            for direction in range(directions):
                part = slice((layer * directions + direction) * each, (layer * directions + direction + 1) * each)
                added, inner = gates(
                    tokens, hidden[1], width, update, below, bool(count(state_needs)), params[part], param_needs[part]
                )
                total, above = total + added, above or inner
            below = above
        return total

    return recurrent_backward


def cell(update: int) -> Backward:
    """The backward of one step of a recurrent cell."""

    def cell_backward(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
        """One product of the input and one of the state."""
        batch = prod(args[0][:-1])
        state = args[1] if is_shape(args[1]) else args[1][1]
        given = [i for i in range(2, 6) if is_shape(at(args, i))]
        params, param_needs = [args[i] for i in given], [at(needs, i) for i in given]
        return gates(batch, batch, state[-1], update, bool(needs[0]), bool(count(needs[1])), params, param_needs)[0]

    return cell_backward


def einsum(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """Each pairwise step is a product of two operands or of earlier results."""
    equation, *operands = args
    nested = bool(operands) and not is_shape(operands[0])
    flags = [bool(count(need)) for need in (needs[1] if nested else needs[1:])]
    total = Cost()
    for step in steps(equation, operands_of(operands), kwargs.get("path")):
        sides = flags[step.left] + (flags[step.right] if step.left != step.right else 0)
        total += contraction(step.macs * sides, step.flops * sides)
        flags.append(sides > 0)
    return total


def chain(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """Each product of the cheapest order is a product of two sub-chains."""
    matrices, flags = (args, needs) if is_shape(args[0]) else (args[0], needs[0])
    sizes = chain_sizes(matrices)
    best = chain_order(sizes)

    def product(i: int, j: int) -> int:
        if i == j:
            return 0
        k = best[i, j][1]
        sides = bool(count(flags[i : k + 1])) + bool(count(flags[k + 1 : j + 1]))
        return sizes[i] * sizes[k + 1] * sizes[j + 1] * sides + product(i, k) + product(k + 1, j)

    return contraction(product(0, len(matrices) - 1))


def bilinear(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """x and the weight make j sums per output, which y contracts."""
    x, y, weight = (bool(at(needs, i)) for i in range(3))
    second = prod(out) * args[1][-1]
    macs = second * args[0][-1] * (x + weight) + second * (y + (x or weight))
    return contraction(macs) + bias_gradient(out, at(args, 3), at(needs, 3))


def deform_conv2d(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """The samples are one factor, which x, offset and mask need; sampling costs again for each of them."""
    sampled = sum(bool(at(needs, i)) for i in (0, 2, 3))
    bias = bias_gradient(out, at(args, 4), at(needs, 4))
    sampling = cost.flops - 2 * cost.macs - (prod(out) if at(args, 4) is not None else 0)
    return contraction(cost.macs * (bool(sampled) + bool(at(needs, 1))), sampling * sampled) + bias


def linear_cross_entropy(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """The logits are a product; the loss behind them costs its FLOPs again."""
    return contraction(cost.macs * (bool(at(needs, 0)) + bool(at(needs, 1))), cost.flops - 2 * cost.macs)


def kernel_attention(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """As attention, where the pairs of rows follow from the forward's cost."""
    q, k, v = (bool(at(needs, i)) for i in range(3))
    depth, width = args[0][-1], args[2][-1]
    pairs = cost.macs // (depth + width) if depth + width else 0
    macs = pairs * (depth * (q + k) + width * (v + (q or k)))
    return contraction(macs, cost.flops - 2 * cost.macs if q or k else 0)


def both_factors(cost: Cost, args: Sequence[Any], needs: Sequence[Any], kwargs: Any, out: Any) -> Cost:
    """Both factors of every product inside need a gradient; the rest costs its FLOPs again."""
    return contraction(2 * cost.macs, cost.flops - 2 * cost.macs)


BACKWARD: Mapping[str, Backward] = {
    **dict.fromkeys((*kernels.HEADS_LAST, *kernels.VARLEN), kernel_attention),
    **dict.fromkeys((*kernels.PACKED, *kernels.SCANS), both_factors),
    **dict.fromkeys(("matrix_power", "cov", "corrcoef"), both_factors),  # products of one matrix with itself
    "scaled_dot_product_attention": attention,
    "_scaled_dot_product_attention_math": attention,
    "_scaled_dot_product_attention_math_for_mps": attention,
    "flex_attention": attention,
    "_scaled_dot_product_flash_attention": attention,
    "_scaled_dot_product_efficient_attention": attention,
    "_scaled_dot_product_cudnn_attention": attention,
    "_scaled_dot_product_flash_attention_for_cpu": attention,
    "_scaled_dot_product_fused_attention_overrideable": attention,
    "multi_head_attention_forward": multi_head_attention,
    "lstm": layers(recurrent.LSTM),
    "gru": layers(recurrent.GRU),
    "rnn_tanh": layers(recurrent.RNN),
    "rnn_relu": layers(recurrent.RNN),
    "lstm_cell": cell(recurrent.LSTM),
    "gru_cell": cell(recurrent.GRU),
    "rnn_tanh_cell": cell(recurrent.RNN),
    "rnn_relu_cell": cell(recurrent.RNN),
    "einsum": einsum,
    "chain_matmul": chain,
    "linalg_multi_dot": chain,
    "bilinear": bilinear,
    "deform_conv2d": deform_conv2d,
    "linear_cross_entropy": linear_cross_entropy,
}
