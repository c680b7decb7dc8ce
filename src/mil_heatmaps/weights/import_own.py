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
"""What code of the user's may raise without ending the run: a script's sys.exit is not a wish of the user's here."""


def import_class(model_class: str) -> type:
    """Return the class that ``package.module:Class`` or ``path/to/file.py:Class`` names.

    Raises
    ------
    ModelError
        Badly written, not importable, or no such class, with what there is.
    """
    found = _import_named(model_class, "model_class", "Class", inspect.isclass)
    assert isinstance(found, type)
    return found


def _import_named(
    named: str, key: str, noun: str, fits: Callable[[Any], bool], lacking: str = "{noun} {name!r}"
) -> Any:
    """Return the class or factory of the user's that ``package.module:name`` or ``path/to/file.py:name`` names.

    `lacking` is how a message calls what is not there.
    """
    where, _, name = named.rpartition(":")
    if not where or not name.isidentifier():
        raise ModelError(f"{key} {named!r} must read package.module:{noun} or path/to/file.py:{noun}")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found = getattr(module, name, None)
    if not fits(found):
        there = [other for other, value in vars(module).items() if fits(value) and not other.startswith("_")]
        what = lacking.format(noun=noun.lower(), name=name)
        raise ModelError(f"{where} has no {what}; it has {', '.join(there) or 'none'}")
    return found


def import_object(name: str, key: str) -> Any:
    """Return what ``package.module:name`` or ``path/to/file.py:name`` names, such as a factory; `key` is for messages.

    Raises
    ------
    ModelError
        Badly written, not importable, or nothing of that name, with what there is.
    """
    return _import_named(name, key, "factory", callable, lacking="{name!r} to call")


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
    sys.modules[name] = module  # dataclasses look their module up while it is being imported
    try:
        spec.loader.exec_module(module)
    except ANYTHING as error:  # as above
        raise ModelError(f"cannot import {path} ({kind_and_text(error)})") from error
    return module


def construct(model_class: str, init_args: Mapping[str, Any] | None = None) -> Any:
    """Return an object of the class that `import_class` finds, made with these keyword arguments.

    Raises
    ------
    ModelError
        The class cannot be imported or made.
    """
    return _called(import_class(model_class), model_class, init_args)


def make_own(factory: str, init_args: Mapping[str, Any] | None = None, *, key: str) -> Any:
    """Return what the user's factory, a function or class named by a config's `key`, gives; see `construct`."""
    return _called(_import_named(factory, key, "factory", callable), factory, init_args)


def _called(made: Callable[..., Any], named: str, init_args: Mapping[str, Any] | None) -> Any:
    try:
        return made(**dict(init_args or {}))
    except HeatmapError:
        raise
    except ANYTHING as error:  # the user's constructor
        raise ModelError(
            f"{named}({', '.join(f'{k}={v!r}' for k, v in (init_args or {}).items())}) failed with "
            f"{kind_and_text(error)}; its arguments are init_args: {inspect.signature(made)}"
        ) from error
