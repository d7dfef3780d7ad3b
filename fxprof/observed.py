"""What other tools' formulas need beside the shapes of the ops: module calls, hyper-parameters, arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType
from typing import Any, cast

from torch import Tensor, nn
from torch.fx.passes.shape_prop import TensorMetadata

from fxprof import binding
from fxprof.records import Attributes, CallProfile, TensorSpec
from fxprof.tracing.graph import ModuleCall, Node
from fxprof.tracing.layouts import spec_of

# Hyper-parameters that some tool's formula reads.
HYPERPARAMETERS = (
    "kernel_size", "groups", "padding", "affine", "elementwise_affine", "dim", "mode", "input_size", "hidden_size",
    "num_layers", "bidirectional", "batch_first", "bias",
)  # fmt: skip
_INTEGER = frozenset([int])
_FUNCTIONS = frozenset([FunctionType, BuiltinFunctionType, partial])
_STANDARD = frozenset(vars(nn.Module()))  # the attributes of every module
_SINGLE = frozenset([bool, int, float, str, type(None)])
# Arguments that some tool's formula reads; a tensor among them is kept as its shape.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "interpolate": ("size", "scale_factor", "mode", "antialias"),
    "grid_sample": ("mode",),
    "batch_norm": ("weight", "training"),
    "layer_norm": ("weight",),
    "group_norm": ("weight",),
    "instance_norm": ("weight",),
    "multi_head_attention_forward": (
        "query", "key", "value", "attn_mask", "num_heads", "average_attn_weights",
    ),
    "scaled_dot_product_attention": ("query", "key", "value", "attn_mask", "dropout_p"),
    **dict.fromkeys(["gru", "rnn_tanh", "rnn_relu"], ("batch_first",)),
}  # fmt: skip
# These run another kernel where their first input is strided.
STRIDED = ("linear", "multi_head_attention_forward")
# This one, where the elements of a row of its inputs are not side by side.
_UNIT_STRIDE = "scaled_dot_product_attention"


def calls(made: Sequence[ModuleCall], nodes: Iterable[Node]) -> Iterator[CallProfile]:
    """Every module call, with the range of the ops that ran in it; ``nodes`` are those of the ops."""
    first: dict[ModuleCall, int] = {}
    last: dict[ModuleCall, int] = {}
    for index, node in enumerate(nodes):
        call = node.call
        if call not in first:
            first[call] = index
        last[call] = index + 1
    for call in reversed(made):  # a call comes before those made in it
        parent = call.parent
        if parent is not None and call in first:
            if parent not in first or first[call] < first[parent]:
                first[parent] = first[call]
            if parent not in last or last[call] > last[parent]:
                last[parent] = last[call]
    known: dict[int, tuple[TensorSpec]] = {}  # what one call returns, the next is given; the calls keep the tensors

    def single(tensor: Tensor) -> tuple[TensorSpec]:
        found = known[id(tensor)] = (spec_of(tensor.shape, tensor.dtype),)
        return found

    def specs(tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
        if len(tensors) == 1:
            return known.get(id(tensors[0])) or single(tensors[0])
        return tuple([(known.get(id(tensor)) or single(tensor))[0] for tensor in tensors])

    for call in made:
        inputs, outputs = specs(call.inputs), specs(call.outputs)
        yield CallProfile(call.path, inputs, outputs, first.get(call, 0), last.get(call, 0))


# -- modules ---------------------------------------------------------------------------------------------


def places(model: nn.Module) -> dict[nn.Module, int]:
    """How often a walk over children reaches each module: more than once where parents share it."""
    found: dict[nn.Module, int] = {}
    pending = [model]
    while pending:
        module = pending.pop()
        found[module] = found.get(module, 0) + 1
        pending.extend({id(child): child for child in module._modules.values() if child is not None}.values())
    return found


@lru_cache(maxsize=1024)
def bases(kind: Any) -> tuple[str, ...]:
    """Qualified names of a class and those above it, below nn.Module."""
    above = kind.__mro__[: kind.__mro__.index(nn.Module)]
    return tuple(f"{base.__module__}.{base.__qualname__}" for base in above)


def hyperparameters(module: nn.Module) -> Attributes:
    """Those of HYPERPARAMETERS that the module has, as plain values; then the functions of torch's that it keeps."""
    held = vars(module)
    names, others = _hyperparameters(cast(Any, type(module)), tuple(held))
    found = tuple([(name, value) for name in names if (value := _plain(held[name])) is not None]) if names else ()
    if others and not _FUNCTIONS.isdisjoint([type(held[name]) for name in others]):
        found += tuple([(name, spelled) for name in others if (spelled := _kept(held[name])).startswith("torch.")])
    return found


def _kept(value: Any) -> str:
    if type(value) not in _FUNCTIONS:
        return ""
    return spelling(value.func if type(value) is partial else value)


@lru_cache(maxsize=4096)
def _hyperparameters(kind: Any, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of hyper-parameters among an instance's, and those that functions may have."""
    found = tuple([name for name in HYPERPARAMETERS if name in names])
    home = kind.__module__
    if home.startswith("torch.nn.modules.") and home != "torch.nn.modules.transformer":
        return found, ()  # torch's other layers keep none
    return found, tuple([name for name in names if name not in found and name not in _STANDARD])


# -- ops -------------------------------------------------------------------------------------------------


def arguments(node: Node, op: str, args: Any, kwargs: Any) -> Attributes:
    """Those of ARGUMENTS that the call was given, a padding given by name, a first input that is not contiguous.

    ``args`` and ``kwargs`` are its arguments as shapes, for ops among ARGUMENTS.
    """
    if op == "einsum":
        return (("equation", node.args[0]),) if node.args and isinstance(node.args[0], str) else ()
    if op.startswith("conv"):
        return tuple([("padding", arg) for arg in (*node.args, node.kwargs.get("padding")) if isinstance(arg, str)])
    strided: Attributes = ()
    if op in STRIDED and not _contiguous(node.args[0] if node.args else node.kwargs.get("input")):
        strided = (("contiguous", False),)
    if op == _UNIT_STRIDE and not all(_rows_are_dense(arg) for arg in (*node.args, *node.kwargs.values())[:3]):
        strided = (("unit_stride", False),)
    if op not in ARGUMENTS:
        return strided
    given = binding.given(ARGUMENTS[op], node.target, args, kwargs)
    return tuple([(name, plain) for name, value in given if (plain := _plain(value)) is not None]) + strided


def _contiguous(argument: Any) -> bool:
    meta = argument.tensor_meta if isinstance(argument, Node) else None
    if not isinstance(meta, TensorMetadata) or not meta.stride:
        return True
    step = 1
    for size, stride in zip(reversed(meta.shape), reversed(meta.stride)):
        if size != 1 and stride != step:
            return 0 in meta.shape
        step *= size
    return True


def _rows_are_dense(argument: Any) -> bool:
    meta = argument.tensor_meta if isinstance(argument, Node) else None
    return not isinstance(meta, TensorMetadata) or not meta.stride or meta.stride[-1] == 1


def _plain(value: Any) -> Any:
    """The value if JSON keeps it: a number, a text, or a flat tuple of numbers; else None."""
    kind = type(value)
    if kind in _SINGLE or (kind is tuple and _INTEGER.issuperset(map(type, value))):  # as nearly always
        return value
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)) and all(isinstance(item, (int, float)) for item in value):
        return tuple(value)
    return None


def spelling(target: Any) -> str:
    """How the model's code called an op: ``operator.add``, ``torch.nn.functional.relu``, ``Tensor.mean``."""
    if isinstance(target, str):
        return f"Tensor.{target}"
    if type(target) in (FunctionType, BuiltinFunctionType):
        return _function(target)
    return _qualified(target)


@lru_cache(maxsize=1024)
def _function(target: Any) -> str:
    return _qualified(target)


def _qualified(target: Any) -> str:
    name = getattr(target, "__name__", None) or type(target).__name__
    return f"{_HOMES.get(home := _home(target), home)}.{name}"


# Where Python says these live, and where the user finds them.
_HOMES = {"_operator": "operator", "torch._C._nn": "torch.nn.functional", "": "torch"}


def _home(target: Any) -> str:
    module = getattr(target, "__module__", None)
    return module if isinstance(module, str) else ""
