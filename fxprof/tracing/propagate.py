"""Shape propagation: run one function on values, without data unless all of it is control data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _device

from fxprof.tracing.bounds import SIZES, TAKES_SPAN, Assumptions, size_depends_on_data
from fxprof.tracing.memo import Memo
from fxprof.tracing.shapes import SHAPES
from fxprof.tracing.values import Value, map_tensors, meta_twin, small_enough

# Results that never are control data: they would cost a draw from the user's generator.
RANDOM = frozenset(
    ["rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli", "multinomial",
     "poisson", "binomial", "uniform_", "normal_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_",
     "log_normal_", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
     "feature_dropout", "native_dropout", "rrelu", "gumbel_softmax", "dropout_", "alpha_dropout_", "feature_dropout_",
     "feature_alpha_dropout_", "rrelu_"]
)  # fmt: skip
# Their values follow from the arguments' shapes alone, so they are control data even beside abstract tensors.
_SHAPE_ONLY = frozenset(
    ["new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "zeros_like", "ones_like", "full_like", "empty_like"]
)
_LITERAL = frozenset(["tensor", "as_tensor", "asarray", "scalar_tensor", "new_tensor"])
_UNINITIALIZED = frozenset(["empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"])
# Arguments after the first that are sizes, positions or counts, so a 0-d tensor there is read as a number.
_SIZED = frozenset(
    ["view", "reshape", "expand", "repeat", "tile", "narrow", "unflatten", "split", "split_with_sizes", "chunk", "topk", "pad",
     "interpolate", "select", "roll", "unfold", "new_zeros", "new_ones", "new_full", "new_empty", "tensor_split", "permute",
     "transpose", "tril", "triu", "broadcast_to", "as_strided", "adaptive_avg_pool2d", "adaptive_max_pool2d", "repeat_interleave"]
)  # fmt: skip
# These read a 1-d integer argument on the CPU whatever device the data is on.
_READS_CPU = frozenset(
    ["_pack_padded_sequence", "_pad_packed_sequence", "lstm", "gru", "rnn_tanh", "rnn_relu", "tensor_split", "quantized_lstm"]
)
_DEVICE_MOVES = frozenset(["cpu", "cuda", "xpu", "ipu", "hpu", "pin_memory", "mps", "npu"])


class Propagator:
    """Runs functions for the tracer; ``where()`` gives the module path and source line for assumptions."""

    def __init__(self, assumptions: Assumptions, where: Callable[[], tuple[str, str]]) -> None:
        self._assumptions = assumptions
        self._where = where
        self._factories = _device._device_constructors()
        self._memo = Memo()

    def run(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any],
        values: list[Value], lookup: Callable[[Tensor], Value],
    ) -> Any:  # fmt: skip
        """Return what ``func`` returns: real tensors where all of it is control data, meta tensors otherwise."""
        args, kwargs = self._numbers_for_sizes(name, args, kwargs, lookup)
        known = all(value.real is not None for value in values) and name not in RANDOM
        known = known or name in _SHAPE_ONLY

        def real(tensor: Tensor) -> Tensor:
            found = lookup(tensor).real
            return lookup(tensor).meta if found is None else found

        def meta(tensor: Tensor) -> Tensor:
            return lookup(tensor).meta

        if size_depends_on_data(name, args, kwargs):
            if known:
                self._note_assumed(name, values)
                return func(*map_tensors(args, real), **_on("cpu", kwargs))
            return self._bounded(name, map_tensors(args, meta), map_tensors(kwargs, meta), values)
        if name in ("__getitem__", "getitem") and isinstance(args[0], Tensor):
            known_index = all(lookup(t).real is not None for t in _tensors(args[1]))
            if not (known and known_index):
                return self._getitem(func, args, values, lookup)
        if known:
            if self._result_is_small(func, name, map_tensors(args, meta), map_tensors(kwargs, meta)):
                return self._real(func, name, map_tensors(args, real), map_tensors(kwargs, real))
        if name in ("__setitem__", "index_put_", "index_put", "masked_scatter_"):
            return None if name == "__setitem__" else meta(args[0])
        if name in _READS_CPU:
            return func(*map_tensors(args, lambda t: _cpu_integers(lookup(t))), **map_tensors(kwargs, lambda t: _cpu_integers(lookup(t))))
        return self._meta(func, name, map_tensors(args, meta), map_tensors(kwargs, meta))

    # -- the two ways to run -------------------------------------------------------------------

    def _meta(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in _DEVICE_MOVES:
            return args[0]
        if name in ("to", "type", "_to_copy") and args and isinstance(args[0], Tensor):
            args, kwargs = _without_device(args, kwargs)
            if len(args) == 1 and not kwargs:
                return args[0]
        if name in _LITERAL:
            return _literal(name, args, kwargs)
        if func in self._factories:
            kwargs = {**kwargs, "device": "meta"}
        func = SHAPES.get(func, func)
        if _writes(name, kwargs):
            return func(*args, **_on("meta", kwargs))
        return self._memo.call(func, args, _on("meta", kwargs))

    def _real(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in _DEVICE_MOVES:
            return args[0]
        if name in ("to", "type", "_to_copy"):
            args, kwargs = _without_device(args, kwargs)
            if len(args) == 1 and not kwargs:
                return args[0]
        if name == "new_tensor":
            func, kwargs = torch.tensor, {"dtype": args[0].dtype, **kwargs}
            args = args[1:]
        if func in self._factories or name in _SHAPE_ONLY:
            kwargs = {**kwargs, "device": "cpu"}
        result = func(*args, **_on("cpu", kwargs))
        return result.zero_() if name in _UNINITIALIZED else result

    def _result_is_small(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if name in _LITERAL:
            return True
        try:
            result = self._meta(func, name, _copies(args) if _writes(name, kwargs) else args, kwargs)
        except NotImplementedError:
            return True  # no meta kernel: its inputs are control data, hence small
        return all(small_enough(t.shape, t.dtype) for t in _tensors(result))

    # -- what depends on data --------------------------------------------------------------------

    def _bounded(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Value]) -> Any:
        module, source = self._where()
        if name in TAKES_SPAN:
            taken = values[min(TAKES_SPAN[name], len(values) - 1)]
            kwargs = {**kwargs, "span": taken.known_span()}
        result = SIZES[name](self._assumptions.given(name, source), *args, **kwargs)
        first = next(_tensors(result))
        self._assumptions.note(name, "number of elements found", f"at most {first.shape[0]}", module, source)
        return result

    def _getitem(self, func: Callable[..., Any], args: tuple[Any, ...], values: list[Value], lookup: Callable[[Tensor], Value]) -> Any:
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        meta_index: list[Any] = []
        for item in index:
            value = lookup(item) if isinstance(item, Tensor) else None
            if value is not None and value.handle.dtype in (torch.bool, torch.uint8):
                meta_index.extend(self._mask_index(value))
            else:
                meta_index.append(map_tensors(item, lambda t: lookup(t).meta))
        return func(lookup(args[0]).meta, tuple(meta_index) if isinstance(args[1], tuple) or len(meta_index) != 1 else meta_index[0])

    def _mask_index(self, mask: Value) -> tuple[Tensor, ...]:
        """The integer indices that a boolean mask stands for."""
        if mask.real is not None:
            self._note_assumed("getitem", [mask])
            rows = int(mask.real.sum())
        else:
            module, source = self._where()
            given = self._assumptions.given("getitem", source)
            rows = mask.handle.numel() if given is None else min(int(given), mask.handle.numel())
            self._assumptions.note("getitem", "number of elements found", f"at most {rows}", module, source)
        return tuple(torch.empty(rows, dtype=torch.int64, device="meta") for _ in range(mask.handle.dim()))

    def _numbers_for_sizes(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], lookup: Callable[[Tensor], Value]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def number(tensor: Tensor) -> Any:
            return self.number(lookup(tensor), name) if tensor.dim() == 0 else tensor

        if name in ("__getitem__", "__setitem__", "getitem", "setitem"):
            index = args[1]
            items = index if isinstance(index, tuple) else (index,)
            if any(isinstance(item, slice) for item in items):
                items = tuple(map_tensors(item, number) if isinstance(item, slice) else item for item in items)
                args = (args[0], items if isinstance(index, tuple) else items[0], *args[2:])
        elif name in _SIZED:
            args = (args[0], *(map_tensors(arg, number) for arg in args[1:])) if args else args
            kwargs = {key: arg if key in ("input", "self") else map_tensors(arg, number) for key, arg in kwargs.items()}
        elif name not in _LITERAL and any(name == f.__name__ for f in self._factories):
            args, kwargs = map_tensors(args, number), map_tensors(kwargs, number)
        return args, kwargs

    def number(self, value: Value, op: str) -> Any:
        """Read the one number in a value, really or by assumption."""
        if value.real is not None:
            self._note_assumed(op, [value])
            return value.real.item()
        return self._assumptions.number(value, op, *self._where())

    def _note_assumed(self, op: str, values: list[Value]) -> None:
        if any(value.assumed for value in values):
            self._assumptions.note(op, "the values of an input given without data", "all 1", *self._where())


def _tensors(item: Any) -> Any:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, dict):
        for value in item.values():
            yield from _tensors(value)
    elif isinstance(item, (tuple, list)):
        for value in item:
            yield from _tensors(value)
    elif isinstance(item, slice):
        yield from _tensors((item.start, item.stop, item.step))


def _writes(name: str, kwargs: dict[str, Any]) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or kwargs.get("out") is not None or bool(kwargs.get("inplace")) or name.startswith("__i")


def _copies(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return map_tensors(args, meta_twin)  # type: ignore[no-any-return]


def _cpu_integers(value: Value) -> Tensor:
    one_dimensional = value.handle.dim() == 1 and value.handle.dtype in (torch.int64, torch.int32)
    return value.real if one_dimensional and value.real is not None else value.meta


def _on(device: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    if "device" not in kwargs and "pin_memory" not in kwargs and "generator" not in kwargs:
        return kwargs
    kept = {key: value for key, value in kwargs.items() if key not in ("pin_memory", "generator")}
    return {**kept, "device": device} if "device" in kwargs else kept


def _without_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Drop the device from the arguments of ``Tensor.to`` and ``Tensor.type``; keep dtype and layout."""
    kept: list[Any] = [args[0]]
    kwargs = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
    for arg in args[1:]:
        if isinstance(arg, str) and (dtype := _typename_dtype(arg)) is not None:
            kept.append(dtype)
        elif isinstance(arg, type) and hasattr(arg, "dtype"):
            kept.append(arg.dtype)
        elif isinstance(arg, (torch.dtype, Tensor)):
            kept.append(arg)
    if "other" in kwargs:
        kwargs["dtype"] = kwargs.pop("other").dtype
    return tuple(kept), kwargs


def _typename_dtype(name: str) -> torch.dtype | None:
    kinds = {"Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64,
             "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
             "Bool": torch.bool}  # fmt: skip
    kind = name.rpartition(".")[2].removesuffix("Tensor")
    return kinds.get(kind) if name.endswith("Tensor") else None


def _literal(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A tensor made of numbers among which are abstract ones: its shape, from the nesting."""
    data = args[1] if name == "new_tensor" else args[0] if args else kwargs["data"]
    if isinstance(data, Tensor):
        return torch.empty_like(data, dtype=kwargs.get("dtype") or data.dtype, device="meta")
    shape: list[int] = []
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        shape.append(len(leaf))
        leaf = leaf[0]
    tail = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
    dtype = kwargs.get("dtype") or next((t.dtype for t in _tensors(data)), None)
    return torch.empty((*shape, *tail), dtype=dtype, device="meta")
