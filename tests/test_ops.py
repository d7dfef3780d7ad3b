"""Torch's spellings: every way to write an op is one name, and its arguments reach the rule."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import get_overridable_functions

from fxprof import binding, ops
from fxprof.errors import FxprofError
from fxprof.report import Cost, Shape
from fxprof.rules import RULES, free
from fxprof.rules.registry import names
from fxprof.rules.unruled import DECOMPOSED, UNCOUNTED
from fxprof.tracing.opaque import is_opaque
from tests.rules.oracle import cost, decomposed, meta

aten = torch.ops.aten
cls: Any = torch.Tensor

# fmt: off
SPELLINGS: dict[str, list[Any]] = {
    "add": [
        torch.add, operator.add, operator.iadd, "add", "add_", "__add__", "__radd__", "__iadd__", torch.Tensor.add_,
        torch.Tensor.__radd__, aten.add, aten.add.Tensor, aten.add_.Tensor,
    ],
    "div": [
        torch.true_divide, torch.divide, operator.truediv, operator.itruediv, "__rtruediv__", "divide_",
        aten.div.Tensor,
    ],
    "mul": [torch.multiply, operator.mul, operator.imul, "multiply_", "__rmul__"],
    "sub": [torch.subtract, operator.sub, "__rsub__", "subtract_"],
    "matmul": [torch.matmul, operator.matmul, operator.imatmul, "__matmul__", "__rmatmul__", torch.linalg.matmul],
    "bitwise_and": [operator.and_, operator.iand, "__and__", "__rand__", torch.bitwise_and, "bitwise_and_"],
    "bitwise_not": [operator.invert, "__invert__"],
    "pow": [operator.pow, "__rpow__", "pow_", torch.pow, aten.pow.Tensor_Scalar],
    "gt": [operator.gt, torch.greater, "greater_", "__gt__"],
    "neg": [operator.neg, torch.negative, "__neg__"],
    "abs": [abs, torch.absolute, "absolute_", "__abs__"],
    "clamp": [torch.clip, "clip_", "clamp_", aten.clamp.default],
    "floor_divide": [operator.floordiv, "__rfloordiv__", "floor_divide_"],
    "remainder": [operator.mod, "__mod__", torch.remainder],
    "getitem": [operator.getitem, torch.Tensor.__getitem__, "__getitem__"],
    "setitem": [operator.setitem, "__setitem__"],
    "relu": [F.relu, torch.relu, torch.relu_, "relu_", aten.relu.default],
    "conv2d": [F.conv2d, torch.conv2d, aten.conv2d.default],
    "linear": [F.linear, torch._C._nn.linear, aten.linear],
    "gelu": [F.gelu, torch._C._nn.gelu, aten.gelu.default],
    "lstm": [torch.lstm, torch._VF.lstm, aten.lstm.input, aten.lstm.data],
    "softmax": [F.softmax, torch.softmax, "softmax", torch.special.softmax],
    "max_pool2d": [F.max_pool2d, torch.max_pool2d, aten.max_pool2d.default],
    "scaled_dot_product_attention": [F.scaled_dot_product_attention, aten.scaled_dot_product_attention],
    "sigmoid": [torch.sigmoid, torch.special.expit, "sigmoid_", F.sigmoid],
    "erf": [torch.special.erf, torch.erf],
    "transpose": [torch.swapaxes, "swapdims", "transpose_", aten.transpose.int],
    "view": ["view", aten.view.default, aten.view_copy.default],
    "T": [cls.T.__get__],
    "real": [cls.real.__get__],
    "getattr": [getattr],
    "logsigmoid": [F.logsigmoid],
    "threshold": [F.threshold],
    "foreach_add": [torch._foreach_add, torch._foreach_add_, aten._foreach_add.List],
}
# fmt: on


@pytest.mark.parametrize("name", sorted(SPELLINGS))
def test_every_spelling_is_one_op(name: str) -> None:
    """Functions, methods, operators, in-place forms, aliases and overloads of an op have one name."""
    assert {ops.op_of(target) for target in SPELLINGS[name]} == {name}


def relu(x: torch.Tensor) -> torch.Tensor:
    """A user's function that happens to be called as one of torch's is."""
    return x


def test_what_is_not_torch_keeps_its_own_name() -> None:
    """A user's function is not taken for torch's of the same name, and no target is refused."""
    assert ops.op_of(relu) == f"{__name__}.relu"
    assert ops.op_of(torch.get_num_threads) == "torch.get_num_threads"
    for target in (object(), [1], lambda x: x, len, print, torch.nn.ReLU(), 3, None):
        assert isinstance(ops.op_of(target), str)


def test_custom_ops_keep_their_namespace() -> None:
    """An op of somebody's library is named with the library, one of torchvision's plainly."""
    library = torch.library.Library("fxprof_test", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    assert ops.op_of(torch.ops.fxprof_test.twice) == "fxprof_test::twice"
    assert ops.op_of(torch.ops.fxprof_test.twice.default) == "fxprof_test::twice"
    pytest.importorskip("torchvision")
    assert ops.op_of(torch.ops.torchvision.roi_align) == "roi_align"


# -- arguments ---------------------------------------------------------------------------------------


def received(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], rule: Any) -> Any:
    """What a rule that returns its arguments gets."""
    seen: list[Any] = []

    def spy(
        x: Any = "x", second: Any = "second", third: Any = "third", *, groups: Any = 1, dim: Any = "dim", out: Any
    ) -> Cost:
        seen.extend((x, second, third, groups, dim))
        return Cost()

    binding.apply(spy, target, args, kwargs, (1,))
    return seen


@pytest.mark.parametrize(
    ("target", "args", "kwargs", "expected"),
    [
        (F.conv2d, ((1,), (2,)), {}, [(1,), (2,), "third", 1, "dim"]),
        (F.conv2d, ((1,),), {"weight": (2,), "bias": (3,), "groups": 4}, [(1,), (2,), (3,), 4, "dim"]),
        (F.conv2d, (), {"bias": (3,), "weight": (2,), "input": (1,)}, [(1,), (2,), (3,), 1, "dim"]),
        (aten.conv2d.default, ((1,), (2,), None, [1, 1], [0, 0], [1, 1], 6), {}, [(1,), (2,), None, 6, "dim"]),
        ("softmax", ((1,),), {"dim": -1}, [(1,), -1, "third", 1, -1]),
        ("softmax", ((1,), 2), {}, [(1,), 2, "third", 1, 2]),
        (torch.sum, ((4, 5),), {"axis": 1}, [(4, 5), 1, "third", 1, 1]),
        (torch.sum, ((4, 5), 1, True), {}, [(4, 5), 1, True, 1, 1]),
        (F.layer_norm, ((4, 5), (5,)), {"bias": (5,)}, [(4, 5), (5,), "third", 1, "dim"]),
        ("__rmatmul__", ((6, 7), (5, 6)), {}, [(5, 6), (6, 7), "third", 1, "dim"]),
        (F.scaled_dot_product_attention, (), {"value": (3,), "query": (1,), "key": (2,)}, [(1,), (2,), (3,), 1, "dim"]),
        (F.max_pool2d, ((1, 2, 3, 3),), {"kernel_size": 2}, [(1, 2, 3, 3), 2, "third", 1, "dim"]),
        (relu, ((1,), (2,)), {"groups": 5}, [(1,), (2,), "third", 5, "dim"]),
    ],
)
def test_arguments_reach_the_rule(target: Any, args: Any, kwargs: Any, expected: list[Any]) -> None:
    """Positional parameters are torch's in torch's order, keyword-only ones go by name, the rest stay away."""
    assert received(target, args, kwargs, None) == expected


def test_a_rule_may_name_its_parameters_as_it_likes() -> None:
    """A user's rule takes fewer parameters, by other names, with a gap, or by position alone."""

    def weights(image: Shape, filters: Shape, *, out: Shape) -> Cost:
        return Cost(macs=filters[0])

    def positional(image: Shape, /, *, out: Shape) -> Cost:
        return Cost(macs=image[0])

    def biased(x: Shape, w: Shape = (0,), b: Shape = (0,), *, out: Shape) -> Cost:
        return Cost(macs=w[0] + b[0])

    args: tuple[Any, dict[str, Any], Shape] = ((9, 8),), {"weight": (5,), "bias": (3,)}, (1,)
    assert binding.apply(weights, F.conv2d, *args) == Cost(macs=5)
    assert binding.apply(positional, F.conv2d, *args) == Cost(macs=9)
    assert binding.apply(biased, F.conv2d, ((9, 8),), {"bias": (3,)}, (1,)) == Cost(macs=3)
    assert binding.apply(free, F.conv2d, *args) == Cost()


def test_a_missing_argument_is_named() -> None:
    """Where a rule needs what the call does not give, the error shows the call and the parameter."""
    with pytest.raises(FxprofError, match=r"conv2d\(\(1, 3, 8, 8\)\) -> \(1, 4, 8, 8\).*'weight'") as caught:
        binding.apply(RULES["conv2d"], F.conv2d, ((1, 3, 8, 8),), {}, (1, 4, 8, 8))
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_rule_that_fails_is_named() -> None:
    """Where a rule raises, the error shows the op, the rule, the arguments and the cause."""

    def broken(x: Shape, *, out: Shape) -> Cost:
        return Cost(macs=x[5])

    with pytest.raises(FxprofError, match=r"relu\(\(2, 3\)\).*'broken'.*IndexError: tuple index out of range"):
        binding.apply(broken, F.relu, ((2, 3),), {}, (2, 3))


def test_a_rule_must_return_a_cost() -> None:
    """A rule that returns a number is refused by name."""

    def number(x: Shape, *, out: Shape) -> int:
        return 3

    with pytest.raises(FxprofError, match=r"'number'.*must return a Cost of ints, got 3"):
        binding.apply(number, F.relu, ((2, 3),), {}, (2, 3))  # type: ignore[arg-type]


# -- everything that exists --------------------------------------------------------------------------

# In the tables for other versions of torch than the one installed, or not among torch's operators.
OLD = "_update_names align_as align_to has_names names refine_names rename"
NEW = """
    _clear_non_serializable_cached_data _fused_rms_norm _grouped_mm _has_grad_dtype_override _safe_softmax
    _scaled_dot_product_attention_math_for_mps _scaled_dot_product_fused_attention_overrideable _scaled_grouped_mm
    _scaled_grouped_mm_v2 _scaled_mm_v2 _unsafe_masked_index _upsample_lanczos2d_aa const_data_ptr foreach_clone
    foreach_mm foreach_rsqrt grad_dtype grouped_mm hash_tensor linalg_matrix_sqrth linalg_polar linear_cross_entropy
    scaled_grouped_mm scaled_mm sym_is_contiguous sym_sum
"""
ELSEWHERE = {*names(OLD), *names(NEW)}


def overridable() -> list[Any]:
    """Every function that torch lets a tracer see."""
    return [function for functions in get_overridable_functions().values() for function in functions]


def test_every_function_is_classified() -> None:
    """Every overridable function of torch is ruled, free, decomposed or knowingly uncounted."""
    classes = {ops.classify(function, RULES) for function in overridable()}
    assert classes == {"ruled", "free", "decomposed", "uncounted"}


def test_no_op_is_in_two_classes() -> None:
    """An op with a rule is not also listed as being without one."""
    assert not RULES.keys() & {*DECOMPOSED, *UNCOUNTED}
    assert not set(DECOMPOSED) & set(UNCOUNTED)
    assert len(DECOMPOSED) == len(set(DECOMPOSED))
    assert len(UNCOUNTED) == len(set(UNCOUNTED))


def test_what_no_table_has_is_refused() -> None:
    """A function that no table has is an error, not a class."""
    with pytest.raises(FxprofError, match=r"got '.*relu'"):
        ops.classify(relu, RULES)


def test_dropping_a_rule_shows() -> None:
    """Classification follows the rules it is given."""
    assert ops.classify(F.batch_norm, {**RULES, "batch_norm": free}) == "free"
    with pytest.raises(FxprofError, match="'batch_norm'"):
        ops.classify(F.batch_norm, {name: r for name, r in RULES.items() if name != "batch_norm"})


def known_to_torch() -> set[str]:
    """Canonical names of everything that torch, its operators and Python's have."""
    torchvision = pytest.importorskip("torchvision")
    known = {ops.op_of(function) for function in overridable()}
    for registered in torch._C._dispatch_get_all_op_names():
        namespace, _, name = registered.partition("::")
        if namespace in ("aten", "prims", "prim", "torchvision"):
            known |= {name.split(".")[0], ops.op_of(name.split(".")[0])}
    spaces = (torch, torch.functional, F, torch.Tensor, operator, builtins, torchvision.ops, torch._VF, torch._C)
    for space in spaces:
        known |= {ops.op_of(name) for name in dir(space)}
    return known


def test_no_table_has_what_torch_has_not() -> None:
    """Every name in the tables is one of torch's or Python's, so that a misspelt one shows."""
    listed = {name for name in (*RULES, *DECOMPOSED, *UNCOUNTED) if not is_opaque(name)}  # nor other libraries'
    assert listed - known_to_torch() - ELSEWHERE == set()
    assert set(ops.ALIASES.values()) <= listed
    assert not set(ops.ALIASES) & listed


m = meta
SAMPLES: dict[str, tuple[Any, ...]] = {
    "cosine_similarity": (F.cosine_similarity, m(3, 5), m(3, 5)),
    "pairwise_distance": (F.pairwise_distance, m(3, 5), m(3, 5)),
    "cosine_embedding_loss": (F.cosine_embedding_loss, m(3, 5), m(3, 5), m(3)),
    "hinge_embedding_loss": (F.hinge_embedding_loss, m(3, 5), m(3, 5)),
    "margin_ranking_loss": (F.margin_ranking_loss, m(3), m(3), m(3)),
    "triplet_margin_loss": (F.triplet_margin_loss, m(3, 5), m(3, 5), m(3, 5)),
    "triplet_margin_with_distance_loss": (F.triplet_margin_with_distance_loss, m(3, 5), m(3, 5), m(3, 5)),
    "poisson_nll_loss": (F.poisson_nll_loss, m(3, 5), m(3, 5)),
    "multilabel_soft_margin_loss": (F.multilabel_soft_margin_loss, m(3, 5), m(3, 5)),
    "gumbel_softmax": (F.gumbel_softmax, m(3, 5)),
    "trapezoid": (torch.trapezoid, m(3, 5)),
    "cumulative_trapezoid": (torch.cumulative_trapezoid, m(3, 5)),
    "gradient": (torch.gradient, m(3, 5)),
    "diff": (torch.diff, m(3, 5)),
    "norm_except_dim": (torch.norm_except_dim, m(3, 5)),
    "linalg_norm": (torch.linalg.norm, m(3, 5)),
    "linalg_matrix_norm": (torch.linalg.matrix_norm, m(3, 5)),
    "linalg_vander": (torch.linalg.vander, m(5)),
    "matrix_power": (torch.linalg.matrix_power, m(5, 5), 6),
}


@pytest.mark.parametrize("name", DECOMPOSED)
def test_what_is_decomposed_does_decompose(name: str) -> None:
    """Every op listed as made of others runs on meta tensors as ops that have rules."""
    target, *args = SAMPLES[name]
    assert ops.op_of(target) == name
    assert decomposed(target, *args).flops > 0


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm"])
def test_native_ops_have_the_rule_of_what_they_serve(name: str) -> None:
    """aten's own normalizations, of other signatures, cost what torch's functions cost."""
    x, w = m(3, 6, 5), m(6)
    args: dict[str, tuple[Any, ...]] = {
        "batch_norm": (x, w, w, w, w, True, 0.1, 1e-5, False),
        "layer_norm": (x, [6, 5], m(6, 5), m(6, 5)),
        "group_norm": (x, 2, w, w),
    }
    target = getattr(torch, name)
    assert cost(target, *args[name]) == decomposed(target, *args[name])


def test_functions_that_torch_holds_to_be_equal_have_one_name() -> None:
    """``torch.mm == torch.spmm``, so a cache cannot tell them apart, and neither can the name."""
    names: dict[Any, set[str]] = {}
    for function in vars(torch).values():
        if isinstance(function, type(torch.mm)):
            ops._op_of.cache_clear()
            names.setdefault(function, set()).add(ops.op_of(function))

    assert [found for found in names.values() if len(found) > 1] == []
