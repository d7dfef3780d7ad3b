"""``package.module:callable`` and ``path/to/file.py:callable``: the user's own models."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fxprof.errors import InputError
from fxprof.views.text import listed
from fxprof.zoo.common import Built, close, first_line

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def surroundings(spec: str) -> Iterator[None]:
    """What user code finds while it runs: what it imports by, arguments of its own, and stderr to print on.

    It can import what lies beside it: the file's own folder or that of its package, the working directory, and ``src``
    there. What it prints must not end up in a report that is printed, nor this program's arguments in its parser.
    """
    place, _, _ = spec.partition("?")[0].rpartition(":")
    folders = [Path(), Path("src")]
    if place.endswith(".py"):
        folders.insert(0, _home(Path(place))[0])
    before = list(sys.path), sys.argv
    sys.path[:0] = [str(folder.resolve()) for folder in folders if folder.is_dir()]
    sys.argv = [place]
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:], sys.argv = before


def build(spec: str, options: Mapping[str, Any]) -> Built:
    """Import and call what the string names; the callable decides where its weights are."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute or place.endswith(":"):
        raise InputError(
            f"a MODEL with a colon must be package.module:callable or path/to/file.py:callable, got {spec!r}"
        )
    with surroundings(spec):
        found = _attribute(_user_module(place, spec), attribute, spec)
        return Built(spec, _as_module(found, spec, options))


def file_alone(place: str) -> InputError:
    """What to say of a file without the callable in it."""
    if not Path(place).is_file():
        return InputError(f"no file {place!r}")
    try:
        body = ast.parse(Path(place).read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        body = []
    kinds = (ast.ClassDef, ast.FunctionDef)
    defined = [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]
    said = f"; it defines {listed(defined)}" if defined else ""
    return InputError(f"{place!r} must be followed by what builds the model, as in {place}:callable{said}")


def _user_module(place: str, spec: str) -> ModuleType:
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise InputError(f"no file {place!r} (from MODEL {spec!r})")
        _, dotted = _home(Path(place))
        if dotted:
            return _in_package(dotted, place, spec)
        # A name of its own: a file called random.py must not replace the module of that name.
        name = f"fxprof_model_{Path(place).stem}"
        found = importlib.util.spec_from_file_location(name, place)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.modules[name] = module  # dataclasses and pickle look it up there
        run(lambda: found.loader.exec_module(module), spec)  # type: ignore[union-attr]
        return module
    return _imported(place, spec)


def _imported(place: str, spec: str) -> ModuleType:
    # One package after the other: looking for a module runs the packages that it is in.
    for name in accumulate(place.split("."), "{}.{}".format):
        try:
            missing = importlib.util.find_spec(name) is None
        except (ImportError, ValueError):  # what it should be in is no package, or it is no name
            missing = True
        if missing:
            raise InputError(
                f"no module {place!r} in the working directory, its src folder or among the installed packages"
            )
        run(partial(importlib.import_module, name), spec)
    return sys.modules[place]


def _in_package(dotted: str, place: str, spec: str) -> ModuleType:
    module = _imported(dotted, spec)
    if module.__file__ is None or not Path(module.__file__).samefile(place):
        raise InputError(
            f"{place!r} must be imported as {dotted}, as it imports by dots, and another module is called so"
        )
    return module


def _home(file: Path) -> tuple[Path, str]:
    """The folder that a file's imports start from; its dotted name from there where it imports by dots, else "".

    That folder is the one above the packages the file lies in, whether or not they have an ``__init__.py``.
    """
    file = file.resolve()
    levels = _levels(file)
    home, names = file.parent, [file.stem]
    while levels and (len(names) <= levels or (home / "__init__.py").is_file()):
        names.insert(0, home.name)
        home = home.parent
    return home, ".".join(names).removesuffix(".__init__") if levels else ""


def _levels(file: Path) -> int:
    """The most dots that an import in a file begins with; 0 where the file cannot be parsed, which running it tells."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return 0
    return max((node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0)


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
    try:
        model = run(partial(found, **options), called(spec, options))
    except InputError as err:
        raise InputError(f"{err}{_how_to_call(found, spec, options)}") from err
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} must return an nn.Module, got {type(model).__name__}")
    return model


def _how_to_call(found: Callable[..., Any], spec: str, options: Mapping[str, Any]) -> str:
    """What to do where an argument is missing or not taken; nothing where it failed for another reason."""
    try:
        inspect.signature(found).bind(**options)
    except TypeError:
        return (
            f"; arguments stand behind it, as in '{spec.partition('?')[0]}?name=value', and a function of your own can "
            "give it any others"
        )
    except ValueError:  # compiled code without a signature
        pass
    return ""


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
        and not filename.startswith(str(Path(importlib.__file__).parents[1]))  # Python's own
    )
