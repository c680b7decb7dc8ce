"""Drawing patch scores on slides.

Names are looked up when first used, so importing this package costs nothing and never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from src.scores.percentiles import to_percentiles as to_percentiles
    from src.visualization.heatmap_utils import draw_heatmap as draw_heatmap
    from src.visualization.heatmap_utils import plan_heatmap as plan_heatmap
    from src.visualization.overlay import draw_to_file as draw_to_file
    from src.visualization.sampling import sample_top_patches as sample_top_patches
    from src.visualization.visualizer import MILLabVisualizer as MILLabVisualizer
    from src.visualization.wsi_object import WholeSlideImage as WholeSlideImage

_PLACES = {
    "MILLabVisualizer": "src.visualization.visualizer",
    "WholeSlideImage": "src.visualization.wsi_object",
    "draw_heatmap": "src.visualization.heatmap_utils",
    "draw_to_file": "src.visualization.overlay",
    "plan_heatmap": "src.visualization.heatmap_utils",
    "sample_top_patches": "src.visualization.sampling",
    "to_percentiles": "src.scores.percentiles",
}

__all__ = [
    "MILLabVisualizer",
    "WholeSlideImage",
    "draw_heatmap",
    "draw_to_file",
    "plan_heatmap",
    "sample_top_patches",
    "to_percentiles",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
