"""Why a tool does not see an op: one name per reason, the same for every tool."""

from __future__ import annotations

from collections.abc import Container

from fxprof.conventions.parts import (
    ATTENTION_MISSED,
    ATTENTION_OPS,
    CLASS_MISSED,
    FUNCTIONAL_MISSED,
    MATMUL_MISSED,
    MATMUL_OPS,
    OPS_MISSED,
    RECURRENT_MISSED,
    RECURRENT_OPS,
    native,
)
from fxprof.report import ModuleInfo, OpProfile, Report


class Missed:
    """Names the reason for an op of one report."""

    def __init__(self, report: Report) -> None:
        self._infos = {info.path: info for info in report.modules}
        self.parameters = {entry.name for entry in report.state if entry.kind == "parameter"}

    def inside(self, op: OpProfile, classes: Container[str]) -> bool:
        """Whether the op runs in a module of one of torch's own classes."""
        info = self._infos.get(op.module)
        return info is not None and native(info) in classes

    def keeps(self, op: OpProfile) -> bool:
        """Whether the op is a function that its module keeps from when it was made."""
        info = self._infos.get(op.module)
        return info is not None and any(value == op.called for _, value in info.attributes)

    def by_a_table_of_modules(self, op: OpProfile) -> str:
        """Why no hook on a known class of layer saw the op."""
        if (reason := self.by_a_table_of_ops(op)) != OPS_MISSED:
            return reason
        info = self._infos.get(op.module, ModuleInfo("", ""))
        own = any(arg.rpartition(".")[0] == info.path for arg in op.args if arg in self.parameters)
        of_torch = any(base.startswith("torch.nn.modules.") for base in info.bases)
        return CLASS_MISSED if own and of_torch and info.leaf and info.calls else FUNCTIONAL_MISSED

    def by_a_table_of_ops(self, op: OpProfile) -> str:
        """Why a tool that sees every op has no number for this one."""
        if op.op in ATTENTION_OPS:
            return ATTENTION_MISSED
        if op.op in RECURRENT_OPS:
            return RECURRENT_MISSED
        if op.op in MATMUL_OPS and not any(arg in self.parameters for arg in op.args):
            return MATMUL_MISSED
        return OPS_MISSED
