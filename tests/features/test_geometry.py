"""The step and the size of patches, from coordinates and attributes."""

from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.geometry import build_grid, geometry_from_attributes
from mil_heatmaps.features.grid_step import SeenStep, infer_step
from tests.helpers.features import Array, grid_coords, tissue_coords


def step_of(coords: Array) -> tuple[int, int] | None:
    seen = infer_step(coords)
    return None if seen is None else seen.step_l0


@pytest.mark.parametrize("keep", [1, 0.7, 0.3, 0.1, 0.04])
def test_the_step_survives_holes(keep: float) -> None:
    assert step_of(tissue_coords(keep=keep)) == (256, 256)


def test_the_longer_first_step_of_old_overlapping_grids_is_no_step() -> None:
    line = np.array([0, 512, 896, 1280, 1664])
    coords = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    assert step_of(coords) == (384, 384)


def test_grids_of_several_contours_may_have_different_phases() -> None:
    parts = [(0, 0), (81, 0), (50, 90), (3, 85)]
    coords = np.concatenate([grid_coords(20, 20) + np.array(part) * 64 for part in parts])
    assert step_of(coords) == (256, 256)


def test_a_chequerboard_has_the_finer_step() -> None:
    coords = grid_coords(20, 20)
    assert step_of(coords[coords.sum(axis=1) // 256 % 2 == 0]) == (256, 256)


def test_two_thin_columns_far_apart_do_not_widen_the_step() -> None:
    coords = np.concatenate([grid_coords(1, 30), grid_coords(1, 30) + np.array([5000, 0])])
    assert step_of(coords) == (256, 256)


def test_one_column_gives_a_square_step() -> None:
    assert step_of(grid_coords(1, 9)) == (256, 256)


def test_steps_may_differ_between_the_axes() -> None:
    assert step_of(grid_coords(20, 20) * [1, 3] // [1, 2]) == (256, 384)


def test_steps_that_round_up_and_down_give_the_frequent_one() -> None:
    line = np.round(np.arange(40) * 682.6667).astype(np.int64)
    coords = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    assert step_of(coords) == (683, 683)


def test_scattered_patches_have_no_step() -> None:
    assert infer_step(np.random.default_rng(0).integers(0, 50_000, (3000, 2))) is None


@pytest.mark.parametrize("n", [0, 1, 5])
def test_one_place_has_no_step(n: int) -> None:
    assert infer_step(np.repeat(np.array([[512, 256]]), n, axis=0)) is None


def test_negative_coordinates_do_not_confuse_the_step() -> None:
    assert step_of(grid_coords(9, 9) - 300) == (256, 256)


@pytest.mark.parametrize(
    ("attributes", "size", "step"),
    [
        ({"patch_size_level0": 682.0}, (682, 682), None),
        ({"patch_size_level0": np.array([512.0])}, (512, 512), None),
        ({"patch_size_level0": np.array([512, 300])}, (512, 300), None),
        ({"patch_size": 256, "level0_magnification": 40, "target_magnification": 15.0}, (682, 682), None),
        (
            {"patch_size": 256, "overlap": 64, "level0_magnification": 40, "target_magnification": 20.0},
            (512, 512),
            (384, 384),
        ),
        ({"patch_size": 256, "patch_size_level0": 512.0, "overlap": 0}, (512, 512), (512, 512)),
        ({"patch_size": 256, "patch_level": 0}, (256, 256), None),
        ({"patch_size": 256, "patch_level": 2}, None, None),
        ({"patch_size": 64, "patch_level": 1, "downsample": np.array([3.9986, 4.0])}, (255, 256), None),
        ({"patch_size": 256}, None, None),
        ({"patch_size_level0": "none", "patch_size": -1}, None, None),
        ({"patch_size_level0": np.nan}, None, None),
        ({}, None, None),
    ],
)
def test_attributes_give_size_and_step(attributes: dict[str, Any], size: Any, step: Any) -> None:
    got = geometry_from_attributes(attributes)
    assert (got.size_l0, got.step_l0) == (size, step)


def test_a_floored_size_grows_to_the_step() -> None:
    grid, notes = build_grid(tissue_coords(683), {"patch_size_level0": 682.0})
    assert (grid.size_l0, grid.step_l0, notes) == ((683, 683), (683, 683), [])


def test_overlapping_patches_keep_their_size() -> None:
    grid, _ = build_grid(tissue_coords(192), {"patch_size_level0": 256})
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (192, 192))


def test_coordinates_win_over_the_overlap_attribute() -> None:
    attributes = {"patch_size": 256, "patch_size_level0": 256, "overlap": 128}
    assert build_grid(tissue_coords(256), attributes)[0].step_l0 == (256, 256)


def test_a_full_grid_is_sure_and_a_thin_sample_is_not() -> None:
    assert infer_step(tissue_coords()) == SeenStep((256, 256), True)
    assert infer_step(tissue_coords(keep=0.04)) == SeenStep((256, 256), False)
    assert infer_step(grid_coords(3, 3)) == SeenStep((256, 256), False)


def test_two_distant_patches_do_not_make_a_step() -> None:
    coords = np.array([[0, 0], [2560, 0]])
    assert build_grid(coords, {"patch_size_level0": 256})[0].step_l0 == (256, 256)


def test_a_sparse_grid_with_rounded_steps_takes_the_true_step() -> None:
    coords = np.array([[0, 0], [1366, 0], [2732, 0]])
    assert build_grid(coords, {"patch_size_level0": 682.0})[0].size_l0 == (683, 683)


def test_one_patch_takes_its_size_as_step() -> None:
    grid, _ = build_grid(np.array([[10, 20]]), {"patch_size_level0": 256})
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (256, 256))


def test_gaps_left_by_the_callers_size_are_noted() -> None:
    grid, notes = build_grid(tissue_coords(1000), {}, patch_size_l0=256)
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (1000, 1000))
    assert notes == ["patches of 256 x 256 px on a grid of 1000 x 1000 px leave gaps"]


def test_no_way_to_know_the_size_is_an_error_that_helps() -> None:
    with pytest.raises(FeatureError, match=r"here\.h5: the size of a patch is unknown.*pass patch_size_l0"):
        build_grid(np.array([[0, 0]]), {}, where="here.h5")
