"""The tracer: runs forward once on shapes and records every torch call as a graph node.

Interception is at the torch-function level, per thread, so nothing global is patched. Module calls
are seen through ``_compiled_call_impl``, the per-instance slot that torch itself provides for
replacing a module's call; it is set for the time of the trace on this model's modules only.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum
from types import CodeType, FrameType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fxprof.tracing.bounds import Assumptions
from fxprof.tracing.propagate import RANDOM, Propagator
from fxprof.tracing.spans import Span, span_of, union
from fxprof.tracing.values import Value, map_tensors, meta_twin, small_enough

_TORCH = torch.__path__[0] + "/"
_HERE = __file__.rpartition("/")[0] + "/"

# Attributes, and functions, that tell something about a tensor and compute nothing.
_ATTRIBUTES = frozenset(
    ["shape", "dtype", "ndim", "layout", "requires_grad", "is_leaf", "grad_fn", "grad", "names", "is_sparse", "is_quantized",
     "is_mkldnn", "is_nested", "is_sparse_csr", "_version", "itemsize", "nbytes", "output_nr", "name", "retains_grad",
     "_backward_hooks", "_base", "is_cpu", "is_xpu", "is_mps", "is_vulkan", "is_ipu", "is_xla", "is_maia", "is_mtia"]
)  # fmt: skip
_QUERIES = frozenset(
    ["size", "dim", "stride", "numel", "nelement", "element_size", "is_contiguous", "storage_offset", "is_floating_point",
     "is_complex", "is_signed", "is_inference", "is_pinned", "is_shared", "data_ptr", "untyped_storage", "storage",
     "typed_storage", "is_same_size", "is_set_to", "is_neg", "is_conj", "dim_order", "has_names", "ndimension", "__hash__",
     "is_tensor", "is_storage", "__len__", "_is_view", "_has_compatible_shallow_copy_type", "is_distributed", "result_type",
     "can_cast", "promote_types", "__repr__", "__str__", "__reduce_ex__", "__dir__", "_dimI", "_dimV", "register_hook",
     "register_post_accumulate_grad_hook", "retain_grad", "_is_zerotensor", "sym_int", "sym_float", "sym_max", "sym_min",
     "sym_not", "sym_ite", "sym_sqrt", "sym_sum", "_set_grad_enabled", "get_default_dtype", "_log_api_usage_once"]
)  # fmt: skip
_DEVICE_QUERIES = frozenset(["device", "is_cuda", "is_meta", "get_device"])
# Methods through which a number leaves torch and may steer Python.
_ESCAPES = frozenset(
    ["item", "__bool__", "__int__", "__float__", "__index__", "__complex__", "tolist", "is_nonzero", "equal", "allclose",
     "__contains__", "numpy", "__array__", "__format__"]
)  # fmt: skip
_CONSTANTS = frozenset([bool, int, float, str, type(None), complex, torch.dtype, torch.device, type(...)])
_CHECKS = frozenset(["_assert", "_assert_async", "_assert_tensor_metadata", "_functional_assert_async", "_check"])
# torch asks these before taking a fused path; the answer must not depend on which kernel would run.
_FUSED_PATH_QUESTIONS = frozenset(["_nested_tensor_from_mask_left_aligned"])
_OPERATORS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "true_divide": operator.truediv,
    "matmul": operator.matmul, "__matmul__": operator.matmul, "pow": operator.pow, "__pow__": operator.pow, "neg": operator.neg,
    "__neg__": operator.neg, "gt": operator.gt, "lt": operator.lt, "ge": operator.ge, "le": operator.le, "eq": operator.eq,
    "ne": operator.ne, "__eq__": operator.eq, "__ne__": operator.ne, "__and__": operator.and_, "__or__": operator.or_,
    "__xor__": operator.xor, "__invert__": operator.invert, "__getitem__": operator.getitem, "__setitem__": operator.setitem,
    "__floordiv__": operator.floordiv, "floor_divide": operator.floordiv, "remainder": operator.mod, "__mod__": operator.mod,
    "__lshift__": operator.lshift, "__rshift__": operator.rshift,
}  # fmt: skip
_REFLECTED = {
    "__rsub__": operator.sub, "__rpow__": operator.pow, "__rdiv__": operator.truediv, "__rtruediv__": operator.truediv,
    "__rfloordiv__": operator.floordiv, "__rmod__": operator.mod, "__rmatmul__": operator.matmul, "__rlshift__": operator.lshift,
    "__rrshift__": operator.rshift, "__rand__": operator.and_, "__ror__": operator.or_, "__rxor__": operator.xor,
}  # fmt: skip
# Index arguments: given a floating tensor here, the user probably passed a shape where ids were meant.
_INDEX_ARGUMENT = {
    "embedding": ("input", 0, "indices", 1), "embedding_bag": ("input", 0, "indices", 1), "one_hot": ("input", 0, "tensor", 0),
    "gather": ("index", 2, "index", 2), "index_select": ("index", 2, "index", 2), "take_along_dim": ("indices", 1, "indices", 1),
    "take": ("index", 1, "index", 1), "__getitem__": ("index", 1, "index", 1), "index_add": ("index", 2, "index", 2),
    "scatter": ("index", 2, "index", 2), "scatter_": ("index", 2, "index", 2), "scatter_add_": ("index", 2, "index", 2),
    "scatter_add": ("index", 2, "index", 2), "bincount": ("input", 0, "input", 0),
}  # fmt: skip


class HiddenCall(Exception):
    """Something made a tensor below the torch-function level; trace again with ``see_dispatch``."""


class NeedsIntegers(Exception):
    """An op wants integers and got the floating tensor ``value``; the caller knows which input that was."""

    def __init__(self, op: str, value: Value, module: str) -> None:
        super().__init__(op)
        self.op, self.value, self.module = op, value, module


@dataclass
class ModuleCall:
    """One call of a module; the first call of a path keeps the specs of what it returned."""

    path: str
    outputs: Any = ()


@dataclass
class Frame:
    """Where the trace is: the innermost module being called."""

    path: str
    stack: dict[str, tuple[str, str]]
    module: nn.Module | None = None


@dataclass
class State:
    """The tensors the model owns, by identity, with the names under which it registers them."""

    names: dict[int, str] = field(default_factory=dict)
    tensors: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> State:
        state = cls()
        registered = [*model.named_parameters(), *model.named_buffers()]
        for name, tensor in registered:
            state.names.setdefault(id(tensor), name)
            state.tensors[id(tensor)] = tensor
        return state


class Tracer(TorchFunctionMode):
    """Records one forward of ``model`` into ``self.graph``."""

    def __init__(self, model: nn.Module, assumptions: Assumptions, device: torch.device, *, see_dispatch: bool = False) -> None:
        super().__init__()
        self._below = _Below(self) if see_dispatch else None
        self._busy = False  # inside a recorded call, where everything is its implementation
        self.model = model
        self.graph = fx.Graph()
        self.assumptions = assumptions
        self.calls: list[ModuleCall] = []
        self.attributes: dict[str, Any] = {}  # get_attr target -> the object
        self.used_state: set[str] = set()
        self.failed_in: Frame | None = None
        self.missed_calls = False
        self._device = device
        self._state = State.of(model)
        self._values: dict[int, Value] = {}
        self._keep: list[Any] = []
        self._demoted: set[int] = set()
        self._propagator = Propagator(assumptions, self.where)
        self._paths = _paths(model)
        self._compiled = {m: m._orig_mod for m in self._paths if hasattr(m, "_orig_mod") and isinstance(m._orig_mod, nn.Module)}
        self._frames: list[Frame] = [Frame("", {}, None)]
        self._call_counts: dict[str, int] = {}
        self._thread = threading.get_ident()

    # -- module calls ----------------------------------------------------------------------------

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run forward and return what it returned."""
        self._intercept_calls()
        with self._below or nullcontext(), self:
            return run_forward(self.model, args, kwargs)

    def _intercept_calls(self) -> None:
        """Route the calls of the model's modules through ``call_module``; ``untouched`` takes it back."""
        for module in self._paths:
            vars(module)["_compiled_call_impl"] = _Call(self, module)

    def call_module(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call ``module`` with its path on the stack."""
        if module in self._compiled:
            return self._compiled[module](*args, **kwargs)
        frame = self._enter(module)
        call = ModuleCall(frame.path)
        self.calls.append(call)
        self._frames.append(frame)
        try:
            result = module._call_impl(*args, **kwargs)
        except Exception:
            if self.failed_in is None:
                self.failed_in = frame
            raise
        finally:
            self._frames.pop()
        call.outputs = result if isinstance(result, Tensor) else tuple(_tensors_of(result))
        return result

    def _enter(self, module: nn.Module) -> Frame:
        parent = self._frames[-1]
        names = self._paths[module]
        path = names[0]
        if len(names) > 1:  # shared: the name below the caller, if it has one
            path = max(names, key=lambda name: _common(name, parent.path))
        count = self._call_counts[path] = self._call_counts.get(path, 0) + 1
        key = f"L__self__{path}" if count == 1 else f"L__self__{path}@{count - 1}"
        kind = type(module)
        return Frame(path, {**parent.stack, key: (path, f"{kind.__module__}.{kind.__qualname__}")}, module)

    # -- torch calls -----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        if _is_transformed(args):  # inside torch.vmap and its like: the ops on the tensors behind are recorded
            if self._below is None:
                self._hidden()
            return func(*args, **kwargs)
        self._busy = True
        try:
            return self._call(func, func.__name__, args, kwargs)
        finally:
            self._busy = False

    def _call(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(func) is MethodWrapperType:  # an attribute of a tensor
            attribute = func.__self__.__name__
            if name == "__set__":
                return self._set_attribute(attribute, *args)
            if attribute in _DEVICE_QUERIES:
                return self._device_query(attribute)
            if attribute in _ATTRIBUTES:
                return func(*args)
            return self._attribute(func, attribute, args[0])
        if name in _QUERIES:
            return func(*args, **kwargs)
        if name in _DEVICE_QUERIES:
            return self._device_query(name)
        if name in _ESCAPES:
            return self._escape(func, name, args, kwargs)
        if name in _FUSED_PATH_QUESTIONS:
            return False
        if name in _CHECKS:
            known = all(self.value(tensor).real is not None for tensor in _tensors_of(args))
            return func(*map_tensors(args, lambda t: self.value(t).real), **kwargs) if known else None
        return self.record(func, name.partition(".")[0] if isinstance(func, torch._ops.OpOverload) else name, args, kwargs)

    def record(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``func`` on shapes, add its node, and return what the model's code shall see."""
        values: list[Value] = []
        graph_args = self.graph_argument(args, values)
        graph_kwargs = self.graph_argument(kwargs, values)
        if name in _INDEX_ARGUMENT:
            self._check_index(name, func, args, kwargs)
        result = self._propagator.run(func, name, args, kwargs, values, self.value)
        written = self._written(name, args, kwargs)
        target = self.value(written).graph_node() if isinstance(written, Tensor) else None
        if written is not None:
            self._note_write(written, name, args, values)
        if result is None and written is None or not (written is not None or _holds_tensor(result)):
            return result
        node = self._call_node(func, name, graph_args, graph_kwargs)
        if isinstance(written, Tensor):
            node.meta["written"] = target
        return self._register(result, node, name, args, values, kwargs)

    # -- values ------------------------------------------------------------------------------------

    def value(self, tensor: Tensor) -> Value:
        """What is known of a tensor that the model's code holds."""
        value = self._values.get(id(tensor))
        if value is None:
            value = self._foreign(tensor)
        if value.real is not None and self._demoted and value.real.untyped_storage()._cdata in self._demoted:
            value.real = None
        return value

    def placeholder(self, handle: Tensor, node: fx.Node, *, real: Tensor | None, assumed: bool) -> None:
        """Introduce an input."""
        self._add(Value(handle, real=real, node=node, assumed=assumed))
        self._describe(node, handle)

    def _foreign(self, tensor: Tensor) -> Value:
        """A tensor the trace has not made: a parameter, a buffer, a constant, or a view made behind its back."""
        name = self._state.names.get(id(tensor))
        if name is None and tensor.is_meta:
            for value in self._values.values():
                if value.handle.is_meta and value.handle.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
                    if value.handle.shape == tensor.shape:
                        alias = Value(tensor, make_node=value.graph_node, assumed=value.assumed, span=value.span)
                        return self._add(alias)
        if name is None and tensor.is_meta and self._below is None:
            self._hidden()
        if name is None:
            name = f"_tensor_constant{sum(1 for key in self.attributes if key.startswith('_tensor_constant'))}"
        self.attributes[name] = tensor
        self.used_state.add(name)
        floating = tensor.dtype.is_floating_point or tensor.dtype.is_complex
        registered = id(tensor) in self._state.names
        readable = (
            not tensor.is_meta and tensor.layout is torch.strided and not tensor.is_quantized
            and (tensor.numel() <= 1 if floating and registered else small_enough(tensor.shape, tensor.dtype))
        )  # fmt: skip
        real = tensor.detach().to("cpu", copy=True) if readable else None
        node = self.graph.get_attr(name)
        self._place(node)
        value = self._add(Value(tensor, real=real, node=node))
        value.meta = meta_twin(tensor)
        self._describe(node, value.meta)
        node.meta["storage"] = _storages((value.meta, real))
        for twin in (value.meta, real):
            if twin is not None:
                self._values[id(twin)] = value
        return value

    def _add(self, value: Value) -> Value:
        self._values[id(value.handle)] = value
        self._keep.append(value.handle)  # so that no id is used again
        return value

    def _register(
        self, result: Any, node: fx.Node, name: str, args: tuple[Any, ...], values: list[Value], kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make values of what ``node`` returned, and hand out the tensors the model's code shall hold."""
        assumed = any(value.assumed for value in values)
        position = 0

        def adopt(tensor: Tensor, make_node: Callable[[], fx.Node] | None) -> Tensor:
            nonlocal position
            span = None
            if tensor.is_meta:
                span = span_of(name, args, kwargs or {}, [v.handle for v in values], tensor, position, self._span)
            position += 1
            known = self._values.get(id(tensor))
            if known is not None:  # in place, or handed through
                known.node, known.make_node = (node, None) if make_node is None else (None, make_node)
                known.span = span
                return known.handle
            real = None if tensor.is_meta else tensor
            self._add(Value(tensor, real=real, node=None if make_node else node, make_node=make_node, assumed=assumed, span=span))
            return tensor

        self._describe(node, result)
        if isinstance(result, Tensor):
            return adopt(result, None)
        return self._adopt_each(result, lambda: node, adopt)

    def _adopt_each(self, result: Any, node: Callable[[], fx.Node], adopt: Callable[..., Tensor]) -> Any:
        """Adopt the tensors of a tuple, list or dict; their getitem nodes appear when they are used."""

        def element(key: Any, item: Any) -> Any:
            made: list[fx.Node] = []

            def make() -> fx.Node:
                if not made:
                    made.append(self._call_node(operator.getitem, "getitem", (node(), key), {}))
                    self._describe(made[0], item)
                return made[0]

            return adopt(item, make) if isinstance(item, Tensor) else self._adopt_each(item, make, adopt)

        if isinstance(result, dict):
            return {key: element(key, item) for key, item in result.items()}
        if isinstance(result, (tuple, list)):
            items = [element(i, item) for i, item in enumerate(result)]
            same = all(a is b for a, b in zip(items, result))
            return result if same else type(result)(items)
        return result

    # -- attributes and numbers --------------------------------------------------------------------

    def _attribute(self, func: Callable[..., Any], attribute: str, tensor: Tensor) -> Any:
        values: list[Value] = []
        graph_args = self.graph_argument((tensor, attribute), values)
        value = values[0]
        result = func(value.meta if value.real is None else value.real)
        if not isinstance(result, Tensor):
            return result
        node = self._call_node(getattr, "getattr", graph_args, {})
        return self._register(result, node, attribute, (tensor,), values)

    def _set_attribute(self, attribute: str, tensor: Tensor, new: Any) -> None:
        value = self.value(tensor)
        if attribute == "data":
            source = self.value(new)
            value.node, value.make_node, value.real, value.span = source.graph_node(), None, source.real, source.span
            value.meta = source.meta

    def _device_query(self, name: str) -> Any:
        if name == "device":
            return self._device
        if name == "get_device":
            return -1 if self._device.index is None else self._device.index
        return self._device.type == ("cuda" if name == "is_cuda" else "meta")

    def _escape(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values: list[Value] = []
        map_tensors((args, kwargs), lambda tensor: values.append(self.value(tensor)))
        if all(value.real is not None for value in values):
            self._propagator._note_assumed(name, values)
            return func(*map_tensors(args, lambda t: self.value(t).real), **map_tensors(kwargs, lambda t: self.value(t).real))
        abstract = next(value for value in values if value.real is None)
        if name == "__format__":
            return f"<{tuple(abstract.handle.shape)}>"
        if name in ("__bool__", "is_nonzero", "equal", "allclose", "__contains__"):
            frame = _user_frame()
            return self.assumptions.branch("bool", *self.where(), id(frame))
        number = self._propagator.number(abstract, name.strip("_"))
        if name == "tolist":
            return _nested(number, tuple(abstract.handle.shape))
        if name in ("numpy", "__array__"):
            return torch.full(abstract.handle.shape, number, dtype=abstract.handle.dtype).numpy()
        kinds: dict[str, Callable[[Any], Any]] = {"__int__": int, "__index__": int, "__float__": float, "__complex__": complex}
        return kinds[name](number) if name in kinds else number

    # -- writing in place ------------------------------------------------------------------------------

    def _written(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the call writes to, or None."""
        if kwargs.get("out") is not None:
            return kwargs["out"]
        in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
        in_place = in_place or (name.startswith("__i") and name not in ("__index__", "__int__", "__invert__"))
        return args[0] if in_place and args else args[0] if kwargs.get("inplace") and args else None

    def _note_write(self, written: Any, name: str, args: tuple[Any, ...], values: list[Value]) -> None:
        """Update what is known of a tensor that was written to, and of its views."""
        known = all(value.real is not None for value in values) and name not in RANDOM
        for tensor in [written] if isinstance(written, Tensor) else [t for t in written if isinstance(t, Tensor)]:
            value = self.value(tensor)
            before = value.known_span() if name == "__setitem__" else None
            if known:
                value.span = None
                continue
            if value.real is not None:  # control data that an abstract tensor was written into
                self._demoted.add(value.real.untyped_storage()._cdata)
                value.real = None
            if name == "__setitem__":  # other writes return the tensor, and get its span with it
                value.span = union([before, self._span(args[2])])

    def _span(self, item: Any) -> Span | None:
        if isinstance(item, Tensor):
            return self.value(item).known_span()
        return (item, item) if isinstance(item, (bool, int, float)) else None

    def _check_index(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        key, position, builtin_key, builtin_position = _INDEX_ARGUMENT[name]
        if name in ("embedding", "embedding_bag") and func in (torch.embedding, torch.embedding_bag):
            key, position = builtin_key, builtin_position
        index = kwargs.get(key, args[position] if len(args) > position else None)
        for tensor in index if isinstance(index, tuple) else (index,):
            if isinstance(tensor, Tensor) and tensor.dtype.is_floating_point:
                raise NeedsIntegers(name.strip("_"), self.value(tensor), self._frames[-1].path)

    # -- nodes ----------------------------------------------------------------------------------------

    def graph_argument(self, item: Any, values: list[Value]) -> Any:
        """Replace the tensors of an argument by their nodes, collecting their values."""
        if isinstance(item, Tensor):
            value = self.value(item)
            values.append(value)
            return value.graph_node()
        kind = type(item)
        if kind is tuple or kind is torch.Size:
            return tuple([self.graph_argument(x, values) for x in item])
        if kind is list:
            return [self.graph_argument(x, values) for x in item]
        if isinstance(item, dict):
            return {key: self.graph_argument(x, values) for key, x in item.items()}
        if kind is slice:
            return slice(*(self.graph_argument(x, values) for x in (item.start, item.stop, item.step)))
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return kind(*(self.graph_argument(x, values) for x in item))
        if isinstance(item, (tuple, list)):
            return [self.graph_argument(x, values) for x in item]
        return item if kind in _CONSTANTS else self._plain(item)

    def _plain(self, item: Any) -> Any:
        """A constant that is neither tensor nor plain: NumPy scalars become numbers, objects attributes."""
        if hasattr(item, "tolist") and hasattr(item, "dtype"):
            return item.tolist()
        if isinstance(item, (torch.layout, torch.memory_format, range, type, Enum)):
            return item
        for plain in (bool, int, float, str):  # a subclass, such as an enum's value
            if isinstance(item, plain):
                return plain(item)
        name = f"_constant{sum(1 for key in self.attributes if key.startswith('_constant'))}"
        self.attributes[name] = item
        return self.graph.get_attr(name)

    def _call_node(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        if not kwargs and len(args) == 2 and name in _REFLECTED:
            node = self.graph.call_function(_REFLECTED[name], (args[1], args[0]))
        elif _is_method(func, name):
            arity = 1 if name in ("neg", "__neg__", "__invert__") else 3 if name == "__setitem__" else 2
            if name in _OPERATORS and not kwargs and len(args) == arity:
                node = self.graph.call_function(_OPERATORS[name], args)
            else:
                node = self.graph.call_method(name, args, kwargs)
        else:
            node = self.graph.call_function(func, args, kwargs)
        self._place(node)
        return node

    def _place(self, node: fx.Node) -> None:
        node.meta["nn_module_stack"] = self._frames[-1].stack
        node.meta["module_path"] = self._frames[-1].path
        node.meta["grad_enabled"] = torch.is_grad_enabled()
        frame = _user_frame()
        if frame is not None and _kinds[frame.f_code] == "kernel":
            self._hidden()
        node.meta["source"] = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)

    def _hidden(self) -> None:
        """Stop this attempt; the flag stays when TorchScript or the model's own code swallows the exception."""
        self.missed_calls = True
        raise HiddenCall

    def _describe(self, node: fx.Node, result: Any) -> None:
        node.meta["tensor_meta"] = _metadata(result)
        node.meta["storage"] = _storages(result)

    def where(self) -> tuple[str, str]:
        """Module path and source line of the call being recorded."""
        frame = _user_frame()
        return self._frames[-1].path, f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


class _Below(TorchDispatchMode):
    """Records the aten ops that reach the dispatcher without a torch function: TorchScript, C++ extensions."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        tracer = self._tracer
        if tracer._busy:
            return func(*args, **(kwargs or {}))
        tracer._busy = True
        try:
            return tracer.record(func, func.__name__.partition(".")[0], args, kwargs or {})
        finally:
            tracer._busy = False


class _Call:
    """What stands in a module's ``_compiled_call_impl`` during the trace; other threads pass through."""

    __slots__ = ("_module", "_tracer")

    def __init__(self, tracer: Tracer, module: nn.Module) -> None:
        self._tracer = tracer
        self._module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != self._tracer._thread:
            return self._module._call_impl(*args, **kwargs)
        return self._tracer.call_module(self._module, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None  # a copied module is another module: it is called as usual


def _paths(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every name of every module; a shared module has several."""
    paths: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(module, []).append(path)
    return paths


def _common(name: str, parent: str) -> int:
    """How many leading parts two paths share."""
    count = 0
    for a, b in zip(name.split("."), parent.split(".")):
        if a != b:
            break
        count += 1
    return count


def _tensors_of(item: Any) -> Iterator[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, dict):
        for value in item.values():
            yield from _tensors_of(value)
    elif isinstance(item, (tuple, list)):
        for value in item:
            yield from _tensors_of(value)


def _is_transformed(args: tuple[Any, ...]) -> bool:
    """Whether functorch has wrapped one of the arguments."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return False
    return any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in _tensors_of(args))


def _is_method(func: Callable[..., Any], name: str) -> bool:
    if isinstance(func, (MethodDescriptorType, WrapperDescriptorType)):
        return True
    return getattr(Tensor, name, None) is func or (getattr(func, "__module__", "") == "torch._tensor" and hasattr(Tensor, name))


def _holds_tensor(result: Any) -> bool:
    if isinstance(result, Tensor):
        return True
    if isinstance(result, (tuple, list)):
        return any(_holds_tensor(item) for item in result)
    return isinstance(result, dict) and any(_holds_tensor(item) for item in result.values())


def _metadata(result: Any) -> Any:
    """What ShapeProp would put into ``tensor_meta``."""
    if isinstance(result, Tensor):
        strided = result.layout is torch.strided
        return TensorMetadata(
            result.shape, result.dtype, result.requires_grad, result.stride() if strided else (), None, result.is_quantized, {}
        )
    if isinstance(result, (tuple, list)):
        return tuple(_metadata(item) for item in result)
    if isinstance(result, dict):
        return {key: _metadata(item) for key, item in result.items()}
    return result


def _storages(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.untyped_storage()._cdata if result.layout is torch.strided else id(result)
    if isinstance(result, (tuple, list)):
        return tuple(_storages(item) for item in result)
    if isinstance(result, dict):
        return tuple(_storages(item) for item in result.values())
    return None


def _nested(number: float, shape: tuple[int, ...]) -> Any:
    return [_nested(number, shape[1:]) for _ in range(shape[0])] if shape else number


_KERNELS = tuple(_TORCH + part for part in ("_meta_registrations", "_refs/", "_prims", "_decomp/", "_library/"))
_kinds: dict[CodeType, str] = {}


def _kind(code: CodeType) -> str:
    """Whose code it is: the user's, torch's or fxprof's own ("library"), a module's forward, a meta kernel."""
    name = code.co_filename
    if name.startswith(_KERNELS):
        return "kernel"
    if name.startswith(_TORCH + "nn/modules") and code.co_name == "forward":
        return "forward"
    return "library" if name.startswith((_TORCH, _HERE, "<frozen")) else "user"


def _user_frame() -> FrameType | None:
    """The innermost frame of the model's own code; of torch's modules where there is none.

    A meta kernel's frame is a sign that TorchScript or C++ has called the kernel behind the tracer's back.
    """
    fallback = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not TRACE_ENTRY:
        code = frame.f_code
        kind = _kinds.get(code)
        if kind is None:
            kind = _kinds[code] = _kind(code)
        if kind in ("user", "kernel"):
            return frame
        if kind == "forward" and fallback is None:
            fallback = frame
        frame = frame.f_back
    return fallback


def run_forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The bottom of every recorded stack: frames below it are the caller's."""
    return model(*args, **kwargs)


TRACE_ENTRY = run_forward.__code__
