"""The public drawing API: scores on coordinates in, a picture out.

`plan_heatmap` decides what to draw and returns it as plain data, a `Drawing`. `draw_heatmap` plans and draws.
`overlay.draw_to_file` draws a plan into a file in bounded memory.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mil_heatmaps.errors import SlideError, TissueError
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.palette import DEFAULT_CMAP
from mil_heatmaps.visualization.patch_arguments import PatchSize, as_grid, as_scores
from mil_heatmaps.visualization.resize_picture import shrink
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View
from mil_heatmaps.words import grouped, number_words

__all__ = ["draw_heatmap", "plan_heatmap"]

logger = logging.getLogger(__name__)


def draw_heatmap(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike | PatchGrid,
    slide_path: str | os.PathLike[str] | None = None,
    wsi_object: TissueSlide | None = None,
    vis_level: int = -1,
    patch_size: PatchSize = (256, 256),
    cmap: str = DEFAULT_CMAP,
    alpha: float = 0.4,
    convert_to_percentiles: bool = True,
    segment: bool = True,
    *,
    overlap: float = 0.0,
    max_size: int | None = None,
    custom_downsample: float = 1,
    canvas_color: Any = None,
    **options: Any,
) -> Image.Image:
    """Return a heatmap of patch scores over a slide.

    The whole picture is in memory; for pictures of any size use ``draw_to_file(path, plan_heatmap(...))``. Notes for
    the user (a level that was clamped, scores that are not numbers, patches without colour) are logged. They are also
    in ``picture.info["notes"]``, a list of sentences.

    Parameters
    ----------
    scores : (N,), (N, 1) or (1, N)
        Any numbers. NaN and infinite scores get no colour; they are counted and noted.
    coords : (N, 2), or a PatchGrid
        Level-0 corners of the patches, x then y. A grid already has a patch size and step.
    slide_path, wsi_object
        The slide. With `segment`, only its tissue is coloured; a slide without tissue contours is segmented first.
    patch_size : int or (width, height)
        In level-0 pixels.
    overlap : float
        Share by which neighbouring patches overlap; it sets how far `blur` and `smooth` reach.
    convert_to_percentiles : bool
        Rank the scores. If False, they are taken as percentiles from 0 to 100, as in CLAM; `normalize` overrides both.
    custom_downsample : float
        Divide the size of the finished picture by this.
    max_size : int, optional
        Then shrink it to this longer side. It is never enlarged.
    canvas_color
        Accepted for compatibility with CLAM, and unused as in CLAM.
    vis_level, cmap, alpha, segment, **options
        Fields of `View` and `ColourRule`.

    Raises
    ------
    ScoreError, ConfigError, TissueError, SlideError
        If scores, options, tissue or slide cannot be used. Each error is also a ValueError or an OSError.
    """
    view, colours = with_options(
        View(vis_level, segment=segment),
        ColourRule("percentile" if convert_to_percentiles else None, cmap=cmap, alpha=alpha),
        options,
    )
    with ExitStack() as stack:
        if wsi_object is None:
            if slide_path is None:
                raise SlideError("draw_heatmap needs a slide: give slide_path or wsi_object")
            wsi_object = stack.enter_context(TissueSlide(slide_path))
        drawing = plan_heatmap(scores, as_grid(coords, patch_size, overlap), wsi_object, view, colours)
        if drawing.blur_px is not None and not isinstance(coords, PatchGrid):
            # CLAM's kernel follows the given overlap, not the step, which is truncated to whole pixels.
            drawing = replace(drawing, blur_px=_clam_kernel(drawing.grid, drawing.frame, (1 - overlap, 1 - overlap)))
        painter = Painter(drawing, watch=True)
        picture = shrink(Image.fromarray(draw(drawing, painter=painter)), custom_downsample, max_size)
        uncoloured = painter.uncoloured().notice()
        notes = [*drawing.notes, *([] if uncoloured is None else [uncoloured])]
        for note in notes:
            logger.warning("%s: %s", wsi_object.name, note)
        picture.info["notes"] = notes
        if profile := drawing.icc_profile:
            picture.info["icc_profile"] = profile
        return picture


def with_options(view: View, colours: ColourRule, options: Mapping[str, Any]) -> tuple[View, ColourRule]:
    """Return view and colours with fields replaced by keywords of `draw_heatmap`; `normalize=None` changes nothing.

    Raises
    ------
    TypeError
        For an unknown keyword, as in Python.
    """
    of_view, of_colours = ({field.name for field in fields(part)} for part in (view, colours))
    known = of_view | of_colours
    if unknown := next((name for name in options if name not in known), None):
        raise TypeError(f"draw_heatmap() got an unexpected keyword argument {unknown!r}; choose from {sorted(known)}")
    given = {name: value for name, value in options.items() if not (name == "normalize" and value is None)}
    return (
        replace(view, **{name: value for name, value in given.items() if name in of_view}),
        replace(colours, **{name: value for name, value in given.items() if name in of_colours}),
    )


def plan_heatmap(
    scores: npt.ArrayLike,
    grid: PatchGrid,
    wsi_object: TissueSlide | Slide,
    view: View | None = None,
    colours: ColourRule | None = None,
) -> Drawing:
    """Return what `draw_heatmap` would draw, as plain data. It reads no pixels unless the tissue must be segmented.

    Parameters
    ----------
    scores : (N,), (N, 1) or (1, N)
        Any numbers. NaN and infinite scores are drawn as uncovered, and noted.
    grid : PatchGrid
        Where the N patches are.
    wsi_object : TissueSlide, WholeSlideImage or Slide
        If the view needs tissue and there is none yet, the slide is segmented with the default settings.
    view : View
        Default: the whole slide at about 1/32.
    colours : ColourRule
        Default: percentiles in CLAM's colours.

    Raises
    ------
    ScoreError, ConfigError, TissueError
        For scores, settings or tissue that cannot be used.
    """
    view, colours = view or View(), colours or ColourRule()
    slide = wsi_object if isinstance(wsi_object, Slide) else wsi_object.slide
    drawn, patches = as_scores(scores, len(grid)), view.patches(grid)
    thresh = 1 / max(len(drawn), 1) if colours.binarize and colours.thresh < 0 else colours.thresh
    if not isinstance(patches, slice):
        drawn, grid = drawn[patches], grid.take(patches)
    frame = view.frame(slide, grid)
    shades, scale = colours.shades(drawn, of_region=not frame.whole)
    clam_blur = colours.blur and colours.compat == "clam"
    steps = tuple(Fraction(min(step, size), size) for step, size in zip(grid.step_l0, grid.size_l0, strict=True))
    return Drawing(
        slide=slide,
        frame=frame,
        grid=grid,
        patches=patches,
        shades=shades,
        tissue=_tissue(wsi_object, len(grid)) if view.segment else None,
        cmap=colours.cmap,
        alpha=colours.alpha,
        blank_canvas=view.blank_canvas,
        use_holes=view.use_holes,
        binarize=colours.binarize,
        # Rounded to the precision of the shades, so that float32 percentiles of exactly 70 reach a threshold of 0.7.
        thresh=float(shades.dtype.type(thresh)),
        threshold=colours.threshold,
        smooth="gaussian" if colours.blur and not clam_blur else colours.smooth,
        blur_px=_clam_kernel(grid, frame, steps) if clam_blur else None,
        scale=scale,
        notes=tuple(_notes(frame, grid, drawn, colours)),
        region=view.outlines,
        color_profile=view.color_profile,
    )


def _tissue(wsi_object: TissueSlide | Slide, patches: int) -> TissueMask | None:
    """Return the tissue to clip to; raise TissueError if there are patches but no tissue."""
    wsi = TissueSlide(wsi_object) if isinstance(wsi_object, Slide) else wsi_object
    mask = wsi.tissue
    if mask is None:
        found = TissueSlide(wsi.slide)
        found.segment_tissue()
        mask = found.tissue
    if mask is not None and not mask.contours_l0 and patches:
        from mil_heatmaps.slides.tissue_binary import without_colour

        colourless = without_colour(wsi.slide)
        cure = f"{colourless}: bring outlines" if colourless else "segment it with a lower sthresh or a_t"
        raise TissueError(
            f"{wsi.name}: no tissue, so none of the {patches} patches could be drawn; {cure}, or draw the patches "
            "whole with segment=False"
        )
    return mask


def _clam_kernel(grid: PatchGrid, frame: Frame, steps: tuple[float | Fraction, ...]) -> tuple[int, int]:
    """Return the size of CLAM's Gaussian kernel: about two steps between patches. `steps` are shares of a patch."""
    width, height = (
        int(int(np.ceil(size * factor)) * step) * 2 + 1
        for size, factor, step in zip(grid.size_l0, frame.scale, steps, strict=True)
    )
    return width, height


def _notes(frame: Frame, grid: PatchGrid, scores: npt.NDArray[Any], colours: ColourRule) -> list[Notice]:
    notes = [frame.note] if frame.note else []
    if not len(grid):
        return [*notes, Notice("no_patches", "there are no patches to draw: the picture shows the slide alone")]
    finite = np.isfinite(scores)
    missing = len(scores) - int(finite.sum())
    if missing:
        text = f"{missing} of {len(scores)} scores are NaN or infinite and drawn as uncovered"
        notes.append(Notice("not_finite", text, not_finite=missing))
    kept = scores[finite]
    if len(kept) > 1 and (kept == kept[0]).all():
        text = f"all {len(kept)} scores are equal ({number_words(kept[0])}), so the map has one colour"
        notes.append(Notice("one_value", text))
    if colours.signed and len(kept) > 1 and ((kept > 0).all() or (kept < 0).all()):
        what = "it" if colours.meaning is None else colours.meaning.target
        side = f"above zero: all speak for {what}" if kept[0] > 0 else f"below zero: all speak against {what}"
        notes.append(Notice("one_sign", f"all {grouped(len(kept))} scores are {side}", patches=len(kept)))
    below = int((kept < 0).sum()) if colours.normalize is None else 0
    if below:
        text = f"{below} of {len(scores)} scores are below 0, which is no percentile, and drawn as uncovered"
        notes.append(Notice("below_zero", text, below_zero=below))
    return notes
