"""Import the class or factory of a user's own model, from a module or a file, and make an object of it."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mil_heatmaps.errors import HeatmapError, ModelError
from mil_heatmaps.words import kind_and_text

ANYTHING = (Exception, SystemExit)
"""Exceptions of the user's code that do not end the run: sys.exit in a script must not end it either."""


def import_class(model_class: str) -> type:
    """Return the class that ``package.module:Class`` or ``path/to/file.py:Class`` names.

    Raises
    ------
    ModelError
        The name is malformed or not importable, or there is no such class; the message lists the classes there are.
    """
    found = _import_named(model_class, "model_class", "Class", inspect.isclass)
    assert isinstance(found, type)
    return found


def _import_named(named: str, key: str, noun: str, fits: Callable[[Any], bool]) -> Any:
    """Return the user's class or factory that ``package.module:name`` or ``path/to/file.py:name`` names."""
    where, _, name = named.rpartition(":")
    if not where or not name.isidentifier():
        raise ModelError(f"{key} {named!r} must read package.module:{noun} or path/to/file.py:{noun}")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found = getattr(module, name, None)
    if not fits(found):
        there = [other for other, value in vars(module).items() if fits(value) and not other.startswith("_")]
        raise ModelError(f"{where} has no {noun.lower()} {name!r}; it has {', '.join(there) or 'none'}")
    return found


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"{name!r} is not the name of a Python module, as in package.module")
    try:
        return importlib.import_module(name)
    except ANYTHING as error:  # the user's own code runs here and may raise anything
        raise ModelError(
            f"cannot import {name} ({kind_and_text(error)}): install it, put its folder on "
            "PYTHONPATH, or name the file, path/to/file.py:Class"
        ) from error


def _import_file(path: Path) -> ModuleType:
    name = f"own_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModelError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module while it is being imported
    try:
        spec.loader.exec_module(module)
    except ANYTHING as error:  # as above
        raise ModelError(f"cannot import {path} ({kind_and_text(error)})") from error
    return module


def construct(model_class: str, init_args: Mapping[str, Any] | None = None) -> Any:
    """Return an object of the class that `import_class` finds, constructed with these keyword arguments.

    Raises
    ------
    ModelError
        The class cannot be imported or constructed.
    """
    return _called(import_class(model_class), model_class, init_args or {})


def make_own(factory: str, init_args: Mapping[str, Any] | None = None, *, key: str) -> Any:
    """Return the result of the user's factory, a function or class that `key` of a config names; see `construct`.

    None for `init_args`: the config has none to give.
    """
    return _called(_import_named(factory, key, "factory", callable), factory, init_args)


def _called(made: Callable[..., Any], named: str, init_args: Mapping[str, Any] | None) -> Any:
    try:
        return made(**dict(init_args or {}))
    except HeatmapError:
        raise
    except ANYTHING as error:  # the user's constructor
        hint = "" if init_args is None else f"; its arguments are init_args: {inspect.signature(made)}"
        raise ModelError(
            f"{named}({', '.join(f'{k}={v!r}' for k, v in (init_args or {}).items())}) failed with "
            f"{kind_and_text(error)}{hint}"
        ) from error
