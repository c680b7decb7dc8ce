"""Finer grids between the patches a model was trained on, and their phases."""

import numpy as np
import pytest

from src.errors import TissueError
from src.pipeline.stages.fine import phase_numbers
from src.slides.patch_grid import PatchGrid
from src.slides.refined_grid import refine_grid


def grid_of(*corners: tuple[int, int], size: int = 256) -> PatchGrid:
    return PatchGrid(np.array(corners, np.int64), (size, size), (size, size))


def test_patches_between_two_neighbours_are_added_and_none_sticks_out() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (0, 256)), 0.5)
    assert fine.coords_l0.tolist() == [[0, 0], [128, 0], [256, 0], [0, 128], [0, 256]]
    assert fine.step_l0 == (128, 128)


def test_a_square_of_four_patches_gains_its_middle() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (0, 256), (256, 256)), 0.5)
    assert [128, 128] in fine.coords_l0.tolist()
    assert len(fine) == 9


def test_no_overlap_leaves_the_grid_alone() -> None:
    grid = grid_of((5, 7), (261, 7))
    assert refine_grid(grid, 0.0) is grid


def test_patches_of_two_pieces_with_phases_of_their_own_do_not_mix() -> None:
    fine = refine_grid(grid_of((0, 0), (256, 0), (1000, 13), (1256, 13)), 0.5)
    assert fine.coords_l0.tolist() == [[0, 0], [128, 0], [256, 0], [1000, 13], [1128, 13], [1256, 13]]


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 0.999])
def test_an_overlap_without_a_step_is_refused(overlap: float) -> None:
    with pytest.raises(TissueError, match="overlap"):
        refine_grid(grid_of((0, 0), (256, 0), size=256 if overlap != 0.999 else 100), overlap)


def test_every_phase_is_a_bag_without_overlap() -> None:
    corners = [(x, y) for y in range(0, 1024, 256) for x in range(0, 1024, 256)]
    fine = refine_grid(grid_of(*corners), 0.5)
    phases = phase_numbers(fine)
    assert set(phases.tolist()) == {0, 1, 2, 3}
    for phase in range(4):
        coords = fine.coords_l0[phases == phase]
        apart = np.abs(coords[:, None] - coords[None]).max(axis=2)
        assert apart[apart > 0].min() >= 256
