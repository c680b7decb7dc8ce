"""Where a picture is all tissue, where it is all glass, and where an outline passes: by squares, without its pixels.

Most patches lie far from any outline, so a few squares decide what thousands of pixels would say. Names ending ``_px``
are pixels of the picture.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.tissue import Contour

Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.int32]
UInt8Array = npt.NDArray[np.uint8]

_NEAR = 3
"""Most pixels between a drawn edge and the true edge, plus one for rounding."""
_TISSUE, _EDGE = 255, 1
"""Values of squares. A sum over fewer than 255 squares is at least 255 only if one of them is tissue."""
_MOST_SIDES = 14
"""Most squares along a patch, so that it covers fewer than 255."""
_LEAST_AROUND = 12
"""An outline through fewer squares encloses none that is not beside one of them, and so is marked."""
_SQUARES_PER_PATCH, _MOST_SQUARES = 8, 1 << 22
_LEAST_BITS, _MOST_BITS = 2, 16
_FINE = 16
"""A quarter of a smaller square and `_NEAR` are up to a whole square; of a larger one, at most half."""


class TissueSquares:
    """Squares over a picture, each all tissue, all glass, or near an outline.

    Parameters
    ----------
    outlines : sequence of ((n, 1, 2) int32, 0 or 1)
        Filled one after another with 1 (tissue) or 0 (glass), as OpenCV fills contours.
    offset_px : (x, y)
        Added to their points.
    size_px : (width, height)
        Of the picture.
    patches, side_px : int
        How many patches will be asked about, and their longest side; the squares are chosen to suit them.
    """

    def __init__(
        self, outlines: Sequence[tuple[Contour, int]], offset_px: tuple[int, int], size_px: tuple[int, int],
        patches: int, side_px: int,
    ) -> None:  # fmt: skip
        self._size_px = width, height = size_px
        area = width * height // min(_SQUARES_PER_PATCH * patches + 1, _MOST_SQUARES)
        bits = max(math.isqrt(area) * 3 // 4, side_px // _MOST_SIDES).bit_length()
        self._bits = min(max(bits, _LEAST_BITS), _MOST_BITS)
        side = 1 << self._bits
        self._grid = np.zeros((height + side - 1 >> self._bits, width + side - 1 >> self._bits), np.uint8)
        if outlines and self._grid.size:
            self._draw(outlines, offset_px)
        self._sums = cv2.integral(self._grid)

    def tissue_at(self, x2: Ints, y2: Ints) -> npt.NDArray[np.bool_]:
        """Return, as (N,), which pixels lie in a square that is all tissue; False outside the picture.

        Coordinates are doubled, so that the sum of a patch's ends is its middle.
        """
        (width, height), outside = self._size_px, None
        if len(x2) and (x2.min() < 0 or y2.min() < 0 or x2.max() >= 2 * width or y2.max() >= 2 * height):
            outside = (x2 < 0) | (y2 < 0) | (x2 >= 2 * width) | (y2 >= 2 * height)
            x2, y2 = np.where(outside, 0, x2), np.where(outside, 0, y2)
        at = y2 >> self._bits + 1
        at *= self._grid.shape[1]
        at += x2 >> self._bits + 1
        found: npt.NDArray[np.bool_] = self._grid.reshape(-1).take(at) == _TISSUE
        if outside is not None:
            found &= ~outside
        return found

    def undecided(self, x0: Ints, y0: Ints, x1: Ints, y1: Ints) -> tuple[npt.NDArray[np.intp], int]:
        """Return the indices of boxes whose pixels must decide whether they hold tissue, and how many hold none.

        The boxes, each (N,), lie within the picture, and none is empty; `x1` and `y1` are not included.
        """
        flat, columns, more = self._sums.reshape(-1), self._sums.shape[1], (1 << self._bits) - 1
        left, right = x0 >> self._bits, x1 + more >> self._bits
        above, below = (y0 >> self._bits) * columns, (y1 + more >> self._bits) * columns
        found = flat.take(below + right)
        found -= flat.take(below + left)
        found -= flat.take(above + right)
        found += flat.take(above + left)
        none = len(found) - int(np.count_nonzero(found))
        found -= 1  # as an unsigned number, 0 becomes the largest
        return np.flatnonzero(found.view(np.uint32) < _TISSUE - 1), none

    def _draw(self, outlines: Sequence[tuple[Contour, int]], offset_px: tuple[int, int]) -> None:
        """Fill the squares whose middles lie inside, and mark those near an edge, where the filling may be wrong.

        With points at most half a square apart, every part of an edge lies within a quarter square of a point. For the
        filling, only the points at which an outline enters a square are kept. They lie in neighbouring squares, and
        OpenCV changes sides only in squares that hold a point.
        """
        points = np.concatenate([points.reshape(-1, 2) for points, _ in outlines])
        for axis in (0, 1):  # numpy is slow on pairs
            points[:, axis] += offset_px[axis]
        points, ends = self._dense(points, np.cumsum([len(points) for points, _ in outlines]))
        both = (points >> self._bits).view(np.int64)[:, 0]  # x and y as one number
        enters = np.empty(len(points), np.bool_)
        np.not_equal(both[1:], both[:-1], out=enters[1:])
        enters[0] = enters[ends[:-1]] = True
        at = np.flatnonzero(enters)
        entering, ends = points.take(at, axis=0), np.searchsorted(at, ends)
        near = self._near(points, entering)
        entering -= np.int32(1 << self._bits >> 1)
        for (_, value), first, last in zip(outlines, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            if last - first >= _LEAST_AROUND:
                cv2.fillPoly(self._grid, [entering[first:last]], _TISSUE * value, cv2.LINE_8, self._bits)
        self._grid &= near - np.uint8(_EDGE)  # 0 where it is marked
        self._grid += near

    def _dense(self, points: Points, ends: Ints) -> tuple[Points, Ints]:
        """Return the outlines with points at most half a square apart, and where each ends among them."""
        side = 1 << self._bits
        way = np.empty_like(points)
        np.subtract(points[1:], points[:-1], out=way[:-1])
        way[ends - 1] = points[np.concatenate(([0], ends[:-1]))] - points[ends - 1]
        gaps = np.abs(way)
        if 2 * gaps.max() <= side:
            return points, ends
        pieces = np.maximum(-(-gaps.max(axis=1) * 2 // side), 1)
        stops = np.cumsum(pieces)
        edge = np.repeat(np.arange(len(points)), pieces)
        nth = np.arange(len(edge)) - np.repeat(stops - pieces, pieces)
        between = points[edge] + np.rint(way[edge] * (nth / pieces[edge])[:, None]).astype(np.int32)
        return between, stops[ends - 1]

    def _near(self, points: Points, entering: Points) -> UInt8Array:
        """Return the grid, 1 where an edge comes near; `entering` are the points that enter a square."""
        near, (rows, columns) = np.zeros_like(self._grid), self._grid.shape
        flat, fine = near.reshape(-1), 1 << self._bits < _FINE
        reach = 0 if fine else (1 << self._bits) // 4 + _NEAR
        (x0, x1), (y0, y1) = (
            [np.maximum(np.minimum(at[:, axis] + way >> self._bits, most - 1), 0) for way in (-reach, reach)]
            for at in (entering if fine else points,) for axis, most in ((0, columns), (1, rows))
        )
        for row in (y0 * columns, y1 * columns):
            flat[row + x0] = flat[row + x1] = _EDGE
        return cv2.dilate(near, np.ones((3, 3), np.uint8)) if fine else near  # dilated, it reaches a square further
