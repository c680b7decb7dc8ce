"""Drawings planned from keywords, as `draw_heatmap` plans them."""

from typing import Any

import numpy.typing as npt

from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.heatmap_utils import plan_heatmap, with_options
from mil_heatmaps.visualization.patch_arguments import PatchSize, as_grid
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View


def planned(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike,
    slide: TissueSlide | Slide,
    *,
    patch_size: PatchSize = 256,
    overlap: float = 0.0,
    convert_to_percentiles: bool = True,
    **options: Any,
) -> Drawing:
    """Return the drawing of patches without overlap, or with it."""
    rule = ColourRule("percentile" if convert_to_percentiles else None)
    view, colours = with_options(View(), rule, options)
    return plan_heatmap(scores, as_grid(coords, patch_size, overlap), slide, view, colours)
