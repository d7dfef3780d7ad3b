"""Title and parts -> one HTML file that fetches nothing: style, scripts, library and data are in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from fxprof.errors import InputError
from fxprof.units import grouped, short, short_bytes
from fxprof.version import __version__
from fxprof.views.html.parts import Chart, Icicle, Part, Table, Tabs
from fxprof.views.text import safe

# In this order: each may use what stands before it.
_SCRIPTS = tuple(f"static/{name}.js" for name in ("base", "table", "chart", "icicle", "start"))


def page(title: str, parts: Sequence[Part], *, subtitle: str = "", foot: Sequence[str] = ()) -> str:
    """One self-contained HTML file with these parts below each other.

    A chart or an icicle that is zoomed into a module narrows every table with ``paths`` to that module.
    ``foot`` ends the page: what the numbers mean. Every text is shown as it is, never read as markup.
    Raises InputError where jinja2 is missing.

    >>> from fxprof.views.html import Axis, Chart, Column, Series, Table
    >>> sizes, macs = [192, 224], [3_004_000_000, 4_089_184_256]
    >>> table = Table("Points", [Column("Size", sizes, "count"), Column("MACs", macs, "count")])
    >>> line = Chart("Growth", [Series("MACs", list(zip(sizes, macs)))], Axis("Size"), Axis("MACs", log=True))
    >>> page("sweep of resnet50", [line, table]).startswith("<!doctype html>")
    True
    """
    named = [(f"part-{index}", part) for index, part in enumerate(parts)]
    data = {name: each.data() for name, each in _drawn(named)}
    charts = any(isinstance(part, Chart | Icicle) for part in parts)
    library = [_text("vendor/echarts.min.js")] if charts else []
    scripts = [*library, "\n".join(map(_text, _SCRIPTS))] if data else []
    template = _environment().get_template("static/page.html.j2")
    text: str = template.render(
        title=title, subtitle=subtitle, parts=named, foot=foot, version=__version__, style=_text("static/style.css"),
        scripts=scripts, charts=charts, policy=" ".join(map(_fingerprint, scripts)) or "'none'", data=_escaped(data),
    )  # fmt: skip
    return text


def _drawn(named: Sequence[tuple[str, Part]]) -> list[tuple[str, Table | Chart | Icicle]]:
    """The parts that a script draws, by the name of their place in the page."""
    found: list[tuple[str, Table | Chart | Icicle]] = []
    for name, part in named:
        if isinstance(part, Tabs):
            found += [(f"{name}-{index}", table) for index, table in enumerate(part.tables)]
        elif isinstance(part, Table | Chart | Icicle):
            found.append((name, part))
    return found


def _escaped(data: Any) -> str:
    r"""JSON that cannot end the script element it stands in.

    >>> _escaped(["</script><!--"])
    '["\\u003c/script>\\u003c!--"]'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _fingerprint(script: str) -> str:
    """What the content security policy lists, so that the page runs these scripts and no other."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@cache
def _text(name: str) -> str:
    return files("fxprof.views.html").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> Any:
    try:
        import jinja2
    except ImportError as err:
        raise InputError("HTML needs jinja2, which is not installed: pip install 'fxprof[html]'") from err
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_printable,
    )  # fmt: skip
    environment.filters.update(grouped=grouped, short=short, short_bytes=short_bytes)
    return environment


def _printable(value: Any) -> Any:
    """Every text that the template prints and has not marked as markup of its own."""
    return safe(value) if type(value) is str else value
