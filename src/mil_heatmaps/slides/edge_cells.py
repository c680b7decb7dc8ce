"""The plane cut at all edges of some rectangles; between two neighbouring edges, nothing changes.

A grid with one cell between neighbouring edges holds the same as pixels would, for any overlap, with far fewer values.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_MARKED = 1 << 20
"""Up to this extent in pixels, edges are always marked rather than sorted."""


@dataclass(frozen=True, repr=False, eq=False)
class EdgeCells:
    """The cells between the edges of N rectangles, and which cells each rectangle covers.

    Attributes
    ----------
    x_edges, y_edges : (nx + 1,), (ny + 1,) int64
        Where the cells begin and end, in ascending order; both are empty without rectangles.
    x0, x1, y0, y1 : (N,) int
        A rectangle covers the columns `x0` to `x1` and the rows `y0` to `y1` of the cells, ends not included.
    """

    x_edges: Ints
    y_edges: Ints
    x0: npt.NDArray[np.intp]
    x1: npt.NDArray[np.intp]
    y0: npt.NDArray[np.intp]
    y1: npt.NDArray[np.intp]

    @classmethod
    def cut(cls, left: Ints, top: Ints, right: Ints, bottom: Ints) -> "EdgeCells":
        """Return the cells of the rectangles with these edges, each (N,)."""
        (x_edges, x0, x1), (y_edges, y0, y1) = _edges(left, right), _edges(top, bottom)
        return cls(x_edges, y_edges, x0, x1, y0, y1)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return max(len(self.y_edges) - 1, 0), max(len(self.x_edges) - 1, 0)

    def covered(self) -> npt.NDArray[np.bool_]:
        """Return, as (ny, nx), which cells are covered by any rectangle."""
        change = np.zeros((self.shape[0] + 1, self.shape[1] + 1), np.int32)
        for y, first, last in ((self.y0, 1, -1), (self.y1, -1, 1)):
            np.add.at(change, (y, self.x0), first)
            np.add.at(change, (y, self.x1), last)
        for axis in (0, 1):
            np.cumsum(change, axis=axis, out=change)
        return np.asarray(change[:-1, :-1] > 0)


def _edges(first: Ints, last: Ints) -> tuple[Ints, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the edges of N intervals in ascending order, and the indices of each interval's first and last edge."""
    if not len(first):
        none = np.empty(0, np.intp)
        return np.empty(0, np.int64), none, none
    start, stop = int(first.min()), int(last.max())
    if stop - start > max(_MARKED, 64 * len(first)):  # far apart: sorting is cheaper than marking
        edges, number = np.unique(np.stack((first, last)), return_inverse=True)
        return edges, *number.reshape(2, -1)
    marked = np.zeros(stop - start + 1, np.bool_)
    marked[first - start] = marked[last - start] = True
    number = np.cumsum(marked) - 1
    return np.flatnonzero(marked) + start, number[first - start], number[last - start]
