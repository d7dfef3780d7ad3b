"""Shape propagation: run one function on values, without data unless all of it is control data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _device

from fxprof.tracing import opaque
from fxprof.tracing.bounds import MASK_POSITION, SIZE_EFFECT, SIZES, TAKES_SPAN, Assumptions, size_depends_on_data
from fxprof.tracing.calls import Call
from fxprof.tracing.choices import Choice
from fxprof.tracing.devices import CONVERSIONS, LITERALS, MOVES, literal, on, without_device
from fxprof.tracing.names import AFTER_ANOTHER
from fxprof.tracing.opaque import is_opaque
from fxprof.tracing.shapes import FORMS, SHAPES
from fxprof.tracing.small import result_is_small
from fxprof.tracing.support import asks_for_zeros
from fxprof.tracing.values import (
    CHOSEN_NUMEL,
    Value,
    data_of,
    integers_of,
    map_tensors,
    meta_of,
    small_enough,
    tensors_in,
    zeros_of,
)

# Results that never are control data: they would cost a draw from the user's generator.
RANDOM = frozenset(
    """rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial poisson binomial
    uniform_ normal_ random_ bernoulli_ exponential_ geometric_ cauchy_ log_normal_ dropout dropout1d dropout2d
    dropout3d alpha_dropout feature_alpha_dropout feature_dropout native_dropout rrelu gumbel_softmax dropout_
    alpha_dropout_ feature_dropout_ feature_alpha_dropout_ rrelu_""".split()
)
# Their values follow from the arguments' shapes alone, so they are control data even beside abstract tensors.
_SHAPE_ONLY = frozenset(
    "new_zeros new_ones new_full new_empty new_tensor zeros_like ones_like full_like empty_like".split()
)
_UNINITIALIZED = frozenset("empty empty_like new_empty empty_strided new_empty_strided empty_permuted".split())
# Arguments after the first that are sizes, positions or counts, so a 0-d tensor there is read as a number.
_SIZED = frozenset(
    """view reshape expand repeat tile narrow unflatten split split_with_sizes chunk topk pad interpolate select roll
    unfold new_zeros new_ones new_full new_empty tensor_split permute transpose tril triu broadcast_to as_strided
    adaptive_avg_pool2d adaptive_max_pool2d repeat_interleave multinomial one_hot""".split()
)
# These read a 1-d integer argument on the CPU whatever device the data is on.
_READS_CPU = frozenset(
    "_pack_padded_sequence _pad_packed_sequence lstm gru rnn_tanh rnn_relu tensor_split quantized_lstm".split()
)
# What torch says where a function reads a number out of a meta tensor, or has no kernel for one.
_NEEDS_DATA = ("item() cannot be called on meta tensors", "with Meta tensors", "Meta' backend")
_INDEXING = frozenset(["__getitem__", "getitem"])
_ASSIGNMENTS = frozenset(["__setitem__", "index_put_", "index_put", "masked_scatter_"])


def _in_closed_form(forms: Mapping[Any, Callable[..., Any]], call: Call, kwargs: dict[str, Any]) -> Any:
    """What a call returns, from shapes alone; NotImplemented where that is for torch to say."""
    form = forms.get(call.func)
    if form is None or any(type(arg).__module__ == "numpy" for arg in (*call.args, *kwargs.values())):
        return NotImplemented  # NumPy's numbers overflow, and are no ints
    return form(*call.args, **kwargs)


class Propagator:
    """Runs calls for the tracer; ``where()`` gives the module path and source line for assumptions.

    With ``abstract_floats``, floating tensors are no control data: autograd wants all of them on one device.
    """

    def __init__(
        self, assumptions: Assumptions, where: Callable[[], tuple[str, str]], *, abstract_floats: bool = False
    ) -> None:
        self._abstract_floats = abstract_floats
        self._assumptions = assumptions
        self._where = where
        self._factories = _device._device_constructors()
        self._factory_names = frozenset(factory.__name__ for factory in self._factories) - LITERALS

    def run(self, call: Call) -> Any:
        """Return what the function returns: real tensors where all of it is control data, else meta tensors."""
        name = call.name
        call = self._with_numbers_for_sizes(call)
        if asks_for_zeros(name, call.args, call.values):
            call = call.on_support()
        deciding = call.values[:1] if name in AFTER_ANOTHER else call.values
        fixed = name in RANDOM or is_opaque(name)  # never run on data
        known = name in _SHAPE_ONLY or (not fixed and all(value.real is not None for value in deciding))
        if not known:  # a form reads shapes only, so the model's own tensors will do
            result = _in_closed_form(SHAPES, call, on("meta", call.kwargs))
            if result is not NotImplemented:
                return _on_its_twin(result, call.values)
        if size_depends_on_data(name, call.args, call.kwargs):
            if not known:
                return self._bounded(call.with_tensors(meta_of))
            result = call.with_tensors(data_of).run("cpu")
            self.note_assumed(name, call.values)
            if name in MASK_POSITION:
                _select(call.values[MASK_POSITION[name]], next(tensors_in(result)).shape[0])
            return result
        if name in _INDEXING and not (known and all(call.lookup(t).real is not None for t in tensors_in(call.args))):
            return self._indexed(call)
        if known and result_is_small(call, self._on_meta) and not (self._abstract_floats and self._floats(call)):
            return self._on_data(call.with_tensors(data_of))
        if name in _ASSIGNMENTS:
            return None if name == "__setitem__" else call.lookup(call.args[0]).meta
        if name in _READS_CPU:
            return call.with_tensors(integers_of).run("meta")
        try:
            return self._on_meta(call.with_tensors(meta_of))
        except (NotImplementedError, RuntimeError) as err:
            if not any(said in str(err) for said in _NEEDS_DATA):
                raise
            return self._needing_data(call, err)

    def _floats(self, call: Call) -> bool:
        """Whether the call makes floating tensors."""
        made = self._on_meta(call.with_tensors(meta_of))
        return any(tensor.dtype.is_floating_point for tensor in tensors_in(made))

    # -- the two ways to run -----------------------------------------------------------------------

    def _on_meta(self, call: Call) -> Any:
        if call.name in MOVES:
            return call.args[0]
        if call.name in CONVERSIONS:
            args, kwargs = without_device(call.args, call.kwargs)
            if len(args) == 1 and not kwargs:
                return args[0]
            call = replace(call, args=args, kwargs=kwargs)
        if is_opaque(call.name):
            return self._opaque(call)
        if call.name in LITERALS:
            return literal(call.name, call.args, call.kwargs)
        kwargs = {**call.kwargs, "device": "meta"} if call.func in self._factories else call.kwargs
        kwargs = on("meta", kwargs)
        result = _in_closed_form(FORMS, call, kwargs)
        return call.func(*call.args, **kwargs) if result is NotImplemented else result

    def _opaque(self, call: Call) -> Any:
        result, assumed = opaque.run(call.func, call.name, call.args, call.kwargs)
        if assumed is not None:
            self._assumptions.note_made_up(call.name, [assumed], *self._where())
        return result

    def _on_data(self, call: Call) -> Any:
        if call.name in MOVES:
            return call.args[0]
        if call.name in CONVERSIONS:
            args, kwargs = without_device(call.args, call.kwargs)
            return args[0] if len(args) == 1 and not kwargs else call.func(*args, **kwargs)
        if call.name == "type_as":
            return call.args[0].to(call.args[1].dtype)
        if call.name == "new_tensor":
            return torch.tensor(*call.args[1:], **{"dtype": call.args[0].dtype, **call.kwargs, "device": "cpu"})
        if call.func in self._factories or call.name in _SHAPE_ONLY:
            call = replace(call, kwargs={**call.kwargs, "device": "cpu"})
        result = call.run("cpu")
        if call.name in _UNINITIALIZED:
            result.detach().zero_()  # itself may want a gradient, and is then not to be written to
        return result

    def _needing_data(self, call: Call, failure: Exception) -> Any:
        """What a function returns that reads numbers out of its arguments, or has no kernel for meta tensors."""

        def number(tensor: Tensor) -> Any:
            return self.number(call.lookup(tensor), call.name) if tensor.dim() == 0 else tensor

        rest = (call.args[1:], call.kwargs)
        if any(tensor.dim() == 0 for tensor in tensors_in(rest)):
            args, kwargs = map_tensors(rest, number)
            call = replace(call, args=(*call.args[:1], *args), kwargs=kwargs)
            try:
                return self._on_meta(call.with_tensors(meta_of))
            except (NotImplementedError, RuntimeError) as err:
                failure = err
        if not all(small_enough(value.handle.shape, CHOSEN_NUMEL) for value in call.values):
            raise failure
        try:
            with torch.no_grad():
                result = call.with_tensors(zeros_of).run("cpu")
        except Exception:
            raise failure from None
        self._assumptions.note_made_up(call.name, [opaque.ZEROS], *self._where())
        found = map_tensors(result, lambda tensor: torch.empty_like(tensor, device="meta"))
        return type(result)(found) if isinstance(result, tuple) else found

    # -- what depends on data ----------------------------------------------------------------------

    def _bounded(self, call: Call) -> Any:
        module, source = self._where()
        kwargs = dict(call.kwargs)
        if call.name == "masked_select" and len(call.values) == 2 and call.values[1].real is not None:
            return self._selected(call)
        if call.name in TAKES_SPAN:
            kwargs["span"] = call.values[min(TAKES_SPAN[call.name], len(call.values) - 1)].known_span()
        result = SIZES[call.name](self._assumptions.size(call.name, source), *call.args, **kwargs)
        self._note_size(call.name, next(tensors_in(result)).shape[0], module, source)
        return result

    def _selected(self, call: Call) -> Tensor:
        """``x.masked_select(mask)`` with a known mask."""
        x, mask = call.values
        assert mask.real is not None
        shape = torch.broadcast_shapes(x.handle.shape, mask.handle.shape)  # type: ignore[no-untyped-call]
        found = int(mask.real.expand(shape).sum())
        self.note_assumed(call.name, [mask])
        _select(mask, found)
        return torch.empty(found, dtype=x.handle.dtype, device="meta")

    def _note_size(self, op: str, rows: int, module: str, source: str) -> None:
        self._assumptions.note(op, "number of elements found", f"at most {rows:,}", SIZE_EFFECT, module, source)

    def _indexed(self, call: Call) -> Any:
        """``x[index]`` on meta tensors, where a boolean mask stands for the indices of its true elements."""
        index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
        on_meta: list[Any] = []
        for item in index:
            value = call.lookup(item) if isinstance(item, Tensor) else None
            if value is not None and value.handle.dtype in (torch.bool, torch.uint8):
                on_meta.extend(self._mask_indices(value))
            else:
                on_meta.append(map_tensors(item, lambda tensor: call.lookup(tensor).meta))
        whole = isinstance(call.args[1], tuple) or len(on_meta) != 1
        args = (call.lookup(call.args[0]).meta, tuple(on_meta) if whole else on_meta[0])
        return call.func(*args)

    def _mask_indices(self, mask: Value) -> list[Tensor]:
        if mask.real is not None:
            self.note_assumed("getitem", [mask])
            rows = int(mask.real.sum())
            _select(mask, rows)
        else:
            module, source = self._where()
            given = self._assumptions.size("getitem", source)
            rows = mask.handle.numel() if given is None else min(given, mask.handle.numel())
            self._note_size("getitem", rows, module, source)
        return [torch.empty(rows, dtype=torch.int64, device="meta") for _ in range(mask.handle.dim())]

    def _with_numbers_for_sizes(self, call: Call) -> Call:
        """Read the 0-d tensors that stand where sizes are expected."""

        def number(tensor: Tensor) -> Any:
            return self.number(call.lookup(tensor), call.name) if tensor.dim() == 0 else tensor

        if call.name in ("__getitem__", "__setitem__", "getitem", "setitem"):
            index = call.args[1]
            items = index if isinstance(index, tuple) else (index,)
            if next(tensors_in(items), None) is None:
                return call
            items = tuple(
                [map_tensors(item, number) if isinstance(item, slice) else self._one(call, item) for item in items]
            )
            return replace(call, args=(call.args[0], items if isinstance(index, tuple) else items[0], *call.args[2:]))
        if next(tensors_in((call.args[call.name in _SIZED :], call.kwargs)), None) is None:
            return call
        if call.name in _SIZED and call.args:
            kept = ("input", "self")
            kwargs = {key: arg if key in kept else map_tensors(arg, number) for key, arg in call.kwargs.items()}
            return replace(call, args=(call.args[0], *map_tensors(call.args[1:], number)), kwargs=kwargs)
        if call.name in self._factory_names:
            return replace(call, args=map_tensors(call.args, number), kwargs=map_tensors(call.kwargs, number))
        return call

    def _one(self, call: Call, item: Any) -> Any:
        """A 0-d index as a number: it takes one element, of the same shape whichever it is."""
        if not isinstance(item, Tensor) or item.dim() or item.dtype in (torch.bool, torch.uint8):
            return item
        real = call.lookup(item).real
        return 0 if real is None else int(real)

    def number(self, value: Value, op: str) -> Any:
        """Read the one number in a value, really or by assumption."""
        if value.real is not None:
            self.note_assumed(op, [value])
            return value.real.item()
        return self._assumptions.number(value, op, *self._where())

    def note_assumed(self, op: str, values: list[Value]) -> None:
        """Declare it where made-up input values steer something."""
        facts = dict.fromkeys(fact for value in values for fact in value.assumed)
        if facts:
            self._assumptions.note_made_up(op, facts, *self._where())


def _select(mask: Value, found: int) -> None:
    """Tell the choices that a mask comes from how many elements it selects."""
    for fact in mask.assumed:
        if isinstance(fact, Choice):
            fact.select(mask.graph_node(), mask.handle.numel(), found)


def _on_its_twin(result: Any, values: list[Value]) -> Any:
    """A tensor of the model's own that was handed through, as the meta tensor that stands for it."""
    return next((value.meta for value in values if value.handle is result), result)
