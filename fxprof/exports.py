"""What a Report can be asked to become: other tools' numbers, tables, graphs, pages. Each is a function elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import networkx as nx
    import pandas

    from fxprof.conventions import Count
    from fxprof.conventions.difference import Difference
    from fxprof.records import OpProfile
    from fxprof.report import Report


class Exports:
    """Methods of a Report, which alone derives from this; what they call is imported when they are."""

    __slots__ = ()

    def count(self, convention: str) -> Count:
        """What another tool would print, as ``report.count("thop").flops``; ``fxprof.conventions()`` lists them."""
        from fxprof.conventions import count

        return count(_report(self), convention)

    def explain(self, convention: str, base: str = "macs") -> Difference:
        """Why another tool's number differs from fxprof's MACs (or from ``base``): causes that add up exactly."""
        from fxprof.conventions.difference import explain

        return explain(_report(self), convention, base)

    def to_csv(self, **listing: Any) -> str:
        """A listing as CSV, every digit of it; keywords ``by``, ``depth``, ``top``, ``sort`` as on the command line."""
        from fxprof.views.frame import to_csv

        return to_csv(_report(self), **listing)

    def to_pandas(self, **listing: Any) -> pandas.DataFrame:
        """The same as a DataFrame; raises InputError where pandas is not installed."""
        from fxprof.views.frame import to_pandas

        return to_pandas(_report(self), **listing)

    def to_markdown(self, **listing: Any) -> str:
        """A listing with totals and notes as Markdown, for a pull request; keywords as ``to_csv``."""
        from fxprof.views.markdown import render

        return render(_report(self), **listing)

    def to_latex(self, **listing: Any) -> str:
        """A listing as a LaTeX table with the rules of booktabs, for a paper; keywords as ``to_csv``."""
        from fxprof.views.latex import render

        return render(_report(self), **listing)

    def to_html(self) -> str:
        """One HTML file that opens offline. Raises InputError where jinja2, of ``fxprof[html]``, is missing."""
        from fxprof.views.html import render

        return render(_report(self))

    def to_networkx(self) -> nx.DiGraph[str]:
        """The dataflow: inputs and ops with their shapes, cost and module, edges with what they carry."""
        from fxprof.views.graph import to_networkx

        return to_networkx(_report(self))

    def critical_path(self) -> tuple[OpProfile, ...]:
        """The chain of ops, each reading the one before, that holds the most MACs."""
        from fxprof.dataflow import critical_path

        return critical_path(_report(self))

    def to_dot(self, by: str = "module", depth: int | None = None) -> str:
        """The dataflow for Graphviz: the modules at a depth, or every op with ``by="node"``."""
        from fxprof.views.dot import to_dot

        return to_dot(_report(self), by=by, depth=depth)

    def to_mermaid(self, by: str = "module", depth: int | None = None) -> str:
        """The dataflow as a Mermaid flowchart, for Markdown; options as ``to_dot``."""
        from fxprof.views.dot import to_mermaid

        return to_mermaid(_report(self), by=by, depth=depth)

    def to_speedscope(self) -> str:
        """MACs, FLOPs and bytes by module path as a flame graph, in the JSON of speedscope.app."""
        from fxprof.views.stacks import to_speedscope

        return to_speedscope(_report(self))

    def to_folded(self) -> str:
        """MACs by module path as folded stacks, for flame graph tools."""
        from fxprof.views.stacks import to_folded

        return to_folded(_report(self))


def _report(exports: Exports) -> Report:
    return cast("Report", exports)
