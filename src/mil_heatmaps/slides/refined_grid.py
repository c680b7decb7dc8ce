"""A finer grid for a map with overlap: the patches of the training grid, and further patches between them.

Names ending ``_l0`` are level-0 pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.edge_cells import EdgeCells
from mil_heatmaps.slides.patch_grid import PatchGrid

_MOST_CELLS = 1 << 26
_EDGE_SHARE = 128
"""Corners may lie outside the patches by a 128th of a patch, because rounded coordinates leave gaps between rows."""


@dataclass(frozen=True, repr=False)
class RefinedGrid:
    """A grid with its steps divided into equal parts.

    Attributes
    ----------
    grid : PatchGrid
        In rows from top to bottom.
    phases : (N,) int64
        Which of the `parts` x `parts` shifts of the training grid each patch belongs to; 0 is the training grid
        itself. Patches of one phase have the distances of the training grid.
    parts : int
        Number of parts per step; 1 leaves the grid unchanged.
    overlap : float
        Share of a patch that its neighbour in the refined grid also covers.
    """

    grid: PatchGrid
    phases: npt.NDArray[np.int64]
    parts: int
    overlap: float

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        return f"RefinedGrid({self.grid!r}, parts={self.parts}, overlap={self.overlap:.4g})"


def step_parts(grid: PatchGrid, overlap: float) -> int:
    """Return into how many parts to divide the step of `grid`, for an overlap near the requested one.

    With n parts, a grid of size s and step t has the overlap 1 - t / (n s). For a grid without overlap, this gives 0,
    1/2, 2/3, 3/4, ... Only these values keep the grid's patches at regular distances. The nearest value is taken, and
    the finer one if two are equally near. If the requested overlap exceeds the grid's, there are at least two parts.

    Raises
    ------
    TissueError
        If `overlap` is below 0 or not below 1, or so near 1 that it leaves no step.
    """
    if not 0 <= overlap < 1:
        raise TissueError(f"overlap must be at least 0 and below 1, got {overlap}")
    own = min(1.0, sum(step / size for step, size in zip(grid.step_l0, grid.size_l0, strict=True)) / 2)
    below = max(1, int(own / (1 - overlap) + 1e-9))
    # Take the nearer of the two overlaps around the requested one.
    lower, upper = 1 - own / below, 1 - own / (below + 1)
    parts = below if overlap - lower < upper - overlap - 1e-9 else below + 1
    asks_more = overlap > 1 - own + 1e-3
    parts = max(2, parts) if asks_more else 1
    if parts > min(grid.step_l0):
        raise TissueError(f"overlap {overlap} of patches of {grid.size_l0} level-0 pixels leaves no step between them")
    return parts


def refine_grid(grid: PatchGrid, overlap: float) -> RefinedGrid:
    """Return the patches of `grid` and those between them, with steps divided into `step_parts` equal parts.

    A patch in between is kept if all its four corners lie in patches of `grid`. The map then covers the same area as
    the features.

    Raises
    ------
    TissueError
        As `step_parts`; also if the patches are too scattered to form a grid.
    """
    parts = step_parts(grid, overlap)
    (width, height), steps = grid.size_l0, grid.step_l0
    drawn = 1 - sum(step / parts / size for step, size in zip(steps, grid.size_l0, strict=True)) / 2
    if parts == 1 or not len(grid):
        return RefinedGrid(grid, np.zeros(len(grid), np.int64), 1, drawn)
    covered = _Coverage(grid)
    found, numbers = [grid.coords_l0], [np.zeros(len(grid), np.int64)]
    edge_x, edge_y = max(1, width // _EDGE_SHARE), max(1, height // _EDGE_SHARE)
    corners = [(x, y) for x in (edge_x, width - 1 - edge_x) for y in (edge_y, height - 1 - edge_y)]
    for phase in range(1, parts * parts):
        numbers_xy = phase % parts, phase // parts
        shift = [round(i * step / parts) for i, step in zip(numbers_xy, steps, strict=True)]
        between_l0 = grid.coords_l0 + np.array(shift)
        inside = np.ones(len(between_l0), bool)
        for corner in corners:
            inside &= covered(between_l0 + np.array(corner))
        found.append(between_l0[inside])
        numbers.append(np.full(np.count_nonzero(inside), phase))
    coords_l0, phases = np.concatenate(found), np.concatenate(numbers)
    # Pieces of tissue with separate grids may repeat a patch; the first one in order of phases stays.
    _, first = np.unique(coords_l0, axis=0, return_index=True)
    first.sort()
    order = first[np.lexsort((coords_l0[first, 0], coords_l0[first, 1]))]
    step_l0 = max(1, round(steps[0] / parts)), max(1, round(steps[1] / parts))
    refined = PatchGrid(np.ascontiguousarray(coords_l0[order]), grid.size_l0, step_l0)
    return RefinedGrid(refined, phases[order], parts, drawn)


class _Coverage:
    """Tells which points lie in any patch."""

    def __init__(self, grid: PatchGrid) -> None:
        (left, top), (right, bottom) = grid.coords_l0.T, (grid.coords_l0 + np.array(grid.size_l0)).T
        self._cells = EdgeCells.cut(left, top, right, bottom)
        if math.prod(self._cells.shape) > _MOST_CELLS:
            raise TissueError("the patches are scattered without a grid, so it cannot be refined; use grid: clam")
        self._covered = self._cells.covered()

    def __call__(self, points_l0: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        x = np.searchsorted(self._cells.x_edges, points_l0[:, 0], side="right") - 1
        y = np.searchsorted(self._cells.y_edges, points_l0[:, 1], side="right") - 1
        rows, columns = self._cells.shape
        on: npt.NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
        on[on] = self._covered[y[on], x[on]]
        return on
