"""`from src.visualization import draw_heatmap`, in a checkout. Nothing is imported before its name is used."""

from importlib import import_module
from typing import Any

_PLACES = {
    "ColourRule": "mil_heatmaps.visualization.colour_rule",
    "MILLabVisualizer": "mil_heatmaps.visualization.visualizer",
    "View": "mil_heatmaps.visualization.view",
    "WholeSlideImage": "mil_heatmaps.visualization.wsi_object",
    "draw_heatmap": "mil_heatmaps.visualization.heatmap_utils",
    "draw_to_file": "mil_heatmaps.visualization.overlay",
    "plan_heatmap": "mil_heatmaps.visualization.heatmap_utils",
    "sample_top_patches": "mil_heatmaps.visualization.sampling",
    "to_percentiles": "mil_heatmaps.scores.percentiles",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
