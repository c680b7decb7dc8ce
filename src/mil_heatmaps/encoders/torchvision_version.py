"""Find the torchvision that fits the installed torch: timm would install the newest one, which replaces torch."""

from __future__ import annotations

import importlib
import re
from importlib import metadata

from mil_heatmaps.words import said_by

_FIRST_MINOR = 15
"""torch 2.N was released with torchvision 0.(N + 15): 2.6 with 0.21, 2.13 with 0.28."""

_WHEELS = "https://download.pytorch.org/whl"


def torchvision_for(torch_version: str) -> str | None:
    """Return the torchvision version that fits a torch version; None for a torch that is not 2.x.

    >>> torchvision_for("2.13.0+cpu")
    '0.28'
    """
    match = re.match(r"2\.(\d+)", torch_version)
    return None if match is None else f"0.{int(match[1]) + _FIRST_MINOR}"


def install_line_for(torch_version: str) -> str | None:
    """Return the line that installs the fitting torchvision from torch's index, read from its version (``+cpu``)."""
    wanted = torchvision_for(torch_version)
    if wanted is None:
        return None
    build = re.search(r"\+((?:cpu|cu\d+|rocm[\d.]+|xpu))$", torch_version)
    return f"pip install 'torchvision=={wanted}.*'" + (f" --index-url {_WHEELS}/{build[1]}" if build else "")


def installed_version(package: str) -> str | None:
    """Return the version of an installed package without importing it, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def misfit() -> tuple[str, str] | None:
    """Return what is wrong with the torchvision here and the line that fixes it; None if it fits or is missing.

    One of the right release may still be another build, such as PyPI's, which needs CUDA, beside torch for the CPU.
    Only importing it tells: its version on record does not name the build.
    """
    torch, torchvision = installed_version("torch"), installed_version("torchvision")
    if torch is None or torchvision is None:
        return None
    wanted, line = torchvision_for(torch), install_line_for(torch)
    if wanted is None or line is None:
        return None
    if not torchvision.startswith(f"{wanted}."):
        return f"{torchvision} was built for another torch than {torch}; {wanted} fits", line
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return None
    except Exception as error:
        again = line.replace("install", "install --force-reinstall --no-deps", 1)  # pip counts the version as there
        return f"{torchvision} is no build that works with torch {torch} ({said_by(error)})", again
    return None


def encoders_line(line: str) -> str:
    """Return the encoders' install line, preceded by that of the fitting torchvision if it is not installed yet."""
    torch = installed_version("torch")
    first = None if torch is None or installed_version("torchvision") is not None else install_line_for(torch)
    return line if first is None else f"{first} && {line}"
