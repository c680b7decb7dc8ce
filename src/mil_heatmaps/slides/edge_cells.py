"""The plane cut at all edges of some rectangles: between two neighbouring edges nothing changes.

A grid with one cell there holds exactly what pixels would, for any overlap, at a fraction of their number.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False, eq=False)
class EdgeCells:
    """The cells that the edges of N rectangles make, and which of them each rectangle covers.

    Attributes
    ----------
    x_edges, y_edges : (nx + 1,), (ny + 1,) int64
        Where the cells begin and end, rising; both are empty without rectangles.
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
        """Return the cells of the rectangles between these edges, (N,) each."""
        x_edges, y_edges = np.unique(np.concatenate((left, right))), np.unique(np.concatenate((top, bottom)))
        return cls(
            x_edges, y_edges, np.searchsorted(x_edges, left), np.searchsorted(x_edges, right),
            np.searchsorted(y_edges, top), np.searchsorted(y_edges, bottom),
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return max(len(self.y_edges) - 1, 0), max(len(self.x_edges) - 1, 0)

    def covered(self) -> npt.NDArray[np.bool_]:
        """Return (ny, nx) which cells any rectangle covers."""
        change = np.zeros((self.shape[0] + 1, self.shape[1] + 1), np.int32)
        for y, first, last in ((self.y0, 1, -1), (self.y1, -1, 1)):
            np.add.at(change, (y, self.x0), first)
            np.add.at(change, (y, self.x1), last)
        for axis in (0, 1):
            np.cumsum(change, axis=axis, out=change)
        return np.asarray(change[:-1, :-1] > 0)
