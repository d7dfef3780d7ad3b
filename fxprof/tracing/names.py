"""What torch calls the things that the tracer treats in its own way; everything else becomes a node."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Attributes, and functions, that tell something about a tensor and compute nothing.
ATTRIBUTES = frozenset(
    """shape dtype ndim layout requires_grad is_leaf grad_fn grad names is_sparse is_quantized is_mkldnn
    is_nested is_sparse_csr _version itemsize nbytes output_nr name retains_grad _backward_hooks _base is_cpu
    is_xpu is_mps is_vulkan is_ipu is_xla is_maia is_mtia""".split()
)
QUERIES = frozenset(
    """size dim stride numel nelement element_size is_contiguous storage_offset is_floating_point is_complex
    is_signed is_inference is_pinned is_shared data_ptr untyped_storage storage typed_storage is_same_size
    is_set_to is_neg is_conj dim_order has_names ndimension __hash__ is_tensor is_storage __len__ _is_view
    is_distributed result_type can_cast promote_types __repr__ __str__
    __reduce_ex__ __dir__ _dimI _dimV register_hook register_post_accumulate_grad_hook retain_grad
    _is_zerotensor sym_int sym_float sym_max sym_min sym_not sym_ite sym_sqrt sym_sum _set_grad_enabled
    get_default_dtype _log_api_usage_once profiler::_record_function_enter profiler::_record_function_enter_new
    profiler::_record_function_exit""".split()
)
DEVICE_QUERIES = frozenset(["device", "is_cuda", "is_meta", "get_device"])

# Methods through which a number leaves torch and may steer Python.
ESCAPES = frozenset(
    """item __bool__ __int__ __float__ __index__ __complex__ tolist is_nonzero equal allclose __contains__
    numpy __array__ __format__""".split()
)
BRANCHES = frozenset(["__bool__", "is_nonzero", "equal", "allclose", "__contains__"])
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "__int__": int, "__index__": int, "__float__": float, "__complex__": complex,
}  # fmt: skip

CHECKS = frozenset("""_assert _assert_async _assert_tensor_metadata _functional_assert_async _check""".split())

# nn.Module asks this before it puts converted weights into their parameters rather than into new ones.
SAME_KIND = "_has_compatible_shallow_copy_type"

# torch asks these before taking a fused path; the answer must not depend on which kernel would run.
FUSED_PATH_QUESTIONS = frozenset(["_nested_tensor_from_mask_left_aligned"])

# Methods that only an operator calls, with their number of arguments.
OPERATORS: dict[tuple[str, int], Callable[..., Any]] = {
    ("__invert__", 1): operator.invert,
    ("__setitem__", 3): operator.setitem, ("__getitem__", 2): operator.getitem,
    ("__floordiv__", 2): operator.floordiv, ("__eq__", 2): operator.eq, ("__ne__", 2): operator.ne,
    ("__and__", 2): operator.and_, ("__or__", 2): operator.or_, ("__xor__", 2): operator.xor,
    ("__lshift__", 2): operator.lshift, ("__rshift__", 2): operator.rshift,
}  # fmt: skip
# Methods that operators call too: torch tells of ``x + y`` as of ``x.add(y)``.
SYMBOLS: dict[Any, Callable[..., Any]] = {
    Tensor.neg: operator.neg, Tensor.add: operator.add, Tensor.sub: operator.sub, Tensor.mul: operator.mul,
    Tensor.div: operator.truediv, Tensor.true_divide: operator.truediv, Tensor.floor_divide: operator.floordiv,
    Tensor.remainder: operator.mod, Tensor.pow: operator.pow, Tensor.__pow__: operator.pow,
    Tensor.matmul: operator.matmul, Tensor.gt: operator.gt, Tensor.lt: operator.lt, Tensor.ge: operator.ge,
    Tensor.le: operator.le, Tensor.eq: operator.eq, Tensor.ne: operator.ne,
}  # fmt: skip
REFLECTED: dict[str, Callable[..., Any]] = {
    "__rsub__": operator.sub, "__rpow__": operator.pow, "__rdiv__": operator.truediv, "__rtruediv__": operator.truediv,
    "__rfloordiv__": operator.floordiv, "__rmod__": operator.mod, "__rmatmul__": operator.matmul,
    "__rlshift__": operator.lshift, "__rrshift__": operator.rshift, "__rand__": operator.and_, "__ror__": operator.or_,
    "__rxor__": operator.xor,
}  # fmt: skip

# Where an op takes indices: given a floating tensor there, the user probably passed a shape where ids were meant.
_INDEX = {
    "embedding": ("input", 0), "embedding_bag": ("input", 0), "one_hot": ("tensor", 0), "bincount": ("input", 0),
    "gather": ("index", 2), "index_select": ("index", 2), "index_add": ("index", 2), "scatter": ("index", 2),
    "scatter_": ("index", 2), "scatter_add": ("index", 2), "scatter_add_": ("index", 2),
    "take_along_dim": ("indices", 1),
    "take": ("index", 1), "__getitem__": ("index", 1),
}  # fmt: skip

# Their second tensor lends its shape or dtype only: none of its numbers, and no gradient flows to it.
AFTER_ANOTHER = frozenset(["expand_as", "view_as", "reshape_as", "type_as", "to"])
INDEXED = frozenset(_INDEX)


def index_argument(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The argument that has to hold integers, or None."""
    if name not in _INDEX:
        return None
    key, position = _INDEX[name]
    if func is torch.embedding or func is torch.embedding_bag:
        key, position = "indices", 1  # the builtins take the table first
    return kwargs.get(key, args[position] if len(args) > position else None)


def written_argument(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call writes to in place, or None."""
    if kwargs.get("out") is not None:
        return kwargs["out"]
    in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or bool(kwargs.get("inplace"))
    in_place = in_place or (name.startswith("__i") and name not in ("__index__", "__int__", "__invert__"))
    return args[0] if in_place and args else None
