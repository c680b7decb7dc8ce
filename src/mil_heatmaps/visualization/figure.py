"""The figure for people: a slide beside its heatmap, with everything needed to read it.

Slide and map, a colour bar in the map's own colours that names score, class, normalisation and range, a scale bar where
the pixel size is known, slide, label and prediction, the spread of the scores, the highest and the lowest patches.
Drawn with matplotlib's objects (no pyplot state), so that threads and processes can draw at once; equal input gives
equal bytes.
"""

import os
from typing import Any

import numpy.typing as npt

from mil_heatmaps.slides.colour_profile import srgb_profile
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure_ground import Panels
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.figure_plan import FigurePlan
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.figure_words import FigureText
from mil_heatmaps.visualization.patch_arguments import as_scores

_BESIDE = (0.0, 1.0, 0.8, 0.62, 0.5)
"""Widths of a column beside the pictures, as shares of the usual one, that are tried on a page of given height."""
_SMALLEST = 0.2

__all__ = ["FigureText", "compose_figure", "draw_figure", "write_figure"]

def write_figure(
    path: str | os.PathLike[str],
    drawing: Drawing,
    scores: npt.ArrayLike,
    text: FigureText | None = None,
    *,
    legend: bool = True,
    style: FigureStyle | None = None,
) -> None:
    """Write the figure as PDF, SVG, PNG, JPEG or any format of `save_picture`; see `draw_figure`."""
    text, style = text or FigureText(), (style or FigureStyle()).of_file(path)
    page = compose_figure(drawing, as_scores(scores, len(drawing.grid)), text, legend=legend, style=style)
    converted = drawing.color_profile == "convert" and drawing.slide.icc_profile is not None
    profile = srgb_profile() if converted else drawing.icc_profile
    page.save(path, {**text.facts}, icc_profile=profile)


def draw_figure(
    drawing: Drawing,
    scores: npt.ArrayLike,
    text: FigureText | None = None,
    *,
    legend: bool = True,
    style: FigureStyle | None = None,
) -> UInt8Array:
    """Return the figure of a drawing, (height, width, 3), 150 dots an inch unless the style says otherwise.

    Parameters
    ----------
    drawing : Drawing
        Any scale and region; the map is drawn again at the size of the figure.
    scores : (N,)
        Of the drawing's patches, for the histogram and the captions.
    text : FigureText
    legend : bool
        With the colour bar and the scale bar.
    style : FigureStyle
    """
    own = as_scores(scores, len(drawing.grid))
    return compose_figure(drawing, own, text or FigureText(), legend=legend, style=style).rendered()


def compose_figure(
    drawing: Drawing,
    scores: npt.NDArray[Any],
    text: FigureText,
    *,
    legend: bool,
    style: FigureStyle | None = None,
) -> Page:
    """Return the page of `draw_figure` with everything on it, as matplotlib's objects."""
    style = style or FigureStyle()
    plan = FigurePlan(drawing, scores, text, style, legend=legend)
    if style.height is not None and plan.height > style.height:
        plan = _fitting(drawing, scores, text, style, legend=legend, like=plan.panels)
    page = Page(plan.width, style.height or plan.height, style)
    plan.draw(page)
    return page


def _fitting(
    drawing: Drawing, scores: npt.NDArray[Any], text: FigureText, style: FigureStyle, *, legend: bool, like: Panels
) -> FigurePlan:
    """Return the plan with the largest pictures that fits a page of given height: the rest below them, or beside them.

    Where none fits it is that of the smallest.
    """
    assert style.height is not None  # asked only of such pages
    found: list[FigurePlan] = []
    for beside in _BESIDE:
        shrink = 1.0
        while shrink > _SMALLEST:
            plan = FigurePlan(drawing, scores, text, style, legend=legend, shrink=shrink, beside=beside, like=like)
            if plan.height <= style.height:
                found.append(plan)
                break
            shrink *= 0.94
    return max(found, key=lambda plan: plan.panel[0]) if found else plan
