"""The layer listing: one row per call of a module without children, in the columns of torchsummaryX.

The mult-adds are torchsummaryX's: weights times spatial positions of one sample, no bias. A layer that is
called again has ``(recursive)`` for its parameters, and its mult-adds again.
"""

from __future__ import annotations

from dataclasses import dataclass

from fxprof.conventions.hooks import Layer, leaves
from fxprof.conventions.torchsummaryx import mult_adds
from fxprof.garbage import no_garbage_collection
from fxprof.report import Report, Shape
from fxprof.units import grouped
from fxprof.views.grid import DIM, plain, prose, table
from fxprof.views.listing import Column

RECURSIVE = "(recursive)"


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One call of a layer. ``params`` is None where it was listed before; a kernel is () where there is none."""

    index: int
    layer: str
    kernel: Shape
    output: Shape
    params: int | None
    mult_adds: int

    @property
    def name(self) -> str:
        """Index and path, such as ``4_layer1.0.Conv2d_conv1``."""
        return f"{self.index}_{self.layer}"


def layers(report: Report) -> list[LayerRow]:
    """The rows, in call order."""
    seen: set[str] = set()
    found = []
    for index, layer in enumerate(leaves(report)):
        params = None if layer.info.first in seen and layer.params else layer.params
        seen.add(layer.info.first)
        found.append(LayerRow(index, _name(layer, report), _kernel(layer), layer.y, params, mult_adds(layer)))
    return found


def _name(layer: Layer, report: Report) -> str:
    """The path; below the top level the last part carries the class: ``layer1.0.Conv2d_conv1``."""
    parent, dot, name = layer.call.path.rpartition(".")
    return f"{parent}.{layer.info.type}_{name}" if dot else name or report.name


def _kernel(layer: Layer) -> Shape:
    """The weight's shape, inputs before outputs."""
    shape = layer.weight() or ()
    return (shape[1], shape[0], *shape[2:]) if len(shape) > 1 else shape


_COLUMNS = [
    Column("Layer", name=True), Column("Kernel Shape", spare=1), Column("Output Shape", spare=2),
    Column("Params", right=True), Column("Mult-Adds", right=True),
]  # fmt: skip


@no_garbage_collection()
def render(report: Report, width: int | None = None, colour: bool = False) -> str:
    """The listing and its totals."""
    cells = [
        (row.name, _shape(row.kernel), _shape(row.output), _params(row), _count(row.mult_adds))
        for row in layers(report)
    ]  # fmt: skip
    note = "\n".join(prose([_NOTE], width, DIM, on=colour))
    return "\n\n".join([table(_COLUMNS, cells, width=width, colour=colour), _totals(report), note])


_NOTE = "Mult-Adds as torchsummaryX counts them: of one sample, without bias; --by module has fxprof's own."


def _shape(shape: Shape) -> str:
    return str(list(shape)) if shape else "-"


def _params(row: LayerRow) -> str:
    return RECURSIVE if row.params is None else _count(row.params)


def _count(number: int) -> str:
    return grouped(number) if number else "-"


def _totals(report: Report) -> str:
    lines = [
        ("Total params", grouped(report.params)),
        ("Trainable params", grouped(report.trainable_params)),
        ("Non-trainable params", grouped(report.params - report.trainable_params)),
        ("Mult-Adds", grouped(sum(row.mult_adds for row in layers(report)))),
    ]
    return plain(lines, rights=(1,))
