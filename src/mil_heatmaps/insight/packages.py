"""The packages of the extra `insight`, imported on first use; an error names the line that installs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mil_heatmaps.words import install_line, lacking


def needed(module: str, what: str) -> Any:
    """Return a module of scikit-learn or shapely; MissingDependencyError says what needs it and how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = {"sklearn": "scikit-learn"}.get(module.split(".")[0], module.split(".")[0])
        raise lacking(what, package, install_line("insight"), error) from error
