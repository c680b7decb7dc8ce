"""Finer grids between the patches a model was trained on, and their phases."""

from collections.abc import Iterable

import numpy as np
import pytest

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.refined_grid import RefinedGrid, refine_grid, step_parts


def grid_of(*corners: tuple[int, int], size: int = 256, step: int = 0) -> PatchGrid:
    return PatchGrid(np.array(corners, np.int64), (size, size), (step or size, step or size))


def full_grid(size: int, step: int, columns: int = 5, rows: int = 4) -> PatchGrid:
    return grid_of(*((x * step, y * step) for y in range(rows) for x in range(columns)), size=size, step=step)


def corners_of(grid: PatchGrid) -> set[tuple[int, int]]:
    return {(x, y) for x, y in grid.coords_l0.tolist()}


def gaps(values: Iterable[int]) -> set[int]:
    return set(np.diff(sorted(set(values))).tolist())


def test_patches_between_two_neighbours_are_added_and_none_sticks_out() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (0, 256)), 0.5)
    assert fine.grid.coords_l0.tolist() == [[0, 0], [128, 0], [256, 0], [0, 128], [0, 256]]
    assert fine.grid.step_l0 == (128, 128)


def test_a_square_of_four_patches_gains_its_middle() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (0, 256), (256, 256)), 0.5)
    assert (128, 128) in corners_of(fine.grid)
    assert len(fine) == 9


def test_no_overlap_leaves_the_grid_alone() -> None:
    grid = grid_of((5, 7), (261, 7))
    assert refine_grid(grid, 0.0).grid is grid


def test_patches_of_two_pieces_with_phases_of_their_own_do_not_mix() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (1000, 13), (1256, 13)), 0.5)
    assert fine.grid.coords_l0.tolist() == [[0, 0], [128, 0], [256, 0], [1000, 13], [1128, 13], [1256, 13]]


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5, 0.999])
def test_an_overlap_without_a_step_is_refused(overlap: float) -> None:
    with pytest.raises(TissueError, match="overlap"):
        refine_grid(grid_of((0, 0), (256, 0), size=256 if overlap != 0.999 else 100), overlap)


@pytest.mark.parametrize(
    ("size", "step", "overlap", "parts"),
    [
        (256, 256, 0.0, 1), (256, 256, 0.1, 2), (256, 256, 0.25, 2), (256, 256, 0.5, 2), (256, 256, 0.55, 2),
        (256, 256, 0.6, 3), (256, 256, 0.67, 3), (256, 256, 0.75, 4), (256, 256, 0.9, 10), (255, 255, 0.5, 2),
        (682, 683, 0.0, 1), (682, 683, 0.5, 2),
        # Grids that overlap themselves are never made coarser, and their own overlap is asked for in vain.
        (256, 128, 0.0, 1), (256, 128, 0.25, 1), (256, 128, 0.5, 1), (256, 128, 0.75, 2), (256, 192, 0.25, 1),
        (256, 192, 0.5, 2),
    ],
)  # fmt: skip
def test_the_step_is_cut_into_the_number_of_parts_whose_overlap_is_nearest(
    size: int, step: int, overlap: float, parts: int
) -> None:
    assert step_parts(full_grid(size, step), overlap) == parts


@pytest.mark.parametrize(("size", "step"), [(256, 256), (255, 255), (100, 100), (683, 683), (256, 128), (255, 100)])
@pytest.mark.parametrize("overlap", [0.25, 0.3, 0.5, 0.66, 0.75, 0.8])
def test_the_map_is_regular_and_holds_the_training_patches_whatever_overlap_is_asked(
    size: int, step: int, overlap: float
) -> None:
    grid = full_grid(size, step)
    fine = refine_grid(grid, overlap)
    assert corners_of(grid) <= corners_of(fine.grid)
    for axis in (0, 1):
        between = gaps(fine.grid.coords_l0[:, axis].tolist())
        assert max(between) - min(between) <= 1
        assert abs(fine.grid.step_l0[axis] - step / fine.parts) <= 0.5
    # A full lattice, without gaps: every column with every row.
    columns, rows = (len(np.unique(fine.grid.coords_l0[:, axis])) for axis in (0, 1))
    assert len(fine) == columns * rows
    assert fine.overlap == pytest.approx(1 - step / size / fine.parts)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.7, 0.75])
@pytest.mark.parametrize(("size", "step"), [(256, 256), (255, 255), (256, 128)])
def test_every_phase_lies_like_the_training_grid(size: int, step: int, overlap: float) -> None:
    grid = full_grid(size, step)
    fine = refine_grid(grid, overlap)
    assert set(fine.phases.tolist()) == set(range(fine.parts**2))
    assert corners_of(_phase(fine, 0)) == corners_of(grid)
    for phase in range(fine.parts**2):
        coords = _phase(fine, phase).coords_l0
        for axis in (0, 1):
            assert gaps(coords[:, axis].tolist()) == {step}


def _phase(fine: RefinedGrid, phase: int) -> PatchGrid:
    return PatchGrid(fine.grid.coords_l0[fine.phases == phase], fine.grid.size_l0, fine.grid.step_l0)


def test_coordinates_that_were_rounded_one_by_one_are_refined_without_holes() -> None:
    """As where a step of 170.67 level-0 pixels was rounded patch by patch: distances of 170 and 171."""
    exact = 512 / 3
    corners = [(round(x * exact), round(y * exact)) for y in range(5) for x in range(6)]
    assert gaps(x for x, _ in corners) == {170, 171}
    fine = refine_grid(grid_of(*corners, size=170, step=171), 0.5)
    assert corners_of(grid_of(*corners)) <= corners_of(fine.grid)
    columns, rows = (len(np.unique(fine.grid.coords_l0[:, axis])) for axis in (0, 1))
    assert (columns, rows) == (11, 9)
    assert len(fine) == columns * rows
    assert all(gap in (84, 85, 86) for axis in (0, 1) for gap in gaps(fine.grid.coords_l0[:, axis].tolist()))
