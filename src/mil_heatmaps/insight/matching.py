"""Transfer numbers from one grid of patches to another of the same slide, by the area that patches share.

Names ending ``_l0`` are level-0 pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from mil_heatmaps.slides.patch_grid import PatchGrid

Floats = npt.NDArray[np.float64]

LEAST_COVERED = 0.5
"""Share of a target patch that patches with a number must cover for it to get one."""


def same_patches(a: PatchGrid, b: PatchGrid) -> bool:
    """Whether two grids have the same patches in the same order."""
    return a.size_l0 == b.size_l0 and np.array_equal(a.coords_l0, b.coords_l0)


def on_grid(values: npt.ArrayLike, grid: PatchGrid, target: PatchGrid) -> tuple[Floats, bool]:
    """Return `values` of `grid` for the patches of `target`, (M,) float64, and whether areas had to be weighted.

    Patches with the same corners and size keep their number. On other grids a patch gets the mean of the patches
    that overlap it, weighted by shared area; NaN where they cover less than half of it.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if same_patches(grid, target):
        return numbers, False
    if grid.size_l0 == target.size_l0:
        found = _by_corner(numbers, grid, target)
        if np.isfinite(found).mean() >= LEAST_COVERED or not len(target):
            return found, False
    return _by_area(numbers, grid, target), True


def _by_corner(numbers: Floats, grid: PatchGrid, target: PatchGrid) -> Floats:
    """Return the numbers of the patches with the same corners, NaN without such a patch; the last of several counts."""
    place = dict(zip(map(tuple, grid.coords_l0.tolist()), numbers.tolist(), strict=True))
    return np.array([place.get(tuple(corner), np.nan) for corner in target.coords_l0.tolist()], np.float64)


def _by_area(numbers: Floats, grid: PatchGrid, target: PatchGrid) -> Floats:
    out = np.full(len(target), np.nan)
    kept = np.isfinite(numbers)
    if not kept.any() or not len(target):
        return out
    numbers, corners = numbers[kept], grid.coords_l0[kept].astype(np.float64)
    size, size_of_target = np.array(grid.size_l0, float), np.array(target.size_l0, float)
    reach = (size + size_of_target) / 2  # patches overlap where their centres are closer than this along both axes
    sources = cKDTree((corners + size / 2) / reach)
    asked = cKDTree((target.coords_l0 + size_of_target / 2) / reach)
    near = asked.query_ball_tree(sources, 1.0 - 1e-9, p=np.inf)
    counts = np.fromiter(map(len, near), np.intp, len(near))
    to = np.repeat(np.arange(len(target)), counts)
    of = np.fromiter((i for some in near for i in some), np.intp, int(counts.sum()))
    low = np.maximum(corners[of], target.coords_l0[to])
    high = np.minimum(corners[of] + size, target.coords_l0[to] + size_of_target)
    areas = np.prod(np.maximum(high - low, 0), axis=1)
    covered = np.bincount(to, weights=areas, minlength=len(target))
    sums = np.bincount(to, weights=areas * numbers[of], minlength=len(target))
    # Patches of a grid with overlap cover an area several times; it counts once as covered.
    enough = covered >= LEAST_COVERED * float(np.prod(size_of_target)) * (1 - 1e-9)
    out[enough] = sums[enough] / covered[enough]
    return out
