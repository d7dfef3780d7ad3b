"""The real tools, each called the way its documentation says: ``LIVE[name](model, x)``.

A tool that is not installed raises ImportError; ``pip install 'fxprof[peers]'`` installs them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Answer:
    """What a tool said; ``params`` is None where it does not count them."""

    flops: int
    params: int | None = None
    activations: int | None = None


def _torch(model: nn.Module, x: Tensor) -> Answer:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to("meta")(x.to("meta"))
    return Answer(counter.get_total_flops())


def _fvcore(model: nn.Module, x: Tensor) -> Answer:
    fvcore = import_module("fvcore.nn")

    totals = []
    for analysis in (fvcore.FlopCountAnalysis(model, x), fvcore.ActivationCountAnalysis(model, x)):
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        totals.append(int(analysis.total()))
    return Answer(totals[0], None, totals[1])


def _thop(model: nn.Module, x: Tensor) -> Answer:
    profile = import_module("thop.profile").profile

    flops, params = profile(model, (x,), verbose=False)
    return Answer(int(flops), int(params))


def _ptflops(model: nn.Module, x: Tensor) -> Answer:
    ask_aten = import_module("ptflops").get_model_complexity_info

    flops, params = ask_aten(
        model, tuple(x.shape), input_constructor=lambda _: {_first_argument(model): x}, as_strings=False,
        print_per_layer_stat=False, backend="aten", verbose=False,
    )  # fmt: skip
    return Answer(int(flops), int(params))


def _first_argument(model: nn.Module) -> str:
    """Its constructor takes keywords, or else makes a batch of 1."""
    return next(iter(inspect.signature(model.forward).parameters))


def _torchinfo(model: nn.Module, x: Tensor) -> Answer:
    summary = import_module("torchinfo").summary(model.to("meta"), input_data=x.to("meta"), verbose=0, device="meta")
    return Answer(summary.total_mult_adds, summary.total_params)


def _torchreid(model: nn.Module, x: Tensor) -> Answer:
    # Its package imports a training framework; the file on its own needs torch and NumPy.
    found = importlib.util.find_spec("torchreid")
    if found is None or not found.submodule_search_locations:
        raise ImportError("torchreid is not installed")
    [path] = Path(next(iter(found.submodule_search_locations))).rglob("model_complexity.py")
    spec = importlib.util.spec_from_file_location("torchreid_model_complexity", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    params, flops = module.compute_model_complexity(model, tuple(x.shape), only_conv_linear=False)
    return Answer(flops, params)


def _deepspeed(model: nn.Module, x: Tensor) -> Answer:
    profiler = import_module("deepspeed.profiling.flops_profiler")

    flops, _, params = profiler.get_model_profile(model, args=[x], print_profile=False, as_string=False, warm_up=0)
    return Answer(int(flops), int(params))


class _Summary(Exception):
    """Carries torchsummaryX's table out before it is handed to pandas."""


def _torchsummaryx(model: nn.Module, x: Tensor) -> Answer:
    # The released package fails on pandas 2 and later, after it has counted.
    def stop(summary: Any) -> None:
        raise _Summary(summary)

    pandas = types.ModuleType("pandas")
    pandas.DataFrame = stop  # type: ignore[attr-defined]
    with _module_in_place("pandas", pandas):
        summary = import_module("torchsummaryX").summary

        try:
            summary(model.to("meta"), x.to("meta"))
        except _Summary as found:
            rows = list(found.args[0].values())
    flops = sum(row["macs"] for row in rows if row["macs"] != "-")
    params = sum(row["params_nt"] + (row["params"] if isinstance(row["params"], int) else 0) for row in rows)
    return Answer(int(flops), int(params))


@contextlib.contextmanager
def _module_in_place(name: str, module: types.ModuleType) -> Iterator[None]:
    before = sys.modules.get(name)
    sys.modules[name] = module
    sys.modules.pop("torchsummaryX", None)
    sys.modules.pop("torchsummaryX.torchsummaryX", None)
    try:
        yield
    finally:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before


LIVE: dict[str, Callable[[nn.Module, Tensor], Answer]] = {
    "torch": _torch, "fvcore": _fvcore, "thop": _thop, "ptflops": _ptflops, "torchinfo": _torchinfo,
    "torchreid": _torchreid, "deepspeed": _deepspeed, "torchsummaryX": _torchsummaryx,
}  # fmt: skip

# These need no real weights.
ON_META = ("torch", "torchinfo", "torchsummaryX")


def installed() -> dict[str, str]:
    """The tools that are installed, with their versions."""
    found = {}
    for name in LIVE:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def ask(tool: str, model: nn.Module, x: Tensor) -> Answer:
    """What the tool says; whatever it prints is dropped."""
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        return LIVE[tool](model.eval(), x)
