"""Attention heatmaps of multiple-instance-learning models on whole-slide images.

`read_scores` reads the scores of a slide, `run` runs a cohort, `show` opens the viewer in a notebook. Importing
`mil_heatmaps` loads nothing heavy: torch, OpenSlide and matplotlib come with the function that needs them.
"""

from typing import TYPE_CHECKING, Any

from mil_heatmaps.version import __version__ as __version__

if TYPE_CHECKING:
    from mil_heatmaps.notebook.runs import run as run
    from mil_heatmaps.notebook.scores import read_scores as read_scores
    from mil_heatmaps.viewer.notebook import show as show

__all__ = ["__version__", "read_scores", "run", "show"]

_HOMES = {"read_scores": "notebook.scores", "run": "notebook.runs", "show": "viewer.notebook"}


def __getattr__(name: str) -> Any:
    """Return a function, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
