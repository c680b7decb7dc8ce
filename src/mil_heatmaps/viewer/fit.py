"""Checks whether scores, pictures and outlines fit their slide; doubts are shown on the page."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.viewer.catalog import NamedFile, Region
from mil_heatmaps.words import counted, one_line

if TYPE_CHECKING:
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.roi import Roi
    from mil_heatmaps.slides.slide_space import SlideSpace

ASPECT_SLACK = 0.01
"""A picture of the slide, rounded to pixels, has the slide's aspect ratio within this share."""


def score_notes(source: "ScoreFile", size: tuple[int, int] | None) -> list[str]:
    """Return reasons why the scores may not belong to a slide of `size`."""
    notes: list[str] = []
    if size is None:
        return notes
    if source.slide_size_l0 is not None and tuple(source.slide_size_l0) != tuple(size):
        width, height = source.slide_size_l0
        notes.append(
            f"its scores belong to a slide of {width} x {height} pixels, this one has {size[0]} x {size[1]}"
        )
    grid = source.grid
    ends = grid.coords_l0 + np.asarray(grid.size_l0)
    outside = int(((ends <= 0) | (grid.coords_l0 >= np.asarray(size))).any(1).sum())
    if outside:
        verb = "lies" if outside == 1 else "lie"
        notes.append(f"{outside} of {counted(len(grid), 'patch', 'patches')} {verb} outside the slide")
    return notes


def picture_notes(picture: tuple[int, int], slide: tuple[int, int] | None) -> list[str]:
    """Return reasons why a picture of this size may not be of the slide."""
    if slide is None:
        return []
    of_picture, of_slide = picture[0] / picture[1], slide[0] / slide[1]
    if abs(of_picture / of_slide - 1) <= ASPECT_SLACK:
        return []
    return [
        f"the picture is {picture[0]} x {picture[1]} and the slide {slide[0]} x {slide[1]}: it has another shape and "
        "is stretched, so it is of another slide or has more on it than the slide"
    ]


def outline_notes(pieces: list[npt.NDArray[np.int32]], size: tuple[int, int] | None) -> list[str]:
    """Return a note when outlines reach beyond a slide of `size`."""
    if size is None or not pieces:
        return []
    points = np.concatenate([piece.reshape(-1, 2) for piece in pieces])
    outside = int(((points < -1) | (points > np.asarray(size) + 1)).any(1).sum())
    if not outside:
        return []
    return [f"tissue outlines leave the slide ({outside} of {len(points)} points): they may be of another slide"]


def region_of(region: Region, space: "SlideSpace") -> "Roi":
    """Return the part of a slide that a run draws; SlideError when there is none on this slide."""
    from mil_heatmaps.slides.roi import read_roi, roi_from_box

    if region.outlines is not None:
        return read_roi(region.outlines, space)
    return roi_from_box(region.box or (), space)


def drawn_patches(roi: "Roi", grid: "PatchGrid", *, reaching: bool) -> npt.NDArray[np.bool_]:
    """Return (N,) true for the patches that the run's picture of the region shows."""
    from mil_heatmaps.visualization.view import View

    view = View(
        top_left=roi.top_left_l0, bot_right=roi.bot_right_l0, reaching=reaching, outlines=roi.polygons
    )
    inside = np.zeros(len(grid), bool)
    inside[view.patches(grid)] = True
    return inside


def described_region(named: NamedFile, source: "ScoreFile", space: "SlideSpace") -> tuple[dict[str, Any] | None, str]:
    """Return the region of a score file as JSON values, or why there is none."""
    if named.region is None:
        return None, ""
    try:
        roi = region_of(named.region, space)
        inside = drawn_patches(roi, source.grid, reaching=named.region.reaching)
    except HeatmapError as error:
        return None, f"the run's region is not shown: {one_line(error)}"
    if roi.polygons is None:
        (left, top), (right, bottom) = roi.top_left_l0, roi.bot_right_l0
        rings = [[left, top, right, top, right, bottom, left, bottom]]
    else:
        holes = (hole for holes in roi.polygons.holes_l0 for hole in holes)
        rings = [ring.reshape(-1).tolist() for ring in (*roi.polygons.contours_l0, *holes)]
    named_as = "box" if named.region.outlines is None else named.region.outlines.name
    return {"name": named_as, "rings": rings, "count": int(inside.sum())}, ""
