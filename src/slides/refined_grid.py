"""A finer grid for a map with overlap: the patches a model was trained on, and more of them between.

Names ending ``_l0`` are level-0 pixels.
"""

import numpy as np
import numpy.typing as npt

from src.errors import TissueError
from src.slides.patch_grid import PatchGrid

_MOST_CELLS = 1 << 26


def refine_grid(grid: PatchGrid, overlap: float) -> PatchGrid:
    """Return the patches of `grid` and those between them, the next one beginning 1 - `overlap` of a patch further.

    A patch in between is kept when all four corners lie in patches of `grid`, so that the map covers what the features
    cover and nothing else. The order is that of the rows, from the top; `overlap` 0 returns the grid as it is.

    Raises
    ------
    TissueError
        `overlap` below 0 or leaving no step, or patches so scattered that they form no grid to refine.
    """
    if not 0 <= overlap < 1:
        raise TissueError(f"overlap must be at least 0 and below 1, got {overlap}")
    if overlap == 0 or not len(grid):
        return grid
    width, height = grid.size_l0
    step_x, step_y = int(width * (1 - overlap)), int(height * (1 - overlap))
    if min(step_x, step_y) < 1:
        raise TissueError(f"overlap {overlap} of patches of {grid.size_l0} level-0 pixels leaves no step between them")
    covered = _Coverage(grid)
    found = [grid.coords_l0]
    for shift_y in range(0, height, step_y):
        for shift_x in range(0, width, step_x):
            between = grid.coords_l0 + np.array([shift_x, shift_y])
            inside = np.ones(len(between), bool)
            for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
                inside &= covered(between + np.array(corner))
            found.append(between[inside])
    coords = np.unique(np.concatenate(found), axis=0)
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    return PatchGrid(np.ascontiguousarray(coords[order]), grid.size_l0, (step_x, step_y))


class _Coverage:
    """Says which points lie in some patch, on the small grid that all patch edges cut."""

    def __init__(self, grid: PatchGrid) -> None:
        size = np.array(grid.size_l0)
        ends = grid.coords_l0 + size
        self._x, self._y = (np.unique(np.concatenate([grid.coords_l0[:, i], ends[:, i]])) for i in (0, 1))
        if len(self._x) * len(self._y) > _MOST_CELLS:
            raise TissueError("the patches are scattered without a grid, so it cannot be refined; use grid: clam")
        change = np.zeros((len(self._y), len(self._x)), np.int32)
        (x0, y0), (x1, y1) = self._cells(grid.coords_l0), self._cells(ends)
        for y, x, sign in ((y0, x0, 1), (y1, x1, 1), (y0, x1, -1), (y1, x0, -1)):
            np.add.at(change, (y, x), sign)
        self._covered = change.cumsum(axis=0).cumsum(axis=1) > 0

    def _cells(self, points_l0: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        x = np.searchsorted(self._x, points_l0[:, 0], side="right") - 1
        y = np.searchsorted(self._y, points_l0[:, 1], side="right") - 1
        return x, y

    def __call__(self, points_l0: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        x, y = self._cells(points_l0)
        on: npt.NDArray[np.bool_] = (x >= 0) & (y >= 0)
        on[on] = self._covered[y[on], x[on]]
        return on
