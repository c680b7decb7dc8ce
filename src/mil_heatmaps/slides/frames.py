"""Whether the coordinates of a file count from the corner of the slide or of its scanned area.

Some slides (MRXS, SCN, BIF) have pixels only in a scanned area, OpenSlide's bounds. QuPath and programs that crop count
from the corner of this area, CLAM and TRIDENT from the slide's corner. Each file is judged separately, and either all
of its coordinates are shifted or none. Names ending ``_l0`` are level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import Size, SlideSpace
from mil_heatmaps.slides.tissue import TissueMask

Points = npt.NDArray[np.int64]

_ROUNDED = 1
"""Pixels by which sizes and outlines may differ because of rounding."""

_FAR = 2**40


def says_scanned_size(said: Size | None, space: SlideSpace) -> bool:
    """Whether the slide size that a file states is that of the scanned area, up to a pixel."""
    if said is None or space.scanned_l0 is None or said == space.size_l0:
        return False
    return all(abs(a - b) <= _ROUNDED for a, b in zip(said, space.scanned_l0[2:], strict=True))


def frame_shift(
    space: SlideSpace, starts_l0: Points, ends_l0: Points, *, said: Size | None = None, reach_l0: Size = (0, 0)
) -> Size:
    """Return the shift to add to the coordinates of a file; (0, 0) if they are in the slide's frame.

    `space.frame` decides if it is ``slide`` or ``bounds``. Otherwise the size that the file states decides. Without a
    size, the coordinates are in the slide's frame if every box covers scanned pixels without a shift. If not, and if
    all boxes lie within the scanned area's width and height, they count from its corner.

    Parameters
    ----------
    starts_l0, ends_l0 : (N, 2) int64
        The boxes of patches or outlines as stored in the file; the ends are not included.
    said : (width, height), optional
        Size of the slide, as stated in the file.
    reach_l0 : (width, height)
        Boxes may extend beyond the scanned area by up to this much.
    """
    if space.scanned_l0 is None or space.frame == "slide":
        return 0, 0
    x, y, width, height = space.scanned_l0
    if space.frame == "bounds":
        return x, y
    if said is not None:
        return (x, y) if says_scanned_size(said, space) else (0, 0)
    if not len(starts_l0):
        return 0, 0
    as_it_stands, in_bounds = True, True
    for axis, corner, side, reach in ((0, x, width, reach_l0[0]), (1, y, height, reach_l0[1])):
        starts, ends = starts_l0[:, axis], ends_l0[:, axis]
        first_start, last_start, first_end, last_end = starts.min(), starts.max(), ends.min(), ends.max()
        as_it_stands &= bool(first_end > corner and last_start < corner + side)
        in_bounds &= bool(-reach <= first_start and last_start < side and first_end > 0 and last_end <= side + reach)
    return (x, y) if in_bounds and not as_it_stands else (0, 0)


def place_grid(grid: PatchGrid, space: SlideSpace, said: Size | None = None) -> tuple[PatchGrid, list[Notice]]:
    """Return the patches in the slide's frame, and a notice if they were moved; `said` as in `frame_shift`."""
    if space.scanned_l0 is None:
        return grid, []
    starts = grid.coords_l0
    # One pixel less than a patch, so that every box still touches the scanned area.
    reach = (grid.size_l0[0] - 1, grid.size_l0[1] - 1)
    shift = frame_shift(space, starts, starts + grid.size_l0, said=said, reach_l0=reach)
    if shift == (0, 0):
        return grid, []
    return replace(grid, coords_l0=grid.coords_l0 + np.array(shift, np.int64)), [moved("coordinates", shift)]


def place_mask(mask: TissueMask, space: SlideSpace, what: str = "outlines") -> tuple[TissueMask, list[Notice]]:
    """Return outlines in the slide's frame, and a notice if they were moved; `what` names them in the notice."""
    if space.scanned_l0 is None or mask.is_empty:
        return mask, []
    corners = [contour.reshape(-1, 2) for contour in mask.contours_l0]
    starts = np.array([points.min(axis=0) for points in corners], np.int64)
    ends = np.array([points.max(axis=0) for points in corners], np.int64)
    shift, notices = place_shapes(starts, ends, space, what)
    return (mask.moved(shift) if notices else mask), notices


def place_shapes(
    starts_l0: npt.NDArray[Any], ends_l0: npt.NDArray[Any], space: SlideSpace, what: str
) -> tuple[Size, list[Notice]]:
    """Return the shift to add to points, or to shapes given by their boxes, and a notice if it is not zero."""
    if space.scanned_l0 is None:
        return (0, 0), []
    kept = np.isfinite(starts_l0).all(axis=1) & np.isfinite(ends_l0).all(axis=1)
    starts, ends = (np.clip(points[kept], -_FAR, _FAR).astype(np.int64) for points in (starts_l0, ends_l0))
    shift = frame_shift(space, starts, np.maximum(ends, starts + 1), reach_l0=(_ROUNDED, _ROUNDED))
    return shift, [] if shift == (0, 0) else [moved(what, shift)]


def place_box(corners_l0: Sequence[float], space: SlideSpace) -> tuple[Sequence[float], list[Notice]]:
    """Return a region (opposite corners x1, y1, x2, y2) in the slide's frame, and a notice if it was moved."""
    if space.scanned_l0 is None or len(corners_l0) != 4 or not np.isfinite(corners_l0).all():
        return corners_l0, []
    points = np.asarray(corners_l0, np.float64).reshape(2, 2).astype(np.int64)
    starts, ends = points.min(axis=0)[None], points.max(axis=0)[None]
    x, y = frame_shift(space, starts, np.maximum(ends, starts + 1))
    if (x, y) == (0, 0):
        return corners_l0, []
    x1, y1, x2, y2 = corners_l0
    return (x1 + x, y1 + y, x2 + x, y2 + y), [moved("the region of interest", (x, y))]


def moved(what: str, shift_l0: Size) -> Notice:
    """Return the notice that the contents of a file, called `what`, were moved into the slide's frame."""
    verb = "counts" if what.startswith("the ") else "count"
    text = f"{what} {verb} from the corner of the scanned area (bounds) at {shift_l0}: moved by as much"
    return Notice("frame", text, x=shift_l0[0], y=shift_l0[1])
