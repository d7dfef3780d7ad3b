"""The package as a whole: what importing it costs, and which way its imports point."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from fxprof.version import __version__

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fxprof"

# Who may import torch when imported: the part that traces and counts, and the loader.
TORCH = (
    "fxprof.tracing", "fxprof.ops", "fxprof.binding", "fxprof.decompose", "fxprof.training", "fxprof.alternatives",
    "fxprof.routing", "fxprof.costs", "fxprof.contents", "fxprof.repeated",
    "fxprof.analysis", "fxprof.observed", "fxprof.modes", "fxprof.timing", "fxprof.complexity", "fxprof.doubling",
    "fxprof.checkpoint", "fxprof.checkpoint_tools",
)  # fmt: skip
# Lowest first: a module imports from its own layer or a lower one.
LAYERS = (
    (
        "fxprof.errors", "fxprof.units", "fxprof.version", "fxprof.progress", "fxprof.garbage", "fxprof.frozen",
        "fxprof.interrupts", "fxprof.replacing", "fxprof.shown", "fxprof.views.text",
    ),
    ("fxprof.records", "fxprof.tree", "fxprof.saved", "fxprof.liveness", "fxprof.exports"),
    ("fxprof.checkpoint.plan", "fxprof.checkpoint.names"),
    ("fxprof.report",),
    (
        "fxprof.rules", "fxprof.conventions", "fxprof.dataflow", "fxprof.measures", "fxprof.budget", "fxprof.compare",
        "fxprof.sweep", "fxprof.resize", "fxprof.growth", "fxprof.views",
    ),
    ("fxprof.ops", "fxprof.binding", "fxprof.decompose", "fxprof.tracing", "fxprof.zoo", "fxprof.checkpoint"),
    ("fxprof.training", "fxprof.alternatives", "fxprof.routing", "fxprof.observed", "fxprof.modes", "fxprof.timing"),
    ("fxprof.costs", "fxprof.contents", "fxprof.repeated"),
    ("fxprof.analysis",),
    ("fxprof.complexity", "fxprof.doubling"),
    ("fxprof.cli", "fxprof.commands", "fxprof.checkpoint_tools", "fxprof.pytest_plugin"),
    ("fxprof.__main__",),
)  # fmt: skip


def module_name(path: Path) -> str:
    """fxprof/views/table.py -> fxprof.views.table."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Modules imported when the file is: not inside functions, not for type checkers only."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else node.module for name in names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of these or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def layer(name: str) -> int:
    """Index of a module's layer."""
    return next(i for i, packages in enumerate(LAYERS) if within(name, packages))


def check_runs(code: str) -> None:
    """Run code in a fresh interpreter at the root of the checkout."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_only_the_tracing_side_imports_torch(name: str) -> None:
    """Everything below and beside the tracer works without torch."""
    heavy = {found for found in imports(MODULES[name]) if found.split(".")[0] in ("torch", "torchvision")}
    assert not heavy or within(name, TORCH)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "fxprof"])
def test_imports_point_downward(name: str) -> None:
    """No module imports from a layer above its own."""
    above = [found for found in imports(MODULES[name]) if found in MODULES and found != "fxprof"]
    assert [found for found in above if layer(found) > layer(name)] == []


def test_no_import_cycles() -> None:
    """The modules can be put in an order in which each imports earlier ones only."""
    graph = {name: imports(path) & MODULES.keys() - {"fxprof"} for name, path in MODULES.items() if name != "fxprof"}
    assert tuple(TopologicalSorter(graph).static_order())


def test_nothing_imports_torchvision_when_imported() -> None:
    """A torchvision that does not load must not break anything but its own models."""
    found = [name for name, path in MODULES.items() if any(i.startswith("torchvision") for i in imports(path))]
    assert found == []


@pytest.mark.parametrize(
    "module", ["fxprof", "fxprof.cli", "fxprof.zoo", "fxprof.report", "fxprof.views.table", "fxprof.pytest_plugin"]
)
def test_import_without_torch(module: str) -> None:
    """Importing the package, the command line or a view does not import torch."""
    check_runs(f"import {module}, sys; assert not {{'torch', 'torchvision', 'numpy'}} & set(sys.modules)")


def test_help_without_torch() -> None:
    """``fxprof --help`` and ``--version`` answer before torch would have loaded."""
    check_runs(
        "import sys; from fxprof.cli import main;"
        "assert main(['--help']) == main(['report', '--help']) == main(['--version']) == 0;"
        "assert 'torch' not in sys.modules"
    )


def test_version_has_a_changelog_section() -> None:
    """The package's version is the changelog's latest release, below [Unreleased]."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


def test_pyproject_reads_the_version_and_names_the_command() -> None:
    """The version is stated once, in fxprof/version.py, and ``fxprof`` runs what ``python -m fxprof`` does."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in text
    assert 'path = "fxprof/version.py"' in text
    assert 'fxprof = "fxprof.__main__:run"' in text


def test_ci_runs_the_readmes_test_command() -> None:
    """The pattern by which .ci/run finds the command matches exactly one line of the README."""
    pattern = re.search(r"grep -m1 -E '(.+)' README.md", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert pattern is not None
    commands = re.findall(pattern[1], (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert commands == ["pip install -e '.[test]' && python -m pytest"]
