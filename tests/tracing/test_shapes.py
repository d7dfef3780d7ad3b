"""Closed-form result shapes equal what torch's meta kernels make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fxprof
from fxprof.tracing.shapes import FORMS
from tests.tracing.made import module

sizes = st.integers(1, 4)
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def laid_out(draw: Any, shape: list[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A meta tensor with its dimensions in any order in memory, perhaps with holes."""
    order = draw(st.sampled_from(("plain", "last", "any", "holes")))
    if order == "any":
        permuted = draw(st.permutations(range(len(shape))))
        made = torch.empty([shape[i] for i in permuted], dtype=dtype, device="meta")
        return made.permute([list(permuted).index(i) for i in range(len(shape))])
    if order == "holes" and shape:
        return torch.empty([*shape[:-1], 2 * shape[-1]], dtype=dtype, device="meta")[..., ::2]
    made = torch.empty(shape, dtype=dtype, device="meta")
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape))
    return made.to(memory_format=last) if order == "last" and last else made


def shapes(least: int = 0, most: int = 4) -> st.SearchStrategy[list[int]]:
    """Shapes of so many dimensions."""
    return st.lists(sizes, min_size=least, max_size=most)


@st.composite
def one(draw: Any, least: int = 0) -> Arguments:
    """One floating tensor."""
    dtype = draw(st.sampled_from((torch.float32, torch.bfloat16)))
    return (laid_out(draw, draw(shapes(least)), dtype),), {}


@st.composite
def two(draw: Any) -> Arguments:
    """A tensor and a number, or two tensors that broadcast, perhaps of different dtypes."""
    shape = draw(shapes())
    first = laid_out(draw, shape)
    kind = draw(st.sampled_from(("number", "same", "narrow", "other")))
    if kind == "number":
        return (first, draw(st.sampled_from((2, 0.5, True)))), {}
    if kind == "same":
        return (first, laid_out(draw, shape)), {}
    if kind == "other":
        return (first, laid_out(draw, shape, torch.bfloat16)), {}
    cut = draw(st.integers(0, len(shape)))
    return (first, laid_out(draw, [draw(st.sampled_from((1, size))) for size in shape[cut:]])), {}


@st.composite
def written(draw: Any) -> Arguments:
    """A tensor, and a number or a tensor that fits into it."""
    (first, other), _ = draw(two())
    if isinstance(other, Tensor) and other.dim() > first.dim():
        first, other = other, first
    return (first.contiguous(), other), {}


@st.composite
def linear(draw: Any) -> Arguments:
    """Any rank, with and without a bias."""
    x = laid_out(draw, draw(shapes(1)))
    weight = laid_out(draw, [draw(sizes), x.shape[-1]])
    return (x, weight, laid_out(draw, [weight.shape[0]]) if draw(st.booleans()) else None), {}


def conv(dims: int) -> st.SearchStrategy[Arguments]:
    """Groups, strides, paddings and dilations, numbers or one per dimension."""

    @st.composite
    def arguments(draw: Any) -> Arguments:
        groups, inner, outer = draw(sizes), draw(sizes), draw(sizes)
        x = laid_out(draw, [draw(sizes), groups * inner, *(draw(st.integers(3, 7)) for _ in range(dims))])
        weight = laid_out(draw, [groups * outer, inner, *(draw(st.integers(1, 3)) for _ in range(dims))])
        bias = torch.empty(groups * outer, device="meta") if draw(st.booleans()) else None
        number = draw(st.sampled_from((1, 2)))
        stride = draw(st.sampled_from((number, (number,) * dims, [number])))
        padding = draw(st.sampled_from((0, 1, (1,) * dims, "same" if number == 1 else "valid")))
        return (x, weight, bias, stride, padding), {"dilation": draw(st.sampled_from((1, 1, 2))), "groups": groups}

    return arguments()


@st.composite
def batch_norm(draw: Any) -> Arguments:
    """Ranks 2 to 5, channels first or last in memory."""
    x = laid_out(draw, [2, *draw(shapes(1, 4))])
    stats = [torch.empty(x.shape[1], device="meta") for _ in range(2)]
    return (x, *stats), {"training": draw(st.booleans()) and x.numel() > x.shape[1]}


@st.composite
def layer_norm(draw: Any) -> Arguments:
    """Over any number of trailing dimensions."""
    x = laid_out(draw, draw(shapes(1)))
    tail = list(x.shape[-draw(st.integers(1, x.dim())) :])
    return (x, tail, torch.empty(tail, device="meta") if draw(st.booleans()) else None), {}


@st.composite
def matmul(draw: Any) -> Arguments:
    """Matrices, batched alike or not."""
    m, k, n = draw(sizes), draw(sizes), draw(sizes)
    batch = draw(shapes(0, 2))
    other = draw(st.sampled_from((batch, [], [1] * len(batch))))
    return (laid_out(draw, [*batch, m, k]), laid_out(draw, [*other, k, n])), {}


@st.composite
def bmm(draw: Any) -> Arguments:
    """One batch dimension."""
    b, m, k, n = draw(sizes), draw(sizes), draw(sizes), draw(sizes)
    return (laid_out(draw, [b, m, k]), laid_out(draw, [b, k, n])), {}


@st.composite
def attention(draw: Any) -> Arguments:
    """Heads, a mask or causal, grouped queries."""
    batch, heads, length, source, width = draw(sizes), draw(sizes), draw(sizes), draw(sizes), draw(sizes)
    grouped = draw(st.booleans()) and hasattr(torch.backends.cuda, "SDPAParams")
    keys = 1 if grouped else heads
    q = laid_out(draw, [batch, heads, length, width])
    k, v = laid_out(draw, [batch, keys, source, width]), laid_out(draw, [batch, keys, source, draw(sizes)])
    options: dict[str, Any] = {"enable_gqa": True} if grouped and _takes_groups() else {}
    if options or keys == heads:
        mask = laid_out(draw, [draw(st.sampled_from((1, batch))), 1, length, source])
        given: tuple[Any, ...] = draw(st.sampled_from(((), (mask,), (mask > 0,), (None, 0.0, True))))
        return (q, k, v, *given), options
    return (q, q, q), {}


def _takes_groups() -> bool:
    return "enable_gqa" in (F.scaled_dot_product_attention.__doc__ or "")


@st.composite
def cat(draw: Any) -> Arguments:
    """Tensors that differ in one dimension at most."""
    shape = draw(shapes(1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        part = list(shape)
        part[dim] = draw(sizes)
        parts.append(laid_out(draw, part))
    return (parts,), {"dim": dim}


@st.composite
def reshape(draw: Any) -> Arguments:
    """Into one dimension, two, or back."""
    x = laid_out(draw, draw(shapes(1)))
    return (x, *draw(st.sampled_from(((-1,), ((-1,),), (x.shape[0], -1), tuple(x.shape), (1, *x.shape))))), {}


@st.composite
def mean(draw: Any) -> Arguments:
    """Over one dimension or several."""
    x = laid_out(draw, draw(shapes(1)))
    dims = draw(st.sets(st.integers(0, x.dim() - 1), min_size=1))
    dim = draw(st.sampled_from((tuple(dims), next(iter(dims)), next(iter(dims)) - x.dim())))
    return (x, dim), {"keepdim": draw(st.booleans())}


@st.composite
def pooled(draw: Any) -> Arguments:
    """To a size, or as it is in a dimension."""
    x = laid_out(draw, [draw(sizes) for _ in range(draw(st.sampled_from((3, 4))))])
    return (x, draw(st.sampled_from((1, 2, (2, 3), (None, 2), [1, None])))), {}


@st.composite
def embedding(draw: Any) -> Arguments:
    """Ids of any rank."""
    return (laid_out(draw, draw(shapes()), torch.int64), laid_out(draw, [draw(sizes), draw(sizes)])), {}


@st.composite
def converted(draw: Any) -> Arguments:
    """To its own dtype or another."""
    (x,), _ = draw(one())
    return (x, draw(st.sampled_from((torch.float32, torch.float16, torch.int64)))), {}


@st.composite
def multi_head(draw: Any) -> Arguments:
    """Self-attention and cross-attention, with the weights in one or in none."""
    heads, width = draw(sizes), draw(sizes)
    wide = heads * width
    q = laid_out(draw, [draw(sizes), draw(sizes), wide])
    k = laid_out(draw, [draw(sizes), q.shape[1], wide]) if draw(st.booleans()) else q
    weights = [torch.empty(shape, device="meta") for shape in ((3 * wide, wide), (3 * wide,), (wide, wide), (wide,))]
    args = (q, k, k, wide, heads, *weights[:2], None, None, False, 0.0, *weights[2:])
    return args, {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans()), "training": False}


def recurrent(states: int) -> st.SearchStrategy[Arguments]:
    """Layers, directions, batch first or not, as the modules call them."""

    @st.composite
    def arguments(draw: Any) -> Arguments:
        kind = nn.LSTM if states == 2 else nn.GRU
        options = {name: draw(st.booleans()) for name in ("bidirectional", "batch_first")}
        net = kind(draw(sizes), draw(sizes), draw(st.integers(1, 2)), device="meta", **options)
        x = laid_out(draw, [draw(sizes), draw(sizes), net.input_size])
        batch = x.shape[0 if options["batch_first"] else 1]
        layers = net.num_layers * (2 if options["bidirectional"] else 1)
        state = [torch.empty(layers, batch, net.hidden_size, device="meta") for _ in range(states)]
        rest = (True, net.num_layers, 0.0, False, *options.values())
        return (x, tuple(state) if states == 2 else state[0], list(net.parameters()), *rest), {}

    return arguments()


@st.composite
def dropped(draw: Any) -> Arguments:
    """In training and not, with extreme probabilities, in place and not."""
    (x,), _ = draw(one())
    return (x, draw(st.sampled_from((0.0, 0.5, 1.0))), draw(st.booleans()), draw(st.booleans())), {}


@st.composite
def along(draw: Any) -> Arguments:
    """One dimension, counted from either end."""
    x = laid_out(draw, draw(shapes(1)))
    return (x, draw(st.integers(-x.dim(), x.dim() - 1))), {}


@st.composite
def rolled(draw: Any) -> Arguments:
    """In one dimension, in several, or flattened."""
    x = laid_out(draw, draw(shapes(1)))
    dims = draw(st.lists(st.integers(0, x.dim() - 1), min_size=1, max_size=2))
    return (x, *draw(st.sampled_from(((1,), (2, dims[0]), ([1] * len(dims), dims), ((0,), (-1,)))))), {}


@st.composite
def stacked(draw: Any) -> Arguments:
    """Tensors of one shape."""
    shape = draw(shapes())
    parts = [laid_out(draw, shape) for _ in range(draw(st.integers(1, 3)))]
    return (parts, draw(st.integers(-len(shape) - 1, len(shape)))), {}


@st.composite
def split_and_joined(draw: Any) -> Arguments:
    """A tensor with its dimensions joined, split in two, or both."""
    x = laid_out(draw, draw(shapes(1)))
    flat = draw(st.sampled_from((1, 2, 3, 4, 6, 8)))
    cut = draw(st.integers(0, x.dim()))
    target = draw(st.sampled_from(((*x.shape[:cut], -1), (-1, *x.shape[cut:]), (-1, flat), (flat, -1), tuple(x.shape))))
    fits = x.numel() % flat == 0
    return (x, target if fits or flat not in target else (-1,)), {}


@st.composite
def group_norm(draw: Any) -> Arguments:
    """With and without weights."""
    groups = draw(sizes)
    x = laid_out(draw, [draw(sizes), groups * draw(sizes), *draw(shapes(1, 2)), 2])
    weights = [torch.empty(x.shape[1], device="meta") for _ in range(2)] if draw(st.booleans()) else []
    return (x, groups, *weights), {}


def window(dims: int, *, dilated: bool) -> st.SearchStrategy[Arguments]:
    """Kernels, strides and paddings, numbers or one per dimension, rounded up or down, with and without a batch."""

    @st.composite
    def arguments(draw: Any) -> Arguments:
        lead = [draw(sizes) for _ in range(draw(st.integers(1, 2)))]
        x = laid_out(draw, [*lead, *(draw(st.integers(5, 9)) for _ in range(dims))])
        kernel = draw(st.integers(1, 3))
        options: dict[str, Any] = {"ceil_mode": draw(st.booleans()), "padding": draw(st.integers(0, kernel // 2))}
        if dilated:
            options["dilation"] = draw(st.integers(1, 2))
        stride = draw(st.sampled_from((None, 1, 2, 3, (2,) * dims)))
        return (x, draw(st.sampled_from((kernel, (kernel,) * dims))), stride), options

    return arguments()


@st.composite
def spectrum(draw: Any) -> Arguments:
    """Frames of any width and distance, centred or not, of a signal or of several."""
    n_fft, hop = draw(st.sampled_from((8, 9, 16))), draw(st.integers(1, 4))
    bins = n_fft if (twice := draw(st.booleans())) else n_fft // 2 + 1
    shape = [*draw(shapes(0, 1)), bins, draw(st.integers(3, 9))]
    window = torch.ones(n_fft)
    options = {"center": draw(st.booleans()), "onesided": not twice, "length": draw(st.sampled_from((None, 4)))}
    return (torch.ones(shape, dtype=torch.cfloat), n_fft, hop, None, window), options


LAWS: dict[Any, st.SearchStrategy[Arguments]] = {
    **dict.fromkeys((F.relu, F.gelu, F.silu, torch.sigmoid, F.hardswish, Tensor.rsqrt, torch.exp, Tensor.cos), one()),
    **dict.fromkeys((torch.add, Tensor.mul, Tensor.sub, torch.div, Tensor.__rsub__), two()),
    **dict.fromkeys((Tensor.add_, Tensor.__imul__), written()),
    F.linear: linear(), torch.conv1d: conv(1), torch.conv2d: conv(2), torch.conv3d: conv(3),
    F.batch_norm: batch_norm(), F.layer_norm: layer_norm(), torch.matmul: matmul(), torch.bmm: bmm(),
    F.scaled_dot_product_attention: attention(), F.multi_head_attention_forward: multi_head(), torch.cat: cat(),
    Tensor.reshape: reshape(), Tensor.mean: mean(), F.adaptive_avg_pool2d: pooled(), F.embedding: embedding(),
    F.dropout: dropped(), F.softmax: along(), torch.softmax: along(), Tensor.sum: mean(), torch.roll: rolled(),
    torch.stack: stacked(), torch.reshape: split_and_joined(), F.group_norm: group_norm(),
    F.avg_pool1d: window(1, dilated=False), F.avg_pool2d: window(2, dilated=False),
    F.avg_pool3d: window(3, dilated=False), F.max_pool1d: window(1, dilated=True),
    F.max_pool2d: window(2, dilated=True), F.max_pool3d: window(3, dilated=True),
    Tensor.to: converted(), torch.lstm: recurrent(2), torch.gru: recurrent(1),
}  # fmt: skip


def described(result: Any, args: tuple[Any, ...]) -> Any:
    """Shape, dtype, strides where a dimension has more than one element, and which argument's memory it is."""
    if isinstance(result, tuple):
        return tuple(described(item, args) for item in result)
    if result is None:
        return None
    strides = [s for s, n in zip(result.stride(), result.shape) if n > 1]
    memory = result.untyped_storage()._cdata
    shared = [isinstance(arg, Tensor) and arg.untyped_storage()._cdata == memory for arg in args]
    return tuple(result.shape), result.dtype, strides, shared, result.is_meta


@settings(max_examples=50)
@given(spectrum())
def test_a_signal_is_as_long_as_torch_makes_it(arguments: Arguments) -> None:
    """The inverse of stft has no meta kernel to compare with, but runs on data."""
    args, kwargs = arguments
    found = FORMS[torch.istft](*args, **kwargs)

    assert (found.shape, found.dtype) == ((expected := torch.istft(*args, **kwargs)).shape, expected.dtype)


def test_a_signal_is_traced_to_its_spectrum_and_back() -> None:
    """As vocoders and source separators do; what torch refuses it says in its own words."""

    def forward(self: Any, x: Tensor, n_fft: int = 16) -> Tensor:
        window = torch.hann_window(16)
        return torch.istft(torch.stft(self.fc(x), 16, window=window, return_complex=True), n_fft, window=window)

    graph = fxprof.trace(module(forward, fc=nn.Linear(40, 40)), (2, 40))
    assert graph(torch.ones(2, 40)).shape == (2, 40)
    with pytest.raises(fxprof.TraceError, match="expected the frequency dimension"):
        fxprof.analyze(module(forward, fc=nn.Linear(40, 40)), (2, 40), 12)


@pytest.mark.parametrize("function", LAWS, ids=lambda function: function.__name__)
@settings(max_examples=50)
@given(st.data())
def test_a_closed_form_is_what_the_meta_kernel_makes(function: Callable[..., Any], data: st.DataObject) -> None:
    """Where it answers at all: shape, dtype, strides and memory."""
    args, kwargs = data.draw(LAWS[function])
    found = FORMS[function](*args, **kwargs)
    if found is not NotImplemented:
        expected = function(*args, **kwargs)
        assert described(found, args) == described(expected, args)


PLAIN: dict[Any, tuple[Any, ...]] = {
    F.relu: ((2, 3),), torch.add: ((2, 3), (2, 3)), Tensor.mul: ((2, 3), (3,)), Tensor.add_: ((2, 3), (3,)),
    F.linear: ((2, 3), (4, 3), (4,)), torch.conv2d: ((1, 3, 8, 8), (4, 3, 3, 3), None, 1, 1),
    F.layer_norm: ((2, 3), [3]), torch.matmul: ((2, 3, 4), (2, 4, 5)), torch.cat: ([(2, 3), (2, 5)], 1),
    F.scaled_dot_product_attention: ((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6)), Tensor.mean: ((2, 3), -1),
    F.adaptive_avg_pool2d: ((1, 3, 8, 8), 1), Tensor.reshape: ((2, 3), 6), F.embedding: ((2, 3), (5, 4)),
    F.avg_pool2d: ((1, 3, 8, 8), 2), F.max_pool2d: ((1, 3, 8, 8), 3, 2, 1), F.max_pool1d: ((1, 3, 8), 2),
    F.dropout: ((2, 3), 0.5, False), F.softmax: ((2, 3), -1), torch.softmax: ((2, 3), 1), Tensor.sum: ((2, 3), -1),
    torch.roll: ((2, 3), [1, 1], [0, 1]), torch.stack: ([(2, 3), (2, 3)], 1), F.group_norm: ((2, 4, 3, 3), 2),
    Tensor.to: ((2, 3), torch.float16), F.batch_norm: ((2, 3, 4, 4), (3,), (3,)),
}  # fmt: skip


def tensors(item: Any) -> Any:
    """Meta tensors for tuples of sizes."""
    if isinstance(item, list) and item and isinstance(item[0], tuple):
        return [tensors(x) for x in item]
    return torch.empty(item, device="meta") if isinstance(item, tuple) else item


@pytest.mark.parametrize("function", PLAIN, ids=lambda function: function.__name__)
def test_a_closed_form_covers_the_plain_case(function: Callable[..., Any]) -> None:
    """Else the law above would hold of nothing."""
    assert FORMS[function](*map(tensors, PLAIN[function])) is not NotImplemented


@pytest.mark.parametrize("function", [torch.conv2d, F.linear, torch.cat, Tensor.mean, torch.matmul, Tensor.to])
def test_arguments_that_a_form_does_not_know_are_left_to_torch(function: Callable[..., Any]) -> None:
    """No form raises on a spelling of its own function."""
    x = torch.empty(2, 3, device="meta")
    assert FORMS[function](x, x, x, x, x, x, x, x, x) is NotImplemented
    assert FORMS[function](x, x, unheard_of=1) is NotImplemented
    assert FORMS[function]() is NotImplemented


@pytest.mark.parametrize(
    ("function", "args", "said"),
    [
        (torch.conv2d, ((1, 3, 8, 8), (4, 2, 3, 3)), "channel"),
        pytest.param(
            torch.conv2d,
            ((1, 3, 2, 2), (4, 3, 3, 3)),
            "ernel size",
            marks=pytest.mark.skipif(torch.__version__ < "2.5", reason="torch 2.4 takes any kernel size on meta"),
        ),
        (F.linear, ((2, 3), (4, 5)), "shapes|size"),
        (torch.matmul, ((2, 3), (4, 5)), "shapes|size"),
        (torch.cat, ([(2, 3), (3, 4)], 1), "[Ss]izes"),
        (torch.add, ((2, 3), (2, 4)), "size|shape|broadcast"),
        (F.layer_norm, ((2, 3), [4]), "normalized_shape|shape"),
    ],
)
def test_what_torch_refuses_is_refused(function: Callable[..., Any], args: tuple[Any, ...], said: str) -> None:
    """In torch's words."""
    model = module(lambda self, *inputs: function(*inputs))
    if isinstance(args[0], list):
        model = module(lambda self, *inputs: function(list(inputs), 1))
        args = tuple(args[0])
    with pytest.raises(fxprof.TraceError, match=said):
        fxprof.analyze(model, *args)


@pytest.mark.parametrize("function", [F.relu, F.silu])
def test_in_place_takes_no_new_memory(function: Any) -> None:
    """The same tensor comes back, in the closed form and in a report."""
    x = torch.empty(2, 3, device="meta")
    model = module(lambda self, x: function(self.fc(x), inplace=True), fc=nn.Linear(3, 4))

    assert FORMS[function](x, inplace=True) is x
    assert fxprof.analyze(model, (2, 3)).activations == 2 * 4


@pytest.mark.parametrize(
    "call",
    [
        lambda x, two: F.conv1d(x, x[:, :, :3], stride=two, padding=two), lambda x, two: F.max_pool1d(x, two),
        lambda x, two: F.max_pool1d(x, two, stride=two),
        lambda x, two: F.avg_pool1d(x, (two,)), lambda x, two: x.reshape(two, -1).chunk(two)[0].mean(two - 1),
        lambda x, two: torch.zeros(two, two) + F.group_norm(x, two).flatten()[:two],
    ],
)  # fmt: skip
def test_numbers_of_numpy_are_numbers(call: Any) -> None:
    """As they come out of a configuration, or of arithmetic on shapes."""
    model = module(lambda self, x, two: call(x, two))
    plain = fxprof.analyze(model, (4, 4, 9), 2)

    found = fxprof.analyze(model, (4, 4, 9), np.int64(2))

    assert (found.macs, found.flops, found.activations) == (plain.macs, plain.flops, plain.activations)
