"""Kernels of other libraries, by stand-ins of their names and signatures: they cost what torch's own ops cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import fxprof
from fxprof import TensorSpec
from fxprof.report import Shape
from fxprof.rules import RULES
from tests.rules.strategies import sizes
from tests.tracing.made import module

FLASH = "flash_attn.flash_attn_interface"
SDPA = RULES["scaled_dot_product_attention"]


def function(name: str, signature: str) -> Any:
    """An autograd Function of that qualified name whose forward needs a GPU."""
    where, _, called = name.rpartition(".")
    space: dict[str, Any] = {"torch": torch}
    head = f"class {called}(torch.autograd.Function):"
    code = f"{head}\n    @staticmethod\n    def forward({signature}):\n        raise OSError"
    exec(code, space)
    made = space[called]
    made.__module__ = where
    return made


FlashAttnFunc = function(
    f"{FLASH}.FlashAttnFunc",
    "ctx, q, k, v, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, "
    "return_softmax, is_grad_enabled",
)
FlashAttnVarlenFunc = function(
    f"{FLASH}.FlashAttnVarlenFunc",
    "ctx, q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale, causal, "
    "window_size, softcap, alibi_slopes, deterministic, return_softmax, block_table, is_grad_enabled",
)
FlashAttnQKVPackedFunc = function(
    f"{FLASH}.FlashAttnQKVPackedFunc",
    "ctx, qkv, dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic, return_softmax, "
    "is_grad_enabled",
)
SelectiveScanFn = function(
    "mamba_ssm.ops.selective_scan_interface.SelectiveScanFn",
    "ctx, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False",
)
MambaChunkScanCombinedFn = function(
    "mamba_ssm.ops.triton.ssd_combined.MambaChunkScanCombinedFn",
    "ctx, x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None, seq_idx=None, "
    "cu_seqlens=None, dt_softplus=False, dt_limit=(0.0, float('inf')), return_final_states=False, "
    "return_varlen_states=False",
)
CausalConv1dFn = function(
    "causal_conv1d.causal_conv1d_interface.CausalConv1dFn",
    "ctx, x, weight, bias=None, seq_idx=None, initial_states=None, return_final_states=False, "
    "final_states_out=None, activation=None",
)

_flash = torch.library.Library("flash_attn", "FRAGMENT")
_flash.define(
    "_flash_attn_forward(Tensor q, Tensor k, Tensor v, float dropout_p, float softmax_scale, bool causal, "
    "int window_size_left, int window_size_right, float softcap, Tensor? alibi_slopes, bool return_softmax) "
    "-> (Tensor, Tensor, Tensor, Tensor)"
)
_flash.impl(
    "_flash_attn_forward",
    lambda q, k, v, *_: (
        torch.empty_like(q), q.new_empty((q.shape[0], q.shape[2], q.shape[1])), q.new_empty(0), q.new_empty(2),
    ),
    "Meta",
)  # fmt: skip
_xformers = torch.library.Library("xformers_flash", "FRAGMENT")
_xformers.define("flash_fwd(Tensor query, Tensor key, Tensor value) -> (Tensor, Tensor)")
_xformers.impl("flash_fwd", lambda q, k, v: (torch.empty_like(q), q.new_empty(q.shape[:3])), "Meta")


def analyzed(call: Callable[..., Any], *shapes: Any) -> fxprof.Report:
    """A module whose forward is the call."""
    report = fxprof.analyze(module(lambda self, *tensors: call(*tensors)), *shapes)
    assert report.exact
    return report


def heads_first(q: Shape, k: Shape, v: Shape) -> Any:
    """What torch's own attention costs, which has the heads before the sequence."""
    q, k, v = ((*s[:-3], s[-2], s[-3], s[-1]) for s in (q, k, v))
    return SDPA(q, k, v, out=(*q[:-1], v[-1]))


Q, K = (2, 10, 6, 8), (2, 14, 3, 8)
REST = (0.0, None, True, (-1, -1), 0.0, None, False)
CALLS: dict[str, tuple[Callable[..., Any], tuple[Shape, ...]]] = {
    "flash_attn_func": (lambda q, k, v: FlashAttnFunc.apply(q, k, v, *REST, False, True), (Q, K, K)),
    "its scores too": (lambda q, k, v: FlashAttnFunc.apply(q, k, v, *REST, True, True)[0], (Q, K, K)),
    "flash op": (
        lambda q, k, v: torch.ops.flash_attn._flash_attn_forward(q, k, v, 0.0, 1.0, True, -1, -1, 0.0, None, False)[0],
        (Q, K, K),
    ),
    "xformers": (lambda q, k, v: torch.ops.xformers_flash.flash_fwd(q, k, v)[0], (Q, K, K)),
}


@pytest.mark.parametrize("name", CALLS)
def test_attention_is_attention_whoever_computes_it(name: str) -> None:
    """With grouped heads, and without a discount for the causal mask."""
    call, shapes = CALLS[name]

    report = analyzed(call, *shapes)

    assert report.cost == heads_first(*shapes)
    assert report.ops[-1].outputs[0] == TensorSpec(Q, "float32") if len(report.ops) == 1 else True


def test_packed_queries_keys_and_values() -> None:
    """One tensor holds all three."""
    report = analyzed(lambda qkv: FlashAttnQKVPackedFunc.apply(qkv, *REST, False, True), (2, 10, 3, 6, 8))

    assert report.cost == heads_first(Q, Q, Q)
    assert report.ops[0].output == TensorSpec(Q, "float32")


def test_sequences_of_one_length_cost_what_a_batch_costs() -> None:
    """Packed one after the other, with their ends as integers."""
    ends = torch.tensor([0, 10, 20], dtype=torch.int32)

    report = analyzed(
        lambda q, k, v, e: FlashAttnVarlenFunc.apply(q, k, v, e, e, 10, 10, *REST, False, None, True),
        (20, 6, 8), (20, 6, 8), (20, 6, 8), ends,
    )  # fmt: skip

    assert report.cost == heads_first(Q, Q, Q)


@given(sizes, sizes, sizes, sizes)
def test_a_scan_is_its_steps_one_by_one(b: int, d: int, length: int, n: int) -> None:
    """Counted in four loops, with the product with C as a dot product over the states."""
    macs = others = 0
    for _ in range(b * d * length):
        for _ in range(n):
            others += 2  # delta * A, exp
            others += 2  # delta * B * u
            others += 2  # decay * state + input
            macs += 1  # times C, summed
        others += 2 + 2 + 1 + 1  # skip, gate, bias, softplus
    cost = RULES["mamba_ssm.ops.selective_scan_interface.SelectiveScanFn"](
        (b, d, length), (b, d, length), (d, n), (b, n, length), (b, n, length), (d,), (b, d, length), (d,), True,
        out=(b, d, length),
    )  # fmt: skip
    assert (cost.macs, cost.flops) == (macs, 2 * macs + others)


def test_a_scan_as_mamba_calls_it() -> None:
    """By position, with its last state."""
    u, a, b = (2, 16, 10), (16, 4), (2, 4, 10)
    report = analyzed(lambda u, a, b: SelectiveScanFn.apply(u, u, a, b, b, None, u, None, True, True)[0], u, a, b)

    assert report.macs == 2 * 16 * 10 * 4
    assert report.ops[0].outputs == (TensorSpec(u, "float32"), TensorSpec((2, 16, 4), "float32"))


def chunked(x: Tensor, b: Tensor, c: Tensor, size: int) -> Tensor:
    """The products of a chunked scan in torch: scores, their product with x, states, and what they give."""
    parts = [t.unflatten(1, (-1, size)) for t in (x, b, c)]
    x, b, c = parts
    heads = x.shape[3] // b.shape[3]
    scores = torch.einsum("bzlgn,bzsgn->bzgls", c, b).repeat_interleave(heads, 2)
    inside = torch.einsum("bzhls,bzshp->bzlhp", scores, x)
    wide_b, wide_c = (t.repeat_interleave(heads, 3) for t in (b, c))
    states = torch.einsum("bzlhn,bzlhp->bzhpn", wide_b, x)
    return inside + torch.einsum("bzlhn,bzhpn->bzlhp", wide_c, states)


def test_a_chunked_scan_costs_the_products_of_its_chunks() -> None:
    """The same products as einsums; the last chunk is padded."""
    x, b = (2, 32, 6, 5), (2, 32, 3, 4)
    written = fxprof.analyze(module(lambda self, x, b: chunked(x, b, b, 8)), x, b)
    scan = lambda size: lambda x, dt, a, b: MambaChunkScanCombinedFn.apply(x, dt, a, b, b, size)  # noqa: E731

    assert analyzed(scan(8), x, (2, 32, 6), (6,), b).macs == written.macs
    assert analyzed(scan(8), (2, 29, 6, 5), (2, 29, 6), (6,), (2, 29, 3, 4)).macs == written.macs


def test_a_causal_convolution_is_a_depthwise_one() -> None:
    """But for the padding, which gives nothing here: as many outputs as inputs."""
    depthwise = nn.Conv1d(6, 6, 4, groups=6, padding=3)
    written = fxprof.analyze(module(lambda self, x: self.conv(x)[..., :10], conv=depthwise), (2, 6, 10))
    report = analyzed(
        lambda x, w, b: CausalConv1dFn.apply(x, w, b, None, None, False, None, "silu"), (2, 6, 10), (6, 4), (6,)
    )

    assert report.macs * 13 == written.macs * 10
    assert report.flops == 2 * report.macs + 2 * (2 * 6 * 10)  # bias and silu


@pytest.fixture
def trainable() -> Iterator[Callable[..., nn.Module]]:
    """Makes modules whose parameters are what the call takes."""

    def make(call: Callable[..., Any], *shapes: Shape) -> nn.Module:
        parts = nn.ParameterList(nn.Parameter(torch.empty(shape, device="meta")) for shape in shapes)
        return module(lambda self: call(*self.parts), parts=parts)

    yield make


@pytest.mark.parametrize("name", ["flash_attn_func", "xformers"])
def test_backward_of_attention_is_two_products_for_each(name: str, trainable: Callable[..., nn.Module]) -> None:
    """Twice the forward's MACs, as of torch's own attention."""
    call, shapes = CALLS[name]
    model = trainable(call, *shapes)

    forward, both = (fxprof.analyze(model, training=training).macs for training in (False, True))

    assert both == 3 * forward


def test_backward_of_a_convolution_needs_two_products(trainable: Callable[..., nn.Module]) -> None:
    """One for the input, one for the weight."""
    model = trainable(lambda x, w: CausalConv1dFn.apply(x, w), (2, 6, 10), (6, 4))

    assert fxprof.analyze(model, training=True).macs == 3 * fxprof.analyze(model).macs


def test_none_of_the_libraries_is_imported() -> None:
    """The names alone are known."""
    assert not {"flash_attn", "mamba_ssm", "causal_conv1d", "xformers"} & {
        name for name, made in sys.modules.items() if isinstance(made, ModuleType)
    }


@pytest.mark.skipif(torch.__version__ < "2.6", reason="this torch compiles every call of flex_attention")
@given(st.booleans())
def test_flex_attention_is_attention(masked: bool) -> None:
    """With a score function and a block mask too, which are not discounted."""
    flex = pytest.importorskip("torch.nn.attention.flex_attention")

    def forward(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = flex.create_block_mask(lambda b, h, i, j: i >= j, None, None, 128, 128, device=q.device)
        options = {"score_mod": lambda score, b, h, i, j: score * 2, "block_mask": mask} if masked else {}
        return flex.flex_attention(q, k, v, **options)

    shapes = ((1, 4, 128, 16),) * 3
    report = fxprof.analyze(module(forward), *shapes)

    assert report.by_op()["flex_attention"] == SDPA(*shapes, out=shapes[0])
    assert not report.uncounted
    plain = module(lambda self, q, k, v: F.scaled_dot_product_attention(self.a(q), k, v), a=nn.Linear(16, 16))
    trained = module(lambda self, q, k, v: forward(self, self.a(q), k, v), a=nn.Linear(16, 16))
    assert fxprof.analyze(trained, *shapes, training=True).macs == fxprof.analyze(plain, *shapes, training=True).macs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pages", [False, True])
def test_torchs_packed_sequences_are_counted(pages: bool, training: bool) -> None:
    """Rows of two sequences meet at most 5 keys each, of 2 heads; keys may come in pages of 2 rows."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    op = torch.ops.torch_attn._varlen_attn
    if pages and "block_table" not in str(op.default._schema):
        pytest.skip("this torch has no pages")
    starts = torch.tensor([0, 3, 8], dtype=torch.int32)
    table = {"block_table": torch.zeros(2, 3, dtype=torch.int32), "seqused_k": starts[1:]} if pages else {}

    def forward(self: Any, q: Tensor, k: Tensor) -> Any:
        if pages:
            return op(q, k, k, starts, None, 5, 5, **table)[0]
        return varlen.varlen_attn(q, k, k, starts, starts, 5, 5)

    keys = (6, 2, 2, 4) if pages else (8, 2, 4)
    report = fxprof.analyze(module(forward), (8, 2, 4), keys, training=training)

    assert (report.macs, report.uncounted) == (8 * 2 * 5 * (4 + 4), ())
