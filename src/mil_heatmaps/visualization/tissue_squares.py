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

_TISSUE, _EDGE = 255, 1
"""Values of squares. A sum over fewer than 255 squares is at least 255 only if one of them is tissue."""
_MOST_SIDES = 14
"""Most squares along a patch, so that it covers fewer than 255."""
_LEAST_AROUND = 12
"""An outline through fewer squares encloses none that is not beside one of them, and so is marked."""
_SQUARES_PER_PATCH, _MOST_SQUARES = 8, 1 << 22
_LEAST_BITS, _MOST_BITS = 2, 16
"""A drawn edge is at most 2 pixels from the true edge. With 1 for rounding and a quarter square, that is one square."""
_HALVES = np.arange(3)[:, None]
"""A patch is asked for corners of outlines at its ends and its middle, along x and y."""


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
        self._corners_x = self._corners_y = np.full(1, -1, np.int32)
        self._corner_in = np.zeros(self._grid.shape, np.int32)  # the first corner stands for none
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
        rest = np.flatnonzero(found.view(np.uint32) < _TISSUE - 1)
        return rest[~self._hold_corner(*(side.take(rest) for side in (x0, y0, x1, y1)))], none

    def _hold_corner(self, x0: Ints, y0: Ints, x1: Ints, y1: Ints) -> npt.NDArray[np.bool_]:
        """Return, as (R,), which boxes hold a corner of an outline of tissue that no hole can have emptied.

        OpenCV fills an outline's corners, too. Some squares of a box are asked for one corner each, so a box may hold a
        corner and not be found.
        """
        rows = y0 + ((y1 - 1 - y0) * _HALVES >> 1) >> self._bits
        columns = x0 + ((x1 - 1 - x0) * _HALVES >> 1) >> self._bits
        nth = self._corner_in[rows[:, None], columns]
        x, y = self._corners_x.take(nth), self._corners_y.take(nth)
        held: npt.NDArray[np.bool_] = ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(axis=(0, 1))
        return held

    def _draw(self, outlines: Sequence[tuple[Contour, int]], offset_px: tuple[int, int]) -> None:
        """Fill the squares whose middles lie inside, and mark those near an edge, where the filling may be wrong.

        With points at most half a square apart, every part of an edge lies within a quarter square of a point. For the
        filling, only the points at which an outline enters a square are kept. They lie in neighbouring squares, and
        OpenCV changes sides only in squares that hold a point.
        """
        points = np.concatenate([points for points, _ in outlines])[:, 0]
        for axis in (0, 1):  # numpy is slow on pairs
            points[:, axis] += offset_px[axis]
        ends = np.cumsum([len(points) for points, _ in outlines])
        values = [value for _, value in outlines]
        dense, dense_ends = self._dense(points, ends)
        corners, corner_ends = self._entering(points, ends)
        self._keep_corners(corners, np.array(values) == 0, corner_ends)
        points, ends = (corners, corner_ends) if dense is points else self._entering(dense, dense_ends)
        near = self._near(points)
        points -= np.int32(1 << self._bits >> 1)
        for value, first, last in zip(values, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            if last - first >= _LEAST_AROUND:
                cv2.fillPoly(self._grid, [points[first:last]], _TISSUE * value, cv2.LINE_8, self._bits)
        self._grid &= near - np.uint8(_EDGE)  # 0 where it is marked
        self._grid += near

    def _keep_corners(self, points: Points, holes: npt.NDArray[np.bool_], ends: Ints) -> None:
        """Keep a corner of an outline for every square that has one and that the bounds of no hole reach."""
        x, y = np.ascontiguousarray(points.T)
        starts = np.concatenate(([0], ends[:-1]))
        bounds = [way.reduceat(at, starts)[holes] for at in (x, y) for way in (np.minimum, np.maximum)]
        width, height = self._size_px
        kept = (x.view(np.uint32) < width) & (y.view(np.uint32) < height)  # unsigned, numbers below 0 are the largest
        x, y = x[kept], y[kept]
        self._corner_in[y >> self._bits, x >> self._bits] = np.arange(1, len(x) + 1)
        self._corners_x, self._corners_y = np.append(self._corners_x, x), np.append(self._corners_y, y)
        for left, right, above, below in np.maximum(np.stack(bounds) >> self._bits, -1).T.tolist():
            self._corner_in[max(above, 0) : below + 1, max(left, 0) : right + 1] = 0

    def _entering(self, points: Points, ends: Ints) -> tuple[Points, Ints]:
        """Return the points at which an outline enters a square, and where each outline ends among them."""
        both = (points >> self._bits).view(np.int64)[:, 0]  # x and y as one number
        enters = np.empty(len(points), np.bool_)
        np.not_equal(both[1:], both[:-1], out=enters[1:])
        enters[0] = enters[ends[:-1]] = True
        at = np.flatnonzero(enters)
        return points.take(at, axis=0), np.searchsorted(at, ends)

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

    def _near(self, points: Points) -> UInt8Array:
        """Return the grid, 1 in the squares of `points`, the points that enter a square, and in those beside them."""
        near = np.zeros_like(self._grid)
        y, x = (
            np.maximum(np.minimum(points[:, axis] >> self._bits, most - 1), 0)
            for axis, most in zip((1, 0), near.shape, strict=True)
        )
        near[y, x] = _EDGE
        wide: UInt8Array = cv2.dilate(near, np.ones((3, 3), np.uint8))
        return wide
