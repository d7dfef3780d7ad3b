"""Symbolic tracing with shapes: one forward on abstract values, recorded as a graph in torch.fx's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from threading import RLock
from traceback import walk_tb
from typing import Any

import torch
from torch import fx, nn

from fxprof.errors import FxprofError, InputError, TraceError, check_named
from fxprof.report import Bound, InputProfile
from fxprof.tracing.bounds import Assumptions
from fxprof.tracing.calls import NeedsIntegers
from fxprof.tracing.graph import Graph, ModuleCall, Node
from fxprof.tracing.inputs import GivenShape, InputReader, bind
from fxprof.tracing.inventory import Inventory
from fxprof.tracing.nodes import HiddenCall
from fxprof.tracing.outputs import output_argument
from fxprof.tracing.tracer import Tracer
from fxprof.tracing.untouched import untouched
from fxprof.tracing.unwrap import unwrap
from fxprof.views.text import listed

# Two traces of one model would take each other's changes for the model's own.
_ONE_AT_A_TIME = RLock()
_TRACERS = ("/export/", "/jit/_trace.py")
_ATTEMPTS = 16  # how many branches on data may turn out to be the wrong guess


@dataclass(frozen=True)
class Trace:
    """One recorded forward: the graph, and the calls of modules in the order in which they began."""

    model: Inventory
    graph: Graph
    inputs: tuple[InputProfile, ...]
    calls: Sequence[ModuleCall]
    attributes: Mapping[str, Any]
    bounds: tuple[Bound, ...]
    by_chance: bool  # whether random numbers were drawn, which another time are others


def trace(
    model: nn.Module | torch.export.ExportedProgram,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
) -> fx.GraphModule:
    """Trace ``model`` into an executable GraphModule whose nodes carry shapes.

    Args:
        model: any nn.Module, or a DataParallel, compiled or exported one; left untouched.
        *inputs: per positional argument a shape, TensorSpec, tensor, plain value, or a nesting of them.
        kwargs: the same for keyword arguments.
        bounds: values to assume where data decides, by op name or ``"file.py:line"``.

    Returns:
        A GraphModule that computes what the model computes for inputs of these shapes.

    Raises:
        InputError: the model or an input is not what it must be.
        TraceError: forward failed; the message says where.
    """
    check_named("kwargs", kwargs, "forward's arguments by name")
    traced = record(Inventory(unwrap(model)), inputs, kwargs, bounds)
    module = fx.GraphModule(dict(traced.attributes), traced.graph.as_fx(), type(traced.model.model).__name__)
    return module.train(traced.model.model.training)


def record(
    inventory: Inventory,
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
    *,
    training: bool = False,
) -> Trace:
    """Trace and keep what was seen.

    A wrong guess at a branch on data is turned around and tried again, and choices that turn out to be
    followed in part are left open in a second attempt.

    With ``training``, gradients are enabled during forward, as in training.
    """
    kwargs = kwargs or {}
    _check_lazy(inventory)
    names = bind(inventory.model, inputs, kwargs)
    assumptions = Assumptions(bounds)
    see_dispatch = any(isinstance(module, torch.jit.ScriptModule) for module in inventory.paths)
    transformed = eager = False
    first: TraceError | None = None
    for attempt in range(_ATTEMPTS):
        assumptions.reset()
        try:
            with torch.compiler.set_stance("force_eager") if eager else nullcontext():
                traced = _attempt(inventory, names, inputs, kwargs, assumptions, see_dispatch, transformed, training)
            if attempt == _ATTEMPTS - 1 or not assumptions.choices.found_partial():
                assumptions.check_given()
                return traced
        except HiddenCall as hidden:  # which is raised no more after this
            if hidden.compiled:
                eager = True
            else:
                see_dispatch, transformed = True, hidden.transformed
        except TraceError as err:
            first = first or err  # what the likeliest path ran into, not what the turns away from it did
            if attempt == _ATTEMPTS - 1 or not assumptions.flip_last():
                raise first  # noqa: B904 - the later ones are not its cause
    raise TraceError(
        f"{type(inventory.model).__name__}.forward makes tensors that neither a torch function nor the dispatcher sees"
    )


def _attempt(
    model: Inventory, names: list[str], inputs: tuple[Any, ...], kwargs: Mapping[str, Any], assumptions: Assumptions,
    see_dispatch: bool, transformed: bool, training: bool,
) -> Trace:  # fmt: skip
    first = next(model.tensors, None)
    device = torch.device("cpu") if first is None or first.is_meta else first.device
    with _ONE_AT_A_TIME, untouched(model.paths.keys()) as process, torch.set_grad_enabled(training):
        tracer = Tracer(model, assumptions, device, see_dispatch=see_dispatch, differentiates=transformed)
        reader = InputReader(tracer, _floating_dtype(model), model.model)
        args = [reader.read(name, value) for name, value in zip(names, inputs)]
        named = {name: reader.read(name, value) for name, value in kwargs.items()}
        try:
            result = tracer.run(tuple(args), named)
        except NeedsIntegers as err:
            raise _wants_integers(err, reader) from err
        except (FxprofError, HiddenCall):
            raise
        except RecursionError as err:
            raise TraceError(f"{type(model).__name__}.forward recurses too deeply to be traced: {err}") from err
        except Exception as err:
            if tracer.nodes.missed is not None:
                raise tracer.nodes.missed from err
            if type(err).__module__ == "torch._dynamo.exc" and _compiles():
                raise HiddenCall(compiled=True) from err
            raise _on_another_thread(tracer) or _failed(tracer, err) from err
        if (refused := _on_another_thread(tracer)) is not None:
            raise refused
        if tracer.nodes.missed is not None:
            raise tracer.nodes.missed
        tracer.nodes.output(output_argument(tracer, result))
        for name, (node, tensor) in tracer.nodes.sparse.items():
            assumptions.note_sparse(name, tensor, node.call.path, node.source)
        tracer.values.forget()
    nodes, calls = tracer.nodes, tracer.modules.calls
    return Trace(model, nodes.graph, tuple(reader.profiles), calls, nodes.attributes, assumptions.bounds, process.drew)


def _compiles() -> bool:
    """Whether torch.compile is on, and can be told to run what it is given as it is written."""
    if not hasattr(torch.compiler, "set_stance"):  # before torch 2.6
        return False
    return bool(torch._dynamo.eval_frame._stance.stance == "default")


def _floating_dtype(model: Inventory) -> torch.dtype:
    for tensor in model.tensors:
        if tensor.dtype.is_floating_point and tensor.dtype.itemsize > 1:
            return tensor.dtype
    return torch.get_default_dtype()


def _check_lazy(model: Inventory) -> None:
    others = [(name, p) for name, p in model.parameters.items() if type(p) is not nn.Parameter]
    lazy = [name for name, p in others if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise InputError(
            f"every parameter must have a shape, but {lazy[0]!r} is a lazy one ({len(lazy)} in all); "
            "call the model once on a real input first"
        )


def _wants_integers(err: NeedsIntegers, reader: InputReader) -> FxprofError:
    """Name the input that should have been integers, by following the graph back to it."""
    seen: set[Node] = set()
    pending = [err.value.graph_node()]
    given: GivenShape | None = None
    while pending and given is None:
        node = pending.pop(0)
        if node not in seen:
            seen.add(node)
            given = reader.shapes.get(node)
            pending.extend(node.all_input_nodes)
    where = f" in {err.module}" if err.module else ""
    if given is None:
        got = f"{err.value.handle.dtype} tensor of shape {tuple(err.value.handle.shape)}"
        return TraceError(f"{err.op}{where} needs integers, but got a {got}")
    sizes = ",".join(map(str, given.shape))
    option = given.name.replace("['", ".").replace("']", "")  # as the command line names what is in a dict
    return InputError(
        f"input {given.name!r} was given as the shape {given.shape}, so it is a floating tensor, but {err.op}{where} "
        f"needs integers; write fxprof.TensorSpec({given.shape}, torch.int64), or on the command line "
        f"--input {option}={sizes}:int64"
    )


def _on_another_thread(tracer: Tracer) -> TraceError | None:
    """What to raise where forward called a module on a thread of its own: nothing is recorded there."""
    if (path := tracer.modules.elsewhere) is None:
        return None
    return TraceError(
        f"forward must call modules on the thread that it runs on, but {path or 'the model'} was called on one that "
        "began meanwhile, where nothing is recorded; call them one after another to analyze the model"
    )


def _failed(tracer: Tracer, err: Exception) -> TraceError:
    """Forward raised: which module, which line of the model's code, and what was said."""
    frame = tracer.modules.failed_in
    kind = (type(tracer._model) if frame is None or frame.kind is None else frame.kind).__name__
    place = f"{frame.path} ({kind})" if frame and frame.path else kind
    text = _first_lines(str(err))
    said = f"{type(err).__name__}{': ' if text else ''}{text}{_line_of(err)}"
    advice = ""
    if "NestedTensor" in said or "NestedInt" in said or _passes(err, torch.nested.__path__[0] + "/"):
        advice = "; nested tensors cannot be traced, because their rows have shapes of their own: pad them"
    exported = isinstance(tracer._model, fx.GraphModule)  # which checks its inputs in code of torch.export's
    if not exported and any(_passes(err, torch.__path__[0] + part) for part in _TRACERS):
        advice = "; what forward traces by itself cannot be traced again: do that before forward"
    if (function := tracer.functions.failed) is not None:
        advice = (
            f"; {function} may need real data: teach what it costs and returns with "
            f"fxprof.rule({function!r}, shape=...)"
        )
    got = listed(("x".join(map(str, tensor.shape)) or "scalar" for tensor in frame.inputs), 4) if frame else ""
    given = f", given {got}" if got else ""
    return TraceError(f"forward must run on the given inputs, but {place} raised {said}{given}{advice}")


def _line_of(err: Exception) -> str:
    """The innermost line of the traceback that is not in torch or fxprof."""
    library = (torch.__path__[0] + "/", __file__.rpartition("/")[0].rpartition("/")[0] + "/")
    found = ""
    trace_back = err.__traceback__
    while trace_back is not None:
        filename = trace_back.tb_frame.f_code.co_filename
        if not filename.startswith(library) and not filename.startswith("<frozen"):
            found = f" (at {filename}:{trace_back.tb_lineno})"
        trace_back = trace_back.tb_next
    return found


def _passes(err: Exception, folder: str) -> bool:
    """Whether the traceback goes through code of a folder."""
    return any(frame.f_code.co_filename.startswith(folder) for frame, _ in walk_tb(err.__traceback__))


def _first_lines(message: str, limit: int = 400) -> str:
    text = " ".join(message.split())
    return text if len(text) <= limit else text[:limit] + "…"
