"""The public drawing API: scores on coordinates in, a picture out.

`plan_heatmap` decides (a `Drawing`, plain data), `draw_heatmap` decides and draws; `overlay.draw_to_file`
draws a plan into a file in bounded memory.
"""

import logging
import os
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mil_heatmaps.errors import ConfigError, SlideError, TissueError
from mil_heatmaps.scores.normalize import CohortScale
from mil_heatmaps.scores.normalize import normalize as normalize_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.drawing import ColourScale, Drawing, Smooth
from mil_heatmaps.visualization.frame import Corner, Frame, choose_frame
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.patch_arguments import PatchSize, as_grid, as_scores, inside_region
from mil_heatmaps.visualization.resize_picture import shrink
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from mil_heatmaps.words import number_words

__all__ = ["draw_heatmap", "plan_heatmap"]

logger = logging.getLogger(__name__)

Compat = Literal["clam"]


def draw_heatmap(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike | PatchGrid,
    slide_path: str | os.PathLike[str] | None = None,
    wsi_object: WholeSlideImage | None = None,
    vis_level: int = -1,
    patch_size: PatchSize = (256, 256),
    cmap: str = "jet",
    alpha: float = 0.4,
    convert_to_percentiles: bool = True,
    segment: bool = True,
    *,
    max_size: int | None = None,
    custom_downsample: float = 1,
    **options: Any,
) -> Image.Image:
    """Return a heatmap of patch scores over a slide.

    All of `plan_heatmap`'s arguments will do, and two for the finished picture. The picture is in memory
    whole; for pictures of any size use ``draw_to_file(path, plan_heatmap(...))``. What a user should know of
    it (a level that was clamped, scores that were no numbers) is logged and is in ``picture.info["notes"]``,
    a list of sentences.

    Parameters
    ----------
    custom_downsample : float
        Divide the size of the finished picture by this.
    max_size : int, optional
        Then shrink it until its longer side is this. Never enlarges.

    Raises
    ------
    ScoreError, ConfigError, TissueError, SlideError
        For scores, options, tissue or a slide that will not do; each is a ValueError or an OSError too.
    """
    with ExitStack() as stack:
        if wsi_object is None:
            if slide_path is None:
                raise SlideError("draw_heatmap needs a slide: give slide_path or wsi_object")
            wsi_object = stack.enter_context(WholeSlideImage(slide_path))
        drawing = plan_heatmap(
            scores, coords, wsi_object, vis_level=vis_level, patch_size=patch_size, cmap=cmap, alpha=alpha,
            convert_to_percentiles=convert_to_percentiles, segment=segment, **options,
        )  # fmt: skip
        for note in drawing.notes:
            logger.warning("%s: %s", wsi_object.name, note)
        picture = shrink(Image.fromarray(draw(drawing)), custom_downsample, max_size)
        picture.info["notes"] = list(drawing.notes)
        return picture


def plan_heatmap(
    scores: npt.ArrayLike,
    coords: npt.ArrayLike | PatchGrid,
    wsi_object: WholeSlideImage | Slide,
    *,
    vis_level: int = -1,
    downsample: float | None = None,
    mpp: float | None = None,
    patch_size: PatchSize = (256, 256),
    overlap: float = 0.0,
    top_left: Corner | None = None,
    bot_right: Corner | None = None,
    reaching: bool = False,
    convert_to_percentiles: bool = True,
    normalize: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
    reference: npt.ArrayLike | None = None,
    scale: CohortScale | None = None,
    kind: str | None = None,
    label: str | None = None,
    segment: bool = True,
    use_holes: bool = True,
    cmap: str = "jet",
    alpha: float = 0.4,
    blank_canvas: bool = False,
    canvas_color: Any = None,
    binarize: bool = False,
    thresh: float = 0.5,
    threshold: float | None = None,
    smooth: Smooth = "none",
    blur: bool = False,
    compat: Compat | None = None,
) -> Drawing:
    """Return what `draw_heatmap` would draw, as plain data. Reads no pixels unless the tissue has to be
    found.

    Parameters
    ----------
    scores : (N,), (N, 1) or (1, N)
        Any numbers. NaN and infinite ones are drawn as uncovered, counted, and noted.
    coords : (N, 2), or a PatchGrid
        Level-0 corners of the patches, x then y. A grid brings its own patch size and step.
    wsi_object : WholeSlideImage or Slide
        With `segment`, its tissue clips the colours; one that was not segmented is, with the usual settings.
    vis_level, downsample, mpp
        Scale of the picture; see `choose_frame`. -1 means about 1/32.
    patch_size : int or (width, height)
        In level-0 pixels.
    overlap : float
        Share by which neighbouring patches overlap; sets how far `blur` and `smooth` reach.
    top_left, bot_right : (x, y)
        Draw this region only, level-0 pixels. Percentiles are then those within the region.
    reaching : bool
        Draw every patch that reaches into the region, not only those that begin in it as in CLAM.
    convert_to_percentiles : bool
        Rank the scores. Without it they are taken as percentiles, 0 to 100, as CLAM does.
    normalize, vmin, vmax, center, reference, scale, kind
        Another way from scores to colours; overrides `convert_to_percentiles`. See
        `mil_heatmaps.scores.normalize.normalize`.
    label : str, optional
        What the colours are, for the figure's colour bar, where the scores come as percentiles already.
    segment, use_holes : bool
        Tint tissue only, and not its holes.
    blank_canvas : bool
        White in place of the slide.
    canvas_color
        Accepted for CLAM's sake, and unused as there.
    binarize, thresh
        Two colours: at or above `thresh` (0 to 1, after normalisation) or below. Negative means 1 / N, as in
        CLAM.
    threshold : float, optional
        Tint only where the mean is at least this (0 to 1, after normalisation).
    smooth : ``none``, ``bilinear``, ``gaussian``
        Interpolate between patches; borders do not fade, the slide stays sharp.
    blur : bool
        Short for ``smooth="gaussian"``; with ``compat="clam"`` CLAM's blur of values, borders, slide and all.
    compat : ``"clam"``, optional
        Copy CLAM where this program draws otherwise by default, which is the blur.
    """
    if compat not in (None, "clam"):
        raise ConfigError(f"unknown compat {compat!r}; choose 'clam' or None")
    slide = wsi_object if isinstance(wsi_object, Slide) else wsi_object.slide
    grid = as_grid(coords, patch_size, overlap)
    raw = as_scores(scores, len(grid))
    frame = choose_frame(slide, vis_level, downsample=downsample, mpp=mpp, top_left=top_left, bot_right=bot_right)
    if binarize and thresh < 0:
        thresh = 1 / max(len(raw), 1)
    if top_left is not None and bot_right is not None:
        kept = inside_region(grid, top_left, bot_right, reaching=reaching)
        grid, raw = PatchGrid(grid.coords_l0[kept], grid.size_l0, grid.step_l0), raw[kept]
    values, colour_scale = _normalised(
        raw, normalize if normalize is not None else "percentile" if convert_to_percentiles else None,
        whole=frame.whole, given=label, vmin=vmin, vmax=vmax, center=center, reference=reference, scale=scale,
        kind=kind,
    )  # fmt: skip
    return Drawing(
        slide=slide,
        frame=frame,
        grid=grid,
        values=values,
        tissue=_tissue(wsi_object, len(grid)) if segment else None,
        cmap=cmap,
        alpha=alpha,
        blank_canvas=blank_canvas,
        use_holes=use_holes,
        binarize=binarize,
        # Compared in the scores' own precision: float32 percentiles of exactly 70 reach a threshold of 0.7.
        thresh=float(values.dtype.type(thresh)),
        threshold=threshold,
        smooth="gaussian" if blur and compat is None else smooth,
        blur_px=_clam_kernel(grid, frame, overlap) if blur and compat == "clam" else None,
        scale=colour_scale,
        notes=tuple(_notes(frame, grid, raw)),
    )


def _normalised(
    raw: npt.NDArray[Any], method: str | None, *, whole: bool, given: str | None, **options: Any
) -> tuple[npt.NDArray[np.floating], ColourScale]:
    """Return values from 0 to 1, and what they mean; without a method the scores are percentiles already."""
    if method is None:
        return raw / 100, ColourScale(label=given or "percentiles as given")
    result = normalize_scores(raw, method, **options)
    of_region = not whole and result.method != "percentile_ref"  # its reference is the whole slide's
    label = result.label.replace("the slide", "the region") if of_region else result.label
    return result.values, ColourScale(result.vmin, result.vmax, result.unit, label, result.center)


def _tissue(wsi_object: WholeSlideImage | Slide, patches: int) -> TissueMask | None:
    """Return the tissue to clip to; None, which clips nothing, only when there is nothing to clip."""
    wsi = WholeSlideImage(wsi_object) if isinstance(wsi_object, Slide) else wsi_object
    mask = wsi.tissue
    if mask is None:
        found = WholeSlideImage(wsi.slide)
        found.segment_tissue()
        mask = found.tissue
    if mask is not None and not mask.contours_l0 and patches:
        raise TissueError(
            f"{wsi.name}: no tissue, so none of the {patches} patches could be drawn; "
            "segment it with a lower sthresh or a_t, or draw the patches whole with segment=False"
        )
    return mask


def _clam_kernel(grid: PatchGrid, frame: Frame, overlap: float) -> tuple[int, int]:
    """Return the size of CLAM's Gaussian: about two steps between patches wide."""
    sides = [int(np.ceil(size * factor)) for size, factor in zip(grid.size_l0, frame.scale, strict=True)]
    return int(sides[0] * (1 - overlap)) * 2 + 1, int(sides[1] * (1 - overlap)) * 2 + 1


def _notes(frame: Frame, grid: PatchGrid, raw: npt.NDArray[Any]) -> list[str]:
    notes = [frame.note] if frame.note else []
    if not len(grid):
        return [*notes, "there are no patches to draw: the picture shows the slide alone"]
    finite = np.isfinite(raw)
    missing = len(raw) - int(finite.sum())
    if missing:
        notes.append(f"{missing} of {len(raw)} scores are NaN or infinite and drawn as uncovered")
    kept = raw[finite]
    if len(kept) > 1 and (kept == kept[0]).all():
        notes.append(f"all {len(kept)} scores are equal ({number_words(kept[0])}), so the map has one colour")
    corner, (width, height) = np.asarray(frame.corner_l0), frame.size_px
    end = corner + np.asarray([width * frame.downsample[0], height * frame.downsample[1]])
    outside = ((grid.coords_l0 + np.asarray(grid.size_l0) <= corner) | (grid.coords_l0 >= end)).any(axis=1)
    if outside.any():
        notes.append(f"{int(outside.sum())} of {len(grid)} patches lie outside the picture")
    return notes
