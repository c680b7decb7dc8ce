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

_TISSUE, _EDGE = 255, 1
"""Values of squares. A sum over fewer than 255 squares is at least 255 only if one of them is tissue."""
_MOST_SIDES = 14
"""Most squares along a patch, so that it covers fewer than 255."""
_LEAST_AROUND = 12
"""An outline through fewer squares encloses none that is not beside one of them, and so is marked."""
_SQUARES_PER_PATCH, _MOST_SQUARES = 8, 1 << 22
_LEAST_BITS, _MOST_BITS = 2, 16
"""Squares of at least 4 pixels: a drawn edge is less than 4 from the true one, and may not leave the marked squares."""


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

    def tissue_at(self, x: Ints, y: Ints) -> npt.NDArray[np.bool_]:
        """Return, as (N,), which pixels lie in a square that is all tissue; False outside the picture."""
        (width, height), outside = self._size_px, None
        if len(x) and (x.min() < 0 or y.min() < 0 or x.max() >= width or y.max() >= height):
            outside = (x < 0) | (y < 0) | (x >= width) | (y >= height)
            x, y = np.where(outside, 0, x), np.where(outside, 0, y)
        at = y >> self._bits
        at *= self._grid.shape[1]
        at += x >> self._bits
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

        Of each outline, the points at which it enters a square are kept. Following ones lie in neighbouring squares.
        Between two of them, the outline, the line that OpenCV draws, and the pixels of the outline in the picture
        all stay within these squares and the squares around them, which are marked.
        """
        points = np.concatenate([points.reshape(-1, 2) for points, _ in outlines]) + np.array(offset_px, np.int32)
        points, ends = self._entering(points, np.cumsum([len(points) for points, _ in outlines]))
        most = np.array(self._grid.shape[::-1], np.int32) - np.int32(1)
        column, row = np.clip(points >> self._bits, 0, most).T
        near = np.zeros_like(self._grid)
        near[row, column] = _EDGE
        near = cv2.dilate(near, np.ones((3, 3), np.uint8))
        middle, begins = points - np.int32(1 << self._bits >> 1), np.concatenate(([0], ends[:-1]))
        for (_, value), first, last in zip(outlines, begins.tolist(), ends.tolist(), strict=True):
            if last - first >= _LEAST_AROUND:
                cv2.fillPoly(self._grid, [middle[first:last]], _TISSUE * value, cv2.LINE_8, self._bits)
        self._grid &= near - np.uint8(_EDGE)  # 0 where it is marked
        self._grid += near

    def _entering(self, points: Points, ends: Ints) -> tuple[Points, Ints]:
        """Return the points at which outlines enter a square, and where each outline ends among them.

        Long edges get points in between, so that following points lie in neighbouring squares.
        """
        squares = points >> self._bits
        both = squares.view(np.int64)[:, 0]  # x and y as one number
        begins = np.concatenate(([0], ends[:-1]))
        enters = np.empty(len(points), np.bool_)
        np.not_equal(both[1:], both[:-1], out=enters[1:])
        enters[begins] = True
        at = np.flatnonzero(enters)
        before = at - 1
        before[np.searchsorted(at, begins)] = ends - 1
        ends = np.searchsorted(at, ends)
        jump = np.abs(squares[at] - squares[before]).max(axis=1)
        if jump.max() < 2:
            return points[at], ends
        pieces = np.where(jump < 2, 1, jump + 1)
        stops = np.cumsum(pieces)
        edge = np.repeat(np.arange(len(at)), pieces)
        nth = np.arange(1, len(edge) + 1) - np.repeat(stops - pieces, pieces)
        start, way = points[before], points[at] - points[before]
        between = start[edge] + np.rint(way[edge] * (nth / pieces[edge])[:, None]).astype(np.int32)
        return between, stops[ends - 1]
