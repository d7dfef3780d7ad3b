"""``package.module:callable`` and ``path/to/file.py:callable``: the user's own models."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError
from fxprof.zoo.common import Built, close, first_line

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def search_path(spec: str) -> Iterator[None]:
    """Let user code import what lies beside it: the working directory, and the file's own folder."""
    path, _, _ = spec.rpartition(":")
    folders = [str(Path(path).resolve().parent)] if path.endswith(".py") else []
    before = list(sys.path)
    sys.path[:0] = [*folders, os.getcwd()]  # noqa: PTH109 - a string, as the import system wants it
    try:
        yield
    finally:
        sys.path[:] = before


def build(spec: str, options: Mapping[str, Any]) -> Built:
    """Import and call what the string names; the callable decides where its weights are."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute:
        raise InputError(
            f"a MODEL with a colon must be package.module:callable or path/to/file.py:callable, got {spec!r}"
        )
    with search_path(spec):
        found = _attribute(_user_module(place, spec), attribute, spec)
        return Built(spec, _as_module(found, spec, options))


def _user_module(place: str, spec: str) -> ModuleType:
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise InputError(f"no file {place!r} (from MODEL {spec!r})")
        # A name of its own: a file called random.py must not replace the module of that name.
        name = f"fxprof_model_{Path(place).stem}"
        found = importlib.util.spec_from_file_location(name, place)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module  # dataclasses and pickle look it up there
        run(lambda: found.loader.exec_module(module), spec)  # type: ignore[union-attr]
        return module
    try:
        missing = importlib.util.find_spec(place) is None
    except (ImportError, ValueError):
        missing = True
    if missing:
        raise InputError(f"no module {place!r} in the working directory or among the installed packages")
    imported: ModuleType = run(lambda: importlib.import_module(place), spec)
    return imported


def _attribute(module: ModuleType, dotted: str, spec: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        if not hasattr(found, part):
            public = [name for name in dir(found) if not name.startswith("_")]
            raise InputError(f"{spec.rpartition(':')[0]!r} has no {dotted!r}{close(part, public)}")
        found = getattr(found, part)
    return found


def _as_module(found: Any, spec: str, options: Mapping[str, Any]) -> nn.Module:
    from torch import nn

    if isinstance(found, nn.Module):
        if options:
            raise InputError(f"{spec} is a model already and takes no {', '.join(options)}; name what builds it")
        return found
    if not callable(found):
        raise InputError(f"{spec} must be a callable or an nn.Module, got {type(found).__name__}")
    model = run(partial(found, **options), called(spec, options))
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} must return an nn.Module, got {type(model).__name__}")
    return model


def called(spec: str, options: Mapping[str, Any]) -> str:
    """The name of a model and what it is built with."""
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"{spec} with {given}" if given else spec


def run(call: Callable[[], Any], spec: str) -> Any:
    """Call user code; what it raises becomes one sentence that names the line."""
    try:
        return call()
    except (Exception, SystemExit) as err:
        raise InputError(f"{spec} failed: {type(err).__name__}: {first_line(err)}{_where(err)}") from err


def _where(err: BaseException) -> str:
    """The innermost line outside installed packages, or the line that does not parse."""
    if isinstance(err, SyntaxError) and err.filename:
        return f" ({err.filename}, line {err.lineno})"
    frames = [frame for frame in traceback.extract_tb(err.__traceback__) if _is_users(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_users(filename: str) -> bool:
    library = ("site-packages", "dist-packages")
    return (
        not filename.startswith("<")
        and Path(__file__).parent not in Path(filename).parents
        and not any(part in library for part in Path(filename).parts)
        and not filename.startswith(str(Path(importlib.__file__).parent))
    )
