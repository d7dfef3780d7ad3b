"""Laws of the backward pass, and torch's own counts of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import fxprof
from fxprof import binding, ops
from fxprof.report import Cost, Shape
from fxprof.rules import RULES
from fxprof.rules.backward import BACKWARD, FACTORS, backward
from fxprof.rules.unruled import DECOMPOSED
from tests.rules.oracle import left_to_right, meta, outputs, run, shapes, torch_macs
from tests.rules.strategies import convolutions, costs, sizes, with_torch
from tests.rules.test_attention import forward_args
from tests.rules.test_recurrent import CELLS, KINDS, call
from tests.tracing.made import module


def needs_of(value: Any) -> Any:
    """Which of the arguments need a gradient, in their structure."""
    if isinstance(value, (tuple, list)):
        return tuple(map(needs_of, value))
    if isinstance(value, dict):
        return {key: needs_of(entry) for key, entry in value.items()}
    return isinstance(value, torch.Tensor) and value.requires_grad


def backward_cost(target: Any, *args: Any, **kwargs: Any) -> Cost:
    """What the rules say the backward of a call adds."""
    out = outputs(run(target, *args, **kwargs))
    cost = binding.apply(RULES[ops.op_of(target)], target, shapes(args), shapes(kwargs), out)
    needs = needs_of(args), needs_of(kwargs)
    return binding.apply_backward(target, cost, shapes(args), shapes(kwargs), *needs, out)


def torch_backward_macs(target: Any, *args: Any, **kwargs: Any) -> int:
    """What torch's counter says the backward of a call adds, in MACs."""
    forward = torch_macs(target, *args, **kwargs)
    with FlopCounterMode(display=False) as counter:
        out = run(target, *args, **kwargs)
        torch.stack([leaf.sum() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]).sum().backward()
    return counter.get_total_flops() // 2 - forward


@given(costs)
def test_nothing_needed_costs_nothing(cost: Cost) -> None:
    """A frozen op has no backward, whatever it is."""
    for op in ("linear", "conv2d", "relu", "lstm", "my::op"):
        assert backward(op, cost, ((2, 3), (4, 3), None), (False, False, False), {}, (2, 4)) == Cost()


@given(convolutions(), st.booleans(), st.booleans())
def test_conv_backward_is_one_conv_per_operand(case: Any, x_needs: bool, w_needs: bool) -> None:
    """Each operand of a convolution costs the forward's products once more, grouped or not."""
    x, weight, out, _ = case
    forward = RULES["conv2d"](x, weight, out=out)
    found = backward("conv2d", forward, (x, weight), (x_needs, w_needs), {}, out)
    assert found == forward * (x_needs + w_needs)


def test_depthwise_backward_is_twice_its_forward() -> None:
    """Groups do not multiply the gradient of the weight."""
    x, weight = meta(2, 8, 8, 8, grad=True), meta(8, 1, 3, 3, grad=True)
    # 9_216 for each of the two
    assert backward_cost(F.conv2d, x, weight, padding=1, groups=8).macs == 18_432


@given(sizes, sizes, sizes, st.booleans())
def test_a_bias_gradient_is_a_sum(n: int, i: int, o: int, needed: bool) -> None:
    """The gradient of a bias adds up the gradient of the output."""
    forward = RULES["linear"]((n, i), (o, i), (o,), out=(n, o))
    found = backward("linear", forward, ((n, i), (o, i), (o,)), (False, False, needed), {}, (n, o))
    assert found == (RULES["sum"]((n, o), out=(o,)) if needed else Cost())


@given(costs, st.integers(0, 3))
def test_other_ops_cost_their_forward_per_operand(cost: Cost, operands: int) -> None:
    """Ops without a law of their own cost their forward again for each operand that needs a gradient."""
    needs = (*([True] * operands), False)
    assert backward("my::op", cost, ((2,),) * len(needs), needs, {}, (2,)) == cost * operands
    assert backward("my::op", cost, (((2,),) * len(needs),), (needs,), {}, (2,)) == cost * operands


@given(sizes, sizes, sizes, sizes, *[st.booleans()] * 4)
def test_attention_goes_back_through_its_two_products(
    n: int, s: int, e: int, v: int, q_needs: bool, k_needs: bool, v_needs: bool, m_needs: bool
) -> None:
    """Scores go back to q and k, outputs to the values and, where anything needs them, to the scores."""
    shapes_ = (n, e), (s, e), (s, v), (n, s)
    forward = RULES["scaled_dot_product_attention"](*shapes_[:3], attn_mask=shapes_[3], out=(n, v))
    needs = q_needs, k_needs, v_needs, m_needs
    found = backward("scaled_dot_product_attention", forward, shapes_, needs, {}, (n, v))
    scores = RULES["matmul"]((n, e), (e, s), out=(n, s)).macs
    values = RULES["matmul"]((n, s), (s, v), out=(n, v)).macs
    assert found.macs == scores * (q_needs + k_needs) + values * (v_needs + (q_needs or k_needs or m_needs))


def test_every_law_is_of_an_op_with_a_rule() -> None:
    """Backward laws are listed under names that exist."""
    assert {*FACTORS, *BACKWARD} <= RULES.keys() | DECOMPOSED
    assert not FACTORS.keys() & BACKWARD.keys()


# -- torch's own counts ------------------------------------------------------------------------------

PRODUCTS: list[tuple[Any, tuple[Shape, ...]]] = [
    (F.linear, ((2, 5, 6), (7, 6), (7,))),
    (torch.matmul, ((2, 5, 6), (2, 6, 7))),
    (torch.matmul, ((5, 6), (2, 6, 7))),
    (torch.mm, ((5, 6), (6, 7))),
    (torch.bmm, ((2, 5, 6), (2, 6, 7))),
    (torch.addmm, ((7,), (5, 6), (6, 7))),
    (torch.baddbmm, ((2, 5, 7), (2, 5, 6), (2, 6, 7))),
    (torch.tensordot, ((3, 4, 5), (4, 5, 7))),
    (F.conv1d, ((2, 3, 9), (4, 3, 2))),
    (F.conv2d, ((2, 3, 9, 8), (4, 3, 2, 3), (4,))),
    (F.conv3d, ((2, 3, 9, 8, 7), (4, 3, 2, 3, 1))),
    (F.conv_transpose2d, ((2, 3, 9, 8), (3, 4, 2, 3), (4,))),
    (F.scaled_dot_product_attention, ((2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 11, 13))),
]


@pytest.mark.parametrize(("target", "args"), PRODUCTS)
@pytest.mark.parametrize("needs", ["all", "first", "second"])
def test_products_agree_with_torch(target: Any, args: tuple[Shape, ...], needs: str) -> None:
    """Backward of products has the MACs that torch counts, whichever operands need a gradient."""
    chosen = {"all": range(9), "first": [0], "second": [1]}[needs]
    if needs == "first" and target in (torch.addmm, torch.baddbmm):
        chosen = [1]
    tensors = [meta(*shape, grad=i in chosen) for i, shape in enumerate(args)]
    assert backward_cost(target, *tensors).macs == torch_backward_macs(target, *tensors)


@pytest.mark.parametrize("equation", ["ab,bc->ac", "nab,nbc->nac", "ab,bc,cd->ad", "abc,cd,de->abe", "ab,cb->a"])
@pytest.mark.parametrize("frozen", [None, 0, 1])
def test_einsum_agrees_with_torch(equation: str, frozen: int | None) -> None:
    """Backward of an einsum goes back through its steps, and stops where nothing is needed."""
    size = dict(zip("abcden", (2, 3, 5, 7, 11, 4)))
    terms = equation.split("->")[0].split(",")
    operands = [meta(*(size[c] for c in term), grad=i != frozen) for i, term in enumerate(terms)]
    with left_to_right():
        found = backward_cost(torch.einsum, equation, *operands)
        assert found.macs == torch_backward_macs(torch.einsum, equation, *operands)


@pytest.mark.parametrize("frozen", [None, 0, 1, 2, 3])
def test_chains_agree_with_torch(frozen: int | None) -> None:
    """Backward of a chain goes back through its cheapest order."""
    chain = [meta(*shape, grad=i != frozen) for i, shape in enumerate([(2, 9), (9, 3), (3, 8), (8, 5)])]

    def in_order(*m: torch.Tensor) -> torch.Tensor:
        return ((m[0] @ m[1]) @ m[2]) @ m[3]  # 2*9*3 + 2*3*8 + 2*8*5 is the least

    forward = RULES["linalg_multi_dot"](shapes(chain), out=(2, 5))
    found = backward("linalg_multi_dot", forward, (shapes(chain),), (needs_of(chain),), {}, (2, 5))
    assert forward.macs == torch_macs(in_order, *chain)
    assert found.macs == torch_backward_macs(in_order, *chain)


@pytest.mark.filterwarnings("ignore:.*cov:UserWarning")
@pytest.mark.parametrize(
    ("power", "products"),
    [
        (lambda w: torch.linalg.matrix_power(w, 2), 1),
        (lambda w: w.matrix_power(3), 2),
        (lambda w: torch.linalg.matrix_power(w, 7), 4),
        (torch.cov, 1),
        (torch.corrcoef, 1),
    ],
)
def test_a_matrix_times_itself_is_needed_twice(power: Any, products: int) -> None:
    """Its gradient comes from both factors of each product, 8 x 8 x 8 MACs each."""
    report = fxprof.analyze(module(lambda self: power(self.w), w=nn.Parameter(torch.ones(8, 8))), training=True)

    assert (report.macs, report.uncounted) == (3 * products * 8**3, ())


def test_a_sparse_factor_is_a_factor() -> None:
    """A bias is no factor, whatever it is added to."""
    call: Any = ((2, 4), (2, 3), (3, 4)), (True, False, True), {}, (2, 4)
    cost = RULES["addmm"](*call[0], out=(2, 4))

    assert backward("_sparse_addmm", cost, *call) == backward("addmm", cost, *call)


def test_bilinear_is_its_einsum() -> None:
    """Backward of a bilinear layer is that of the einsum that defines it."""
    x, w, y = (4, 3), (7, 3, 5), (4, 5)
    for needs in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        by_einsum = RULES["einsum"]("ni,mij,nj->nm", x, w, y)
        expected = backward("einsum", by_einsum, ("ni,mij,nj->nm", x, w, y), (False, *needs), {}, (4, 7))
        forward = RULES["bilinear"](x, y, w, out=(4, 7))
        found = backward("bilinear", forward, (x, y, w), (needs[0], needs[2], needs[1]), {}, (4, 7))
        assert found.macs == expected.macs


@pytest.mark.parametrize("x_needs", [False, True])
@pytest.mark.parametrize("frozen", [(), ("in_proj_weight", "in_proj_bias"), ("out_proj.weight",)])
@pytest.mark.parametrize("options", [{}, {"kdim": 7, "vdim": 11}])
def test_mha_agrees_with_torch(options: dict[str, Any], frozen: tuple[str, ...], x_needs: bool) -> None:
    """Backward of multi-head attention goes back through its projections and its heads."""
    module = torch.nn.MultiheadAttention(12, 3, device="meta", **options)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    q, k, v = (meta(length, 2, width, grad=x_needs) for length, width in ((5, 12), (9, 7), (9, 11)))
    if not options:
        k, v = meta(9, 2, 12, grad=x_needs), meta(9, 2, 12, grad=x_needs)
    args, kwargs = forward_args(module, q, k, v)
    target = F.multi_head_attention_forward
    found = backward_cost(target, *args, **kwargs, need_weights=False)
    assert found.macs == torch_backward_macs(target, *args, **kwargs, need_weights=False)


def grown(value: Any, grad: bool) -> Any:
    """The same arguments with tensors that need a gradient, or do not."""
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_(grad)
    return type(value)(grown(entry, grad) for entry in value) if isinstance(value, (tuple, list)) else value


@with_torch
@given(st.sampled_from(sorted(KINDS)), st.booleans(), st.integers(1, 2), *[st.booleans()] * 3)
def test_recurrent_layers_agree_with_torch(
    kind: str, bidirectional: bool, layers: int, x_needs: bool, hx_needs: bool, w_needs: bool
) -> None:
    """Backward of recurrent layers goes back through layers and steps, and stops where nothing is needed."""
    target, (x, hx, weights, *rest) = call(kind, bidirectional, layers, True)
    args = grown(x, x_needs), grown(hx, hx_needs), grown(weights, w_needs), *rest
    if x_needs or hx_needs or w_needs:
        assert backward_cost(target, *args).macs == torch_backward_macs(target, *args)
    else:
        assert backward_cost(target, *args) == Cost()


@pytest.mark.parametrize("proj", [2])
def test_projections_agree_with_torch(proj: int) -> None:
    """Backward of an LSTM with projections has the MACs that torch counts."""
    target, (x, hx, weights, *rest) = call("lstm", True, 2, True, proj=proj)
    args = grown(x, True), hx, grown(weights, True), *rest
    assert backward_cost(target, *args).macs == torch_backward_macs(target, *args)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("hx_needs", [False, True])
def test_cells_agree_with_torch(kind: str, hx_needs: bool) -> None:
    """Backward of a cell has the MACs that torch counts."""
    module = CELLS[kind](7, 4, device="meta")
    state = meta(3, 4, grad=hx_needs)
    hx: Any = (state, meta(3, 4, grad=hx_needs)) if kind == "lstm" else state
    weights = [module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh]
    target = getattr(torch._VF, KINDS[kind][1])
    assert backward_cost(target, meta(3, 7), hx, *weights).macs == torch_backward_macs(target, meta(3, 7), hx, *weights)


def test_keywords_and_positions_are_one() -> None:
    """A call by keyword goes back as the same call by position."""
    q, k, v = (meta(2, 3, n, 6, grad=True) for n in (5, 7, 7))
    target = F.scaled_dot_product_attention
    assert backward_cost(target, value=v, key=k, query=q) == backward_cost(target, q, k, v)


def test_deformable_samples_are_a_factor() -> None:
    """The samples need a gradient for the image, the offsets or the mask; the weight for itself."""
    x, weight, offset, out = (2, 6, 8, 9), (10, 3, 3, 2), (2, 12, 6, 8), (2, 10, 6, 8)
    forward = RULES["deform_conv2d"](x, weight=weight, offset=offset, out=out)

    def macs(*needs: bool) -> int:
        return backward("deform_conv2d", forward, (x, weight, offset), needs, {}, out).macs

    assert macs(True, True, True) == 2 * forward.macs
    assert macs(True, False, True) == macs(False, True, False) == forward.macs


@dataclass
class Answer:
    """What some models put their results into."""

    first: torch.Tensor
    rest: tuple[torch.Tensor, ...]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: {"x": x}, lambda x: Answer(x, (x * 2,))])
def test_results_in_any_object_are_what_is_trained(wrap: Any) -> None:
    """The loss is taken over every tensor that comes back, in tuples, dicts and dataclasses."""
    model = module(lambda self, x: wrap(self.fc(self.stem(x))), stem=nn.Linear(4, 8), fc=nn.Linear(8, 8))

    report = fxprof.analyze(model, (3, 4), training=True)

    # forward, the gradients of both weights, and that of what the second layer reads
    assert report.macs == 2 * (3 * 4 * 8) + 3 * (3 * 8 * 8)
    assert report.outputs[0].startswith("linear")


class Doubled(torch.autograd.Function):
    """Written by hand, as memory-efficient activations are."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Torch runs this without gradients."""
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """And this with the gradient of the result."""
        return grad * 2


def checkpointed(self: Any, x: torch.Tensor) -> torch.Tensor:
    """A layer that torch runs again in the backward pass, in the older of its two ways."""
    return torch.utils.checkpoint.checkpoint(self.stem, x, use_reentrant=True)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("stem", [lambda self, x: Doubled.apply(self.stem(x)), checkpointed])
def test_gradients_flow_through_autograd_functions(stem: Any) -> None:
    """Their forward runs without gradients, but what comes before them is trained all the same."""
    layers = {name: nn.Linear(4, 4, bias=False) for name in ("first", "stem", "last")}
    model = module(lambda self, x: self.last(stem(self, self.first(x))), **layers)

    # three products forward, three for the weights, and two for what the later layers read
    assert fxprof.analyze(model, (1, 4), training=True).macs == 8 * 16


class Sign(torch.autograd.Function):
    """Has no gradient, and is given that of the identity, as binary networks are trained."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """One or zero."""
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Straight through."""
        return grad


class Written(torch.autograd.Function):
    """Fills a new tensor through its data, and tells its backward in the newer way."""

    @staticmethod
    def forward(x: torch.Tensor, times: int = 2) -> torch.Tensor:
        """The same numbers."""
        out = torch.empty(x.shape)
        out.data[:] = x.detach()
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps nothing."""

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Straight through."""
        return grad, None


sign = Sign.apply


@pytest.mark.parametrize("call", [Sign.apply, lambda x: sign(x), Written.apply])
def test_a_function_passes_the_gradient_of_what_it_returns_to_what_it_was_given(call: Any) -> None:
    """Whatever its forward does in between; torch counts the same, with real tensors."""
    layers = {name: nn.Linear(4, 4, bias=False) for name in ("first", "last")}
    model = module(lambda self, x: self.last(call(self.first(x))), **layers)

    assert fxprof.analyze(model, (1, 4), training=True).macs == 5 * 16
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(1, 4)).sum().backward()
    assert counter.get_total_flops() == 2 * 5 * 16


def test_gradients_that_are_off_stay_off_in_autograd_functions() -> None:
    """A function called under no_grad is not trained through."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x = Doubled.apply(self.stem(x))
        return self.fc(x)

    model = module(forward, stem=nn.Linear(4, 4, bias=False), fc=nn.Linear(4, 4, bias=False))

    assert fxprof.analyze(model, (1, 4), training=True).macs == 2 * 16 + 16


@pytest.mark.parametrize(
    "lent",
    [
        torch.ones_like, torch.rand_like, lambda y: y.new_zeros(1, 4), lambda y: torch.ones(1, 4).type_as(y),
        lambda y: torch.ones(1, 4).to(y), lambda y: torch.ones(4).expand_as(y), lambda y: torch.ones(4).reshape(1, 4),
    ],
)  # fmt: skip
def test_no_gradient_flows_to_what_lends_its_shape(lent: Any) -> None:
    """Nor to what a new tensor is made after: torch counts the same."""
    layers = {name: nn.Linear(4, 4, bias=False) for name in ("stem", "last")}
    model = module(lambda self, x: self.last(lent(self.stem(x))), **layers)
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(1, 4)).sum().backward()

    assert fxprof.analyze(model, (1, 4), training=True).macs == counter.get_total_flops() // 2 == 3 * 16


doubled = Doubled.apply  # as code keeps it


@pytest.mark.parametrize("grad", [True, False])
def test_a_function_kept_by_another_name_is_seen(grad: bool) -> None:
    """Torch offers no place to intercept it; where gradients are off, they stay off in it."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(grad):
            x = doubled(self.stem(x))
        return self.fc(x)

    model = module(forward, stem=nn.Linear(4, 4, bias=False), fc=nn.Linear(4, 4, bias=False))

    assert fxprof.analyze(model, (1, 4), training=True).macs == (5 if grad else 3) * 16


def into_a_row(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Writes to a view."""
    z[0].copy_(y[0])
    return z


def into_all(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Writes to a view, with an index."""
    z.view(-1)[:4] = y[0]
    return z


def under_a_view(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Writes to what a view that was there before sees."""
    row = z[:2]
    z[0] = y[0]
    return row


@pytest.mark.parametrize("write", [into_a_row, into_all, under_a_view])
def test_gradients_flow_through_memory(write: Any) -> None:
    """What is written to a tensor is in its views, and the other way round: torch counts the same."""
    layers = {name: nn.Linear(4, 4, bias=False) for name in ("stem", "last")}
    model = module(lambda self, x: self.last(write(torch.zeros(2, 4), self.stem(x))), **layers)
    with FlopCounterMode(display=False) as counter:
        model(torch.ones(1, 4)).sum().backward()

    # of 1 row, with the weight's gradient; of 2 rows, with both
    assert fxprof.analyze(model, (1, 4), training=True).macs == counter.get_total_flops() // 2 == 2 * 16 + 3 * 32
