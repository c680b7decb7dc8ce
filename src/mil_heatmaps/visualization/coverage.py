"""Which scored patches of a picture are seen, and why the others are not.

A patch is seen when at least one of its pixels is coloured, at the picture's own scale. That is found out while the
picture is painted, from the rows of tissue that painting needs anyway: mostly one look at one pixel a patch.
Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the picture.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.edge_cells import Ints
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.canvas import PatchCanvas
from mil_heatmaps.visualization.tissue_raster import TissueRaster

_SMALL_PX = 1024
"""Patches of at most so many pixels are looked at many at a time, larger ones one by one."""
_WORTH_IT = 16
"""Pixels to look at, for each point of the outlines, from which on it is worth finding out where these run."""
_MOST_CELLS = 1 << 22
_AT_ONCE = 1 << 22
"""Pixels of small patches that are gathered at a time."""

POSSIBLE_CAUSES = "the segmentation, the patch size, the frame or the units of the coordinates"


@dataclass(frozen=True)
class Uncoloured:
    """How many patches with a score are not coloured, each by one reason.

    Attributes
    ----------
    patches : int
        All patches of the picture with a finite score.
    outside_tissue, outside_slide, outside_picture, too_small : int
        Patches without any pixel of tissue, not on the slide at all, on it but beyond the picture, or in the picture
        but on the centre of no pixel.
    """

    patches: int
    outside_tissue: int = 0
    outside_slide: int = 0
    outside_picture: int = 0
    too_small: int = 0

    @property
    def total(self) -> int:
        """The number of patches that are not coloured."""
        return self.outside_tissue + self.outside_slide + self.outside_picture + self.too_small

    def notice(self) -> Notice | None:
        """Return what to say of it; None when every patch is coloured. From half on with what may be the cause."""
        if not self.total:
            return None
        reasons = {
            "tissue": self.outside_tissue, "slide": self.outside_slide, "picture": self.outside_picture,
        }  # fmt: skip
        told = ", ".join(
            [f"{count} outside the {what}" for what, count in reasons.items() if count]
            + [f"{self.too_small} smaller than a pixel"] * bool(self.too_small)
        )
        causes = f" (possible causes: {POSSIBLE_CAUSES})" if 2 * self.total >= self.patches else ""
        verb = "is" if self.total == 1 else "are"
        return Notice(
            "uncoloured",
            f"{self.total} of {self.patches} patches {verb} not coloured: {told}{causes}",
            uncoloured=self.total,
            patches=self.patches,
            **{f"outside_{what}": count for what, count in reasons.items() if count},
            **({"too_small": self.too_small} if self.too_small else {}),
        )


class Coverage:
    """Which patches of a canvas have a coloured pixel, as far as its rows were looked at.

    Parameters
    ----------
    canvas : PatchCanvas
        N patches, all with a finite score.
    wanted : (N,) bool
        False for patches that are left out on purpose: those below a threshold.
    tissue : TissueRaster or None
        What the colours are clipped to. Without it a patch is seen as soon as it reaches into the picture.
    """

    def __init__(self, canvas: PatchCanvas, wanted: npt.NDArray[np.bool_], tissue: TissueRaster | None) -> None:
        self._canvas = canvas
        self._wanted = wanted
        self._tissue = tissue
        self._points = 0 if tissue is None else tissue.n_points
        area = math.prod(canvas.picture_px)
        self._side = max(16, *canvas.size_px, math.isqrt(area // _MOST_CELLS))
        start, end = canvas.corners_px, canvas.ends_px
        in_picture = ((end > 0) & (start < np.asarray(canvas.picture_px))).all(axis=1)
        self._small = in_picture & (end == start).any(axis=1)
        self._inside = in_picture & ~self._small
        self._seen = self._inside & wanted if tissue is None else np.zeros(len(wanted), np.bool_)
        self._waiting = self._inside & wanted & ~self._seen

    def waits(self, y0: int, y1: int) -> bool:
        """Whether the rows `y0` to `y1` (not included) may show a patch that was not seen yet."""
        return bool(self._waiting.any() and self._waiting[self._canvas.touching(y0, y1, in_order=False)].any())

    def look(self, tissue: UInt8Array, y0: int) -> None:
        """Take note of the patches with tissue in the rows from `y0` on, (h, width) of 0 or 1. Several threads may."""
        patches = self._canvas.touching(y0, y0 + len(tissue), in_order=False)
        patches = patches[self._waiting[patches]]
        if not len(patches):
            return
        width, (w, h) = self._canvas.picture_px[0], self._canvas.size_px
        (left, top), (right, bottom) = self._canvas.corners_px[patches].T, self._canvas.ends_px[patches].T
        left, right = np.maximum(left, 0), np.minimum(right, width)
        top, bottom = np.maximum(top - y0, 0), np.minimum(bottom - y0, len(tissue))
        found = tissue[(top + bottom) >> 1, (left + right) >> 1] != 0
        rest = np.flatnonzero(~found)
        if len(rest) * w * h > _WORTH_IT * self._points:
            # Where no edge is near, the pixel that was looked at tells of all.
            mixed = self._near_edges(left[rest], top[rest] + y0, right[rest], bottom[rest] + y0)
            rest = rest[mixed]
        if len(rest):
            found[rest] = _hold_any(tissue, left[rest], top[rest], right[rest], bottom[rest])
        self._seen[patches[found]] = True
        self._waiting[patches[found]] = False

    @cached_property
    def _edges(self) -> npt.NDArray[np.bool_]:
        assert self._tissue is not None  # nothing waits without it
        return self._tissue.cells_with_edges(self._side)

    def _near_edges(self, x0: Ints, y0: Ints, x1: Ints, y1: Ints) -> npt.NDArray[np.bool_]:
        """Return (R,) which rectangles may hold both tissue and none; they are no larger than a square of `_edges`."""
        left, top, right, bottom = (at // self._side for at in (x0, y0, x1 - 1, y1 - 1))
        edges = self._edges
        return edges[top, left] | edges[top, right] | edges[bottom, left] | edges[bottom, right]

    def uncoloured(self, grid: PatchGrid, slide_size_l0: tuple[int, int], *, whole: bool) -> Uncoloured:
        """Return how many patches are not seen, once all rows were looked at, by reason.

        Parameters
        ----------
        grid : PatchGrid
            The N patches of the canvas.
        whole : bool
            Whether the picture shows the whole slide. If not, a patch beyond both is outside the picture.
        """
        missed = np.flatnonzero(self._wanted & ~self._seen)
        if not len(missed):
            return Uncoloured(len(self._wanted))
        start = grid.coords_l0[missed]
        on_slide = ((start + np.asarray(grid.size_l0) > 0) & (start < np.asarray(slide_size_l0))).all(axis=1)
        inside, small = self._inside[missed], self._small[missed]
        off_slide = ~inside & ~on_slide if whole else np.zeros(len(missed), np.bool_)
        return Uncoloured(
            len(self._wanted), int(inside.sum()), int((off_slide & ~small).sum()),
            int((~inside & ~off_slide & ~small).sum()), int(small.sum()),
        )


def _hold_any(
    mask: UInt8Array, x0: Ints, y0: Ints, x1: Ints, y1: Ints
) -> npt.NDArray[np.bool_]:
    """Return (R,) which of the rectangles, ends not included and all within the mask, hold a pixel that is not 0."""
    found = np.zeros(len(x0), np.bool_)
    for down, across in ((1, 1), (1, 7), (7, 1), (7, 7)):  # near its corners first
        found |= mask[y0 + (y1 - y0) * down // 8, x0 + (x1 - x0) * across // 8] != 0
    one_by_one = ~found
    w, h = int((x1 - x0).max()), int((y1 - y0).max())
    if w * h <= _SMALL_PX and len(x0) > 1:
        alike = np.flatnonzero(one_by_one & (x1 - x0 == w) & (y1 - y0 == h))
        one_by_one[alike] = False
        windows = np.lib.stride_tricks.sliding_window_view(mask, (h, w))
        for part in _parts(alike, _AT_ONCE // (w * h)):
            found[part] = windows[y0[part], x0[part]].any(axis=(1, 2))
    for number in np.flatnonzero(one_by_one).tolist():
        found[number] = cv2.countNonZero(mask[y0[number] : y1[number], x0[number] : x1[number]]) > 0
    return found


def _parts(items: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
