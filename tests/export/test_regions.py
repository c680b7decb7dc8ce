"""Merged outlines are those of the union of the patches, checked pixel by pixel."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import label

from mil_heatmaps.export.regions import Region, merge_patches
from mil_heatmaps.slides.patch_grid import PatchGrid


def grid_of(coords: npt.ArrayLike, size: int = 8) -> PatchGrid:
    return PatchGrid(np.asarray(coords, np.int64).reshape(-1, 2), (size, size), (size, size))


def inside(region: Region, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Even-odd rule over all rings: a ray to the right crosses the rings an odd number of times."""
    crossings = np.zeros(len(points), np.int64)
    for ring in region.rings_l0:
        for (x0, y0), (_, y1) in pairwise(ring):
            if y0 != y1:
                hit = (points[:, 1] > min(y0, y1)) & (points[:, 1] < max(y0, y1)) & (points[:, 0] < x0)
                crossings += hit
    return crossings % 2 == 1


def check(grid: PatchGrid, chosen: npt.NDArray[np.bool_]) -> list[Region]:
    """Compare with the union painted pixel by pixel and labelled by SciPy."""
    found = merge_patches(grid, chosen)
    width, height = grid.size_l0
    reach_x, reach_y = (grid.coords_l0 + grid.size_l0).max(axis=0)
    canvas = np.zeros((reach_y, reach_x), bool)
    for x, y in grid.coords_l0[chosen]:
        canvas[y : y + height, x : x + width] = True
    labels, count = label(canvas)
    assert len(found) == count
    assert [region.area_px for region in found] == sorted(
        np.bincount(labels.ravel())[1:].tolist(), reverse=True
    )
    y, x = np.mgrid[:reach_y, :reach_x]
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    painted = np.zeros(canvas.shape, np.int64)
    for number, region in enumerate(found, start=1):
        painted[inside(region, centres).reshape(canvas.shape)] += number
        assert len(np.unique(labels[painted == number])) == 1
        for row in region.patches:
            corner_x, corner_y = grid.coords_l0[row]
            assert painted[corner_y, corner_x] == number
        for ring in region.rings_l0:
            assert (ring[0] == ring[-1]).all()
            moves = np.diff(ring, axis=0)
            assert ((moves == 0).sum(axis=1) == 1).all(), "sides run along x or y, and none is empty"
            turning = (moves[:-1] == 0) != (moves[1:] == 0)
            assert turning.all(), "no corner lies on a straight side"
    np.testing.assert_array_equal(painted > 0, canvas)
    assert (
        sorted(np.concatenate([region.patches for region in found]).tolist())
        == np.flatnonzero(chosen).tolist()
    )
    return found


def test_one_patch_is_its_rectangle() -> None:
    (region,) = check(grid_of([(16, 24)]), np.array([True]))
    assert region.area_px == 64
    assert len(region.rings_l0) == 1
    assert set(map(tuple, region.rings_l0[0].tolist())) == {(16, 24), (24, 24), (24, 32), (16, 32)}


def test_a_ring_of_patches_has_a_hole() -> None:
    coords = [(x, y) for x in (0, 8, 16) for y in (0, 8, 16) if (x, y) != (8, 8)]
    (region,) = check(grid_of(coords), np.ones(8, bool))
    assert len(region.rings_l0) == 2
    assert region.area_px == 8 * 64


def test_patches_that_touch_at_a_corner_are_apart() -> None:
    assert len(check(grid_of([(0, 0), (8, 8)]), np.ones(2, bool))) == 2


def test_holes_that_touch_at_a_corner_are_two() -> None:
    coords = [(x, y) for x in range(0, 32, 8) for y in range(0, 32, 8) if (x, y) not in ((8, 8), (16, 16))]
    (region,) = check(grid_of(coords), np.ones(len(coords), bool))
    assert region.area_px == 14 * 64


def test_only_the_chosen_are_merged() -> None:
    coords = [(x, 0) for x in range(0, 80, 8)]
    chosen = np.array([True, True, False, True, False, False, True, True, True, False])
    assert [len(region.patches) for region in check(grid_of(coords), chosen)] == [3, 2, 1]
    assert merge_patches(grid_of(coords), np.zeros(10, bool)) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [8, 4, 1, 9])
def test_any_overlap_and_any_place_is_exact(seed: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    coords = rng.integers(0, 120 // step, (60, 2)) * step
    check(grid_of(coords), rng.random(60) < 0.7)


def test_scattered_patches_are_rounded_not_refused() -> None:
    rng = np.random.default_rng(0)
    grid = grid_of(rng.integers(0, 100_000, (400, 2)), 512)
    found = merge_patches(grid, np.ones(400, bool), most_cells=2000)
    assert sum(len(region.patches) for region in found) == 400
    assert all(region.area_px > 0 for region in found)
