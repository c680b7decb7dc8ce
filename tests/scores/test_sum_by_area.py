"""Maps of several bags added on the level-0 plane: nothing is lost, and each cell has its share by area."""

import numpy as np
import pytest

from mil_heatmaps.scores.sum_by_area import common_share, sum_by_area
from mil_heatmaps.slides.patch_grid import PatchGrid


def grid(cells: list[tuple[int, int]], size: int, at: tuple[int, int] = (0, 0)) -> PatchGrid:
    return PatchGrid(np.array(cells, np.int64) * size + at, (size, size), (size, size))


def test_a_coarse_patch_gives_each_cell_its_share_and_cells_of_its_own_where_there_are_none() -> None:
    fine, coarse = grid([(0, 0), (1, 0), (0, 1)], 100), grid([(0, 0)], 200)
    cells, total = sum_by_area([(fine, np.array([[1.0], [2.0], [3.0]])), (coarse, np.array([[8.0]]))])
    assert cells.coords_l0.tolist() == [[0, 0], [100, 0], [0, 100], [100, 100]]
    assert total[:, 0].tolist() == [3.0, 4.0, 5.0, 2.0]
    assert cells.size_l0 == cells.step_l0 == (100, 100)


def test_the_sum_over_cells_is_the_sum_over_patches_whatever_the_grids() -> None:
    draw = np.random.default_rng(0)
    maps = [
        (grid([(x, y) for x in range(9) for y in range(7)], 97, (13, 5)), draw.normal(size=(63, 2))),
        (grid([(x, y) for x in range(4) for y in range(3)], 256, (-20, 31)), draw.normal(size=(12, 2))),
        (PatchGrid(draw.integers(0, 800, (20, 2)), (150, 120), (75, 60)), draw.normal(size=(20, 2))),
    ]
    cells, total = sum_by_area(maps)
    np.testing.assert_allclose(total.sum(axis=0), sum(values.sum(axis=0) for _, values in maps), rtol=1e-10)
    assert cells.step_l0 == (75, 60)
    assert len(np.unique(cells.coords_l0, axis=0)) == len(cells)


def test_patches_without_a_score_count_as_nothing_and_alone_leave_none() -> None:
    fine, coarse = grid([(0, 0), (5, 0)], 100), grid([(0, 0)], 200)
    _, total = sum_by_area([(fine, np.array([[np.nan], [np.nan]])), (coarse, np.array([[4.0]]))])
    np.testing.assert_array_equal(total[:, 0], [1, 1, np.nan, 1, 1])
    with pytest.raises(ValueError, match="the same columns"):
        sum_by_area([(fine, np.zeros((2, 1))), (coarse, np.zeros((1, 2)))])


def test_bags_of_one_slide_have_places_in_common() -> None:
    fine = grid([(x, y) for x in range(8) for y in range(8)], 256)
    assert common_share(fine, grid([(x, y) for x in range(2) for y in range(2)], 1024)) == 1
    assert common_share(fine, grid([(0, 0)], 1024, (9000, 9000))) == 0
