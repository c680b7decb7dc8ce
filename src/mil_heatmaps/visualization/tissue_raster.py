"""Tissue contours as pixels, band by band, each band equal to the same rows of the whole mask.

``_l0`` are level-0 pixels, ``_px`` pixels of the picture.
"""

from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.tissue import Contour, TissueMask, scale_contour
from mil_heatmaps.visualization.frame import Frame
from mil_heatmaps.visualization.tissue_squares import TissueSquares

_MOST_MARGIN = 4096
"""Most rows that an edge is followed beyond a band. Longer edges are cut there; their border may move by a pixel."""


def contour_px(contour_l0: Contour, frame: Frame) -> Contour:
    """Return a contour in the picture's scale, not shifted, with coordinates truncated to whole pixels as in CLAM."""
    return scale_contour(contour_l0, frame.scale)


def contour_offset_px(frame: Frame) -> tuple[int, int]:
    """Return the offset to add to `contour_px` for the picture's corner."""
    return int(-frame.corner_l0[0] * frame.scale[0]), int(-frame.corner_l0[1] * frame.scale[1])


class TissueRaster:
    """Fills the contours of a slide as CLAM does: larger contours first, each followed by its holes.

    A smaller contour may therefore fill a hole of a larger one again.
    """

    def __init__(self, mask: TissueMask, frame: Frame, *, use_holes: bool = True) -> None:
        holes = mask.holes_l0 if use_holes else tuple(() for _ in mask.contours_l0)
        scaled = [
            (contour_px(contour, frame), [contour_px(hole, frame) for hole in own])
            for contour, own in zip(mask.contours_l0, holes, strict=True)
        ]
        scaled.sort(key=lambda piece: cv2.contourArea(piece[0]), reverse=True)
        self._width, self._height = frame.size_px
        self._offset = contour_offset_px(frame)
        self._polygons = [
            polygon
            for contour, own in scaled
            for polygon in (_Polygon(contour, 1), *(_Polygon(hole, 0) for hole in own))
        ]

    def rows(self, y0: int, y1: int) -> npt.NDArray[np.uint8]:
        """Return the rows `y0` to `y1` (not included) of the mask, (y1 - y0, width): 1 on tissue, else 0."""
        top, bottom = y0 - self._offset[1], y1 - self._offset[1]
        parts = [(polygon, *polygon.near(top, bottom)) for polygon in self._polygons]
        above = min(max((margin for _, _, margin, _ in parts), default=0), y0)
        below = min(max((margin for _, _, _, margin in parts), default=0), self._height - y1)
        mask = np.zeros((above + y1 - y0 + below, self._width), np.uint8)
        for polygon, points, _, _ in parts:
            if len(points):
                offset = self._offset[0], self._offset[1] - y0 + above
                cv2.drawContours(mask, [points], 0, polygon.value, cv2.FILLED, cv2.LINE_8, offset=offset)
        return mask[above : above + y1 - y0]

    def squares(self, patches: int, side_px: int) -> TissueSquares:
        """Return where the picture is tissue, in squares that suit this many patches of this size."""
        outlines = [(polygon.points, polygon.value) for polygon in self._polygons if len(polygon.points)]
        return TissueSquares(outlines, self._offset, (self._width, self._height), patches, side_px)


class _Polygon:
    """One contour or hole, and its part near a band of rows."""

    def __init__(self, points: Contour, value: int) -> None:
        self.points = points.reshape(-1, 1, 2)
        self.value = value

    @cached_property
    def _y(self) -> Contour:
        return np.ascontiguousarray(self.points[:, 0, 1])

    @cached_property
    def _extent(self) -> tuple[int, int]:
        return int(self._y.min()), int(self._y.max())

    def near(self, top: int, bottom: int) -> tuple[Contour, int, int]:
        """Return (points, rows above, rows below): all that determines the rows `top` to `bottom`.

        Runs of points beyond the band shrink to their ends, which changes no edge that reaches the band. OpenCV clips
        an edge to the picture before drawing it, which moves its pixels. The picture must therefore be taller by these
        rows above and below.
        """
        none = np.empty((0, 1, 2), np.int32)
        if not len(self.points) or self._extent[1] < top or self._extent[0] >= bottom:
            return none, 0, 0
        y = self._y
        side = (y >= bottom).astype(np.int8) - (y < top)
        kept = (side == 0) | (side != np.roll(side, 1)) | (side != np.roll(side, -1))
        points, y, side = self.points[kept], y[kept], side[kept]
        following = np.roll(side, -1)
        crosses = side != following
        low, high = np.minimum(y, np.roll(y, -1))[crosses], np.maximum(y, np.roll(y, -1))[crosses]
        above = int(np.clip(top - low, 0, None).max(initial=0)) + 1
        below = int(np.clip(high - bottom + 1, 0, None).max(initial=0)) + 1
        return points, min(above, _MOST_MARGIN), min(below, _MOST_MARGIN)
