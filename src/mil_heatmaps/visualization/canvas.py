"""Shades of patches to mean shades, on the small grid cut by all patch edges.

No patch is ever rasterised. All pixels between two neighbouring edges lie under the same patches, so one cell between
them is enough for the whole picture. A grid is built for one band of rows at a time, from the patches that touch the
band. A grid of all edges at once could need as many cells as pixels, if each piece of tissue has a different lattice.

All positions are pixels of the picture (``_px``); x runs right, y down.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.edge_cells import EdgeCells
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.visualization.frame import Frame

_PAIRS_AT_ONCE = 1 << 20
_FEW_CELLS = 48
"""Up to this many cells per patch, all (patch, cell) pairs are listed; with more, each patch adds a block of cells."""


@dataclass(frozen=True)
class Cells:
    """Mean shades of one band of rows.

    Attributes
    ----------
    x_edges, y_edges : (nx + 1,), (ny + 1,) int64
        Where the cells begin and end, in ascending order. Nothing lies outside them.
    mean : (ny, nx) float64
        Mean shade of the patches over each cell, 0 without patches.
    covered : (ny, nx) bool
        True where at least one patch is shown.
    """

    x_edges: npt.NDArray[np.int64]
    y_edges: npt.NDArray[np.int64]
    mean: npt.NDArray[np.float64]
    covered: npt.NDArray[np.bool_]


@dataclass(frozen=True, repr=False, eq=False)
class PatchCanvas:
    """The patches of a picture with their shades, ready to be cut into cells.

    A pixel's shade is the mean over its patches. It is summed in patch order in float64, as in CLAM, so both agree bit
    for bit. Patches below `floor` add 0, and show nothing where they are alone, as in CLAM.

    Attributes
    ----------
    corners_px : (N, 2) int64
        Top-left corners; they may lie outside the picture.
    size_px : (width, height)
        Size of every patch, or of the largest patch if `ends_px` is given.
    shades : (N,) float64
        All are finite.
    picture_px : (width, height)
    floor : float
        Shades below it count as 0.
    binary : bool
        Shades are 1 at or above the floor and 0 below; the mean is rounded half to even.
    ends_px : (N, 2) int64
        Bottom-right ends (not included) of patches that differ in size; a patch may hold no pixel.
    by_top : (N,) int
        The patches from top to bottom.
    """

    corners_px: npt.NDArray[np.int64]
    size_px: tuple[int, int]
    shades: npt.NDArray[np.float64]
    picture_px: tuple[int, int]
    floor: float = 0.0
    binary: bool = False
    ends_px: npt.NDArray[np.int64] = None  # type: ignore[assignment]  # filled below
    by_top: npt.NDArray[np.intp] = field(init=False)
    _tops: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.corners_px[:, 1], kind="stable")
        object.__setattr__(self, "by_top", order)
        object.__setattr__(self, "_tops", self.corners_px[order, 1])
        if self.ends_px is None:
            object.__setattr__(self, "ends_px", self.corners_px + np.asarray(self.size_px, dtype=np.int64))

    def cells(self, y0: int, y1: int) -> Cells:
        """Return the cells of the rows `y0` to `y1` (not included)."""
        index = self.touching(y0, y1)
        left = np.clip(self.corners_px[index, 0], 0, self.picture_px[0])
        right = np.clip(self.ends_px[index, 0], 0, self.picture_px[0])
        top = np.clip(self.corners_px[index, 1], y0, y1)
        bottom = np.clip(self.ends_px[index, 1], y0, y1)
        cells = EdgeCells.cut(left, top, right, bottom)
        shape = cells.shape
        if 0 in shape:
            return Cells(cells.x_edges, cells.y_edges, np.zeros(shape), np.zeros(shape, np.bool_))
        shown = self.shades[index] >= self.floor
        added = np.where(shown, 1.0 if self.binary else self.shades[index], 0.0)
        total, count = _accumulate(cells, added)
        covered = count > 0 if shown.all() else _accumulate(cells, shown.astype(np.float64))[0] > 0
        mean = np.divide(total, count, out=total, where=count > 0)
        if self.binary:
            np.rint(mean, out=mean)
        return Cells(cells.x_edges, cells.y_edges, mean, covered)

    def touching(self, y0: int, y1: int) -> npt.NDArray[np.intp]:
        """Return the indices of the patches with a row in `y0` to `y1` (not included), in patch order."""
        first = np.searchsorted(self._tops, y0 - self.size_px[1], side="right")
        last = np.searchsorted(self._tops, y1, side="left")
        return np.sort(self.by_top[first:last])


def _accumulate(
    cells: EdgeCells, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the sum of the patches' `values` over each cell, added in patch order, and how many were added."""
    wide, high = int((cells.x1 - cells.x0).max()), int((cells.y1 - cells.y0).max())
    if wide * high <= _FEW_CELLS:
        totals, counts = np.zeros((2, math.prod(cells.shape) + 1))
        for cell, value in _pairs(cells, values, wide, high):
            np.add.at(totals, cell, value)
            np.add.at(counts, cell, 1.0)
        return totals[:-1].reshape(cells.shape), counts[:-1].reshape(cells.shape)
    total, count = np.zeros(cells.shape), np.zeros(cells.shape)
    blocks = zip(cells.x0.tolist(), cells.x1.tolist(), cells.y0.tolist(), cells.y1.tolist(), strict=True)
    for value, (x0, x1, y0, y1) in zip(values.tolist(), blocks, strict=True):
        total[y0:y1, x0:x1] += value
        count[y0:y1, x0:x1] += 1.0
    return total, count


def _pairs(
    cells: EdgeCells, values: npt.NDArray[np.float64], wide: int, high: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
    """Yield (flat cell index, value) for every patch and each cell it covers, in patch order.

    No patch covers more than `wide` columns and `high` rows of cells. Those that cover fewer add the rest of their
    values to a cell after the last.
    """
    columns = cells.shape[1]
    right, down = np.tile(np.arange(wide), high), np.repeat(np.arange(high), wide)
    first = cells.y0 * columns + cells.x0
    width, height = cells.x1 - cells.x0, cells.y1 - cells.y0
    step = max(1, _PAIRS_AT_ONCE // max(1, wide * high))
    for part in (slice(begin, begin + step) for begin in range(0, len(values), step)):
        cell = first[part, None] + (down * columns + right)
        fewer = np.flatnonzero((width[part] < wide) | (height[part] < high))
        own = (right < width[part][fewer, None]) & (down < height[part][fewer, None])
        cell[fewer] = np.where(own, cell[fewer], math.prod(cells.shape))
        yield cell.reshape(-1), np.repeat(values[part], wide * high)


def place_patches(grid: PatchGrid, frame: Frame) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """Return the top-left corners of the patches in CLAM's pictures and their common size.

    Corners and size are rounded up, as in CLAM. A patch may therefore lie up to a pixel off, and neighbours may share
    a column.
    """
    corners = np.ceil(_from_corner(grid, frame) * np.asarray(frame.scale)).astype(np.int64)
    width, height = (int(np.ceil(side * factor)) for side, factor in zip(grid.size_l0, frame.scale, strict=True))
    return corners, (width, height)


def _from_corner(grid: PatchGrid, frame: Frame) -> npt.NDArray[np.int64]:
    """Return the patches' corners from the picture's corner on, in level-0 pixels, (N, 2).

    All x lie together in memory, then all y: on short rows NumPy needs several times as long.
    """
    return np.asfortranarray(grid.coords_l0) - np.asarray(frame.corner_l0, dtype=np.int64)


def patch_pixels(grid: PatchGrid, frame: Frame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the patches begin and end (not included) in a picture, each (N, 2).

    In a frame with `by_centres`, a patch has the pixels whose centres it covers. Patches then share pixels only if they
    overlap on the slide, and a patch smaller than a pixel may have none. Other frames follow CLAM's rule.
    """
    if not frame.by_centres:
        corners, size = place_patches(grid, frame)
        return corners, corners + np.asarray(size, dtype=np.int64)
    starts_l0 = _from_corner(grid, frame)
    ends_l0 = starts_l0 + np.asarray(grid.size_l0, dtype=np.int64)
    first, end = (np.ceil(at * np.asarray(frame.scale) - 0.5).astype(np.int64) for at in (starts_l0, ends_l0))
    return first, end
