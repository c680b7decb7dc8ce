"""Regions of interest: which part of a slide is scored or drawn, and which patches belong to it.

A region is a box (CLAM's x1, y1, x2, y2) or polygons drawn in QuPath. All coordinates are level-0 pixels.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import SlideError, TissueError
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.frames import place_box, place_mask
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import outline_names, read_mask

Rule = Literal["corner", "center", "reach"]
_POINTS_AT_ONCE = 1 << 16


@dataclass(frozen=True, repr=False)
class Roi:
    """A region of one slide.

    Attributes
    ----------
    top_left_l0, bot_right_l0 : (x, y)
        The box around the region, cut to the slide.
    polygons : TissueMask or None
        Outlines of the region with their holes; None if it is the whole box.
    source : str
        Where the region comes from, for messages and figures.
    notes : tuple of Notice
        What was decided while reading it.
    names : tuple of str
        Names of the outlines, if they have any.
    two_frames : bool
        Whether the slide's scanned area is not all of it, so that files may count from either corner.
    """

    top_left_l0: tuple[int, int]
    bot_right_l0: tuple[int, int]
    polygons: TissueMask | None
    source: str
    notes: tuple[Notice, ...] = ()
    names: tuple[str, ...] = ()
    two_frames: bool = False

    @property
    def size_l0(self) -> tuple[int, int]:
        """Width and height of the box."""
        return self.bot_right_l0[0] - self.top_left_l0[0], self.bot_right_l0[1] - self.top_left_l0[1]

    def __repr__(self) -> str:
        count = "" if self.polygons is None else f", polygons={len(self.polygons.contours_l0)}"
        return f"Roi({self.top_left_l0} to {self.bot_right_l0}{count}, {self.source})"


def roi_from_box(corners_l0: Sequence[float], slide: SlideSpace | tuple[int, int]) -> Roi:
    """Return the region between two opposite corners, (x1, y1, x2, y2) in any order, cut to the slide.

    `slide` is the slide's size or its `SlideSpace`. With a `SlideSpace`, corners may count from the scanned area.

    Raises
    ------
    SlideError
        If these are not four numbers, have no area, or lie outside the slide.
    """
    space = _space(slide)
    placed, notes = place_box(corners_l0, space)
    values, source = [float(v) for v in placed], "x1, y1, x2, y2"
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise SlideError(f"the ROI needs four numbers x1, y1, x2, y2 in level-0 pixels, got {list(corners_l0)}")
    x1, x2 = sorted((int(values[0]), int(values[2])))
    y1, y2 = sorted((int(values[1]), int(values[3])))
    if x1 == x2 or y1 == y2:
        raise SlideError(f"the ROI ({x1}, {y1}) to ({x2}, {y2}) has no area ({source})")
    box = _on_slide((x1, y1), (x2, y2), space, source)
    return Roi(*box, None, source, tuple(notes), two_frames=space.scanned_l0 is not None)


def roi_from_polygons(
    mask: TissueMask, slide: SlideSpace | tuple[int, int], *, source: str = "polygons"
) -> Roi:
    """Return the region inside any of the outlines and outside their holes; `slide` as in `roi_from_box`.

    Raises
    ------
    SlideError
        If there are no outlines, or all lie outside the slide.
    """
    if not mask.contours_l0:
        raise SlideError(f"the ROI holds no polygon ({source})")
    space = _space(slide)
    mask, notes = place_mask(mask, space, "the region of interest")
    points = np.concatenate([contour.reshape(-1, 2) for contour in mask.contours_l0])
    (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
    box = _on_slide((x1, y1), (x2, y2), space, source)
    return Roi(*box, mask, source, tuple(notes), two_frames=space.scanned_l0 is not None)


def read_roi(path: str | os.PathLike[str], slide: SlideSpace | tuple[int, int]) -> Roi:
    """Return the region drawn in QuPath and exported as GeoJSON (.geojson, .json, either also .gz).

    `slide` as in `roi_from_box`.

    Polygons and multi-polygons count. Points, lines and objects of the class ``Ignore…`` are skipped.

    Raises
    ------
    SlideError
        If the file cannot be read or holds no polygon, or the region is outside the slide.
    """
    try:
        mask = read_mask(path)
    except TissueError as error:
        raise SlideError(f"cannot read the ROI: {error}") from error
    return replace(roi_from_polygons(mask, slide, source=os.fspath(path)), names=outline_names(path))


def patches_in_roi(grid: PatchGrid, roi: Roi, *, rule: Rule | None = None) -> npt.NDArray[np.bool_]:
    """Return, as (N,), which patches belong to the region.

    Parameters
    ----------
    rule
        See `patches_in_box`. Default: ``corner`` for a box and ``center`` for polygons.

    Raises
    ------
    SlideError
        If no patch belongs to it; the message says how many patches there are and where they lie.
    """
    rule = rule or ("corner" if roi.polygons is None else "center")
    inside = patches_in_box(grid, roi.top_left_l0, roi.bot_right_l0, rule)
    if roi.polygons is not None and rule != "reach":  # the box only saves work
        candidates = np.flatnonzero(inside)
        inside[candidates] = _in_polygons(_points(grid, rule)[candidates], roi.polygons)
    if not inside.any():
        span = "there are no patches at all"
        if len(grid):
            low, high = grid.coords_l0.min(0).tolist(), (grid.coords_l0.max(0) + grid.size_l0).tolist()
            span = f"the slide's {len(grid)} patches lie within {tuple(low)} to {tuple(high)}"
        said = f"no patch lies in the ROI {roi.top_left_l0} to {roi.bot_right_l0} ({roi.source}); {span}"
        frame = "; data_arguments.coords_frame says whether files count from the slide's corner or its scanned area's"
        raise SlideError(said + frame * roi.two_frames)
    return inside


def patches_in_box(
    grid: PatchGrid, top_left_l0: Sequence[float], bot_right_l0: Sequence[float], rule: Rule = "corner"
) -> npt.NDArray[np.bool_]:
    """Return, as (N,), which patches belong to the box between two corners.

    Parameters
    ----------
    rule
        With ``corner``, the patch's top-left corner must lie in the box, both ends included, as in CLAM; with
        ``center``, its centre. With ``reach``, the patch must cover a pixel of the box.
    """
    points, top_left, bot_right = _points(grid, rule), np.asarray(top_left_l0), np.asarray(bot_right_l0)
    if rule == "reach":
        within = (points + grid.size_l0 > top_left) & (points < bot_right)
    else:
        within = (points >= top_left) & (points <= bot_right)
    return np.asarray(within[:, 0] & within[:, 1])


def _points(grid: PatchGrid, rule: Rule) -> npt.NDArray[np.float64]:
    """Return the points that a rule checks, (N, 2): top-left corners or centres."""
    corners = grid.coords_l0.astype(np.float64)
    return corners + np.array(grid.size_l0) / 2 if rule == "center" else corners


def _space(slide: SlideSpace | tuple[int, int]) -> SlideSpace:
    return slide if isinstance(slide, SlideSpace) else SlideSpace(slide)


def _on_slide(
    top_left: tuple[int, int], bot_right: tuple[int, int], space: SlideSpace, source: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    (x1, y1), (x2, y2) = top_left, bot_right
    if space.size_l0 is None:
        return top_left, bot_right
    width, height = space.size_l0
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise SlideError(
            f"the ROI ({x1}, {y1}) to ({x2}, {y2}) lies outside the slide of {width} x {height} pixels ({source})"
        )
    return (max(x1, 0), max(y1, 0)), (min(x2, width), min(y2, height))


def _in_polygons(points: npt.NDArray[np.float64], mask: TissueMask) -> npt.NDArray[np.bool_]:
    """Return, as (N,), which points lie inside an outline or on its border, and not strictly inside its holes."""
    found = np.zeros(len(points), bool)
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        inside, border = _in_ring(points, contour)
        inside |= border
        for hole in holes:
            in_hole, on_hole = _in_ring(points, hole)
            inside &= ~in_hole | on_hole
        found |= inside
    return found


def _in_ring(
    points: npt.NDArray[np.float64], ring: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return (inside by the even-odd rule, on the border) for points and one closed ring."""
    corners = ring.reshape(-1, 2).astype(np.float64)
    ends = np.roll(corners, -1, 0)
    inside, border = np.zeros(len(points), bool), np.zeros(len(points), bool)
    step = max(1, _POINTS_AT_ONCE * 64 // len(corners))
    near = np.flatnonzero(((points >= corners.min(0)) & (points <= corners.max(0))).all(1))
    for start in range(0, len(near), step):
        part = near[start : start + step]
        x, y = points[part, 0, None], points[part, 1, None]
        (x1, y1), (x2, y2) = corners.T, ends.T
        side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        crosses = (y1 > y) != (y2 > y)
        # The sign tells whether the edge is to the right of the point, without a division.
        inside[part] = (np.count_nonzero(crosses & ((side > 0) == (y2 > y1)), 1) & 1).astype(bool)
        between = (
            (np.minimum(x1, x2) <= x)
            & (x <= np.maximum(x1, x2))
            & (np.minimum(y1, y2) <= y)
            & (y <= np.maximum(y1, y2))
        )
        border[part] = ((side == 0) & between).any(1)
    return inside, border
