"""Coordinates in micrometres become pixels; nothing in micrometres is taken for pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.place_patches import place_patches
from mil_heatmaps.features.read import read_coords, read_features
from mil_heatmaps.features.units import FEATS
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import TRIDENT, grid_coords, numbers, write

SPACE = SlideSpace((3000, 2600), mpp=0.5)
STAMP: dict[str, Any] = {"unit": "um", "tile_size_um": 128.0, "tile_size_px": 224}


def place(coords: Any, said: dict[str, Any], space: SlideSpace = SPACE, **options: Any) -> Any:
    return place_patches(np.asarray(coords), said, space, where="s.h5", **options)


@pytest.mark.parametrize(
    "said",
    [
        STAMP,
        {"tile_size_um": 128.0},
        {"unit": "micron", "tile_size": 128},
        *({"unit": unit} for unit in ("\u00b5m", "\u03bcm", "UM", " microns ", "Micrometer", "micrometres")),
    ],
)
def test_micrometres_become_pixels_by_the_slides_resolution(said: dict[str, Any]) -> None:
    grid, notes = place(grid_coords().astype(np.float32) * 0.5, said)
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (256, 256))
    assert notes[0] == f"coordinates are µm, as the file says: turned into pixels at {0.5:g} µm per pixel"


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1e-3), ("nm", 1e3), ("cm", 1e-4)])
def test_other_units_of_length_are_converted(unit: str, factor: float) -> None:
    grid, _ = place(grid_coords() * (0.5 * factor), {"unit": unit, "tile_size": 128 * factor})
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())
    assert grid.size_l0 == (256, 256)


def test_a_unit_that_is_not_known_is_refused_by_name_unless_the_key_decides() -> None:
    with pytest.raises(FeatureError, match=r"coordinates are in 'furlong', a unit that is not known.*coords_unit"):
        place(grid_coords(), {"unit": "furlong"})
    grid, _ = place(grid_coords(), {"unit": "furlong"}, SlideSpace((3000, 2600), unit="px"))
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())


def test_without_a_resolution_micrometres_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords() * 0.5, STAMP)
    for read in (read_features, read_coords):
        with pytest.raises(FeatureError, match=r"µm, as the file says, .*resolution \(mpp\) is not known.*slide_mpp"):
            read(path, slide_size_l0=(3000, 2600))


def test_the_key_decides_where_the_file_does_not() -> None:
    half, by_key = grid_coords() * 0.5, SlideSpace((3000, 2600), mpp=0.5, unit="um")
    grid, notes = place(half, {"tile_size": 128}, by_key)
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())
    assert (grid.size_l0, notes[0]) == ((256, 256), (
        "coordinates are µm, as coords_unit says: turned into pixels at 0.5 µm per pixel"
    ))  # fmt: skip
    grid, notes = place(grid_coords(), {"unit": "px"}, by_key)
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())
    assert notes[0] == "coordinates are px, as the file says, not um as coords_unit does"
    grid, notes = place(half, STAMP, SlideSpace((3000, 2600), mpp=0.5, unit="px"))
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())
    assert notes[0] == "coordinates are µm, as the file says, not px as coords_unit does"


@pytest.mark.parametrize("mpp", [0.2498, 0.2528, 0.4993, 0.3333])
def test_steps_that_alternate_by_a_pixel_leave_no_gaps(mpp: float) -> None:
    coords_um = (grid_coords(40, 30, 1) * 128.0).astype(np.float32)
    space = SlideSpace(tuple(np.ceil(coords_um.max(0) / mpp + 600).astype(int).tolist()), mpp=mpp)
    grid, notes = place(coords_um, {"tile_size_um": 128.0}, space)
    np.testing.assert_array_equal(grid.coords_l0, np.rint(coords_um.astype(np.float64) / mpp))
    exact = 128 / mpp
    assert abs(grid.size_l0[0] - exact) <= 1
    gaps = np.diff(np.unique(grid.coords_l0[:, 0]))
    assert set(gaps.tolist()) <= {int(exact), int(exact) + 1}
    assert grid.size_l0[0] >= gaps.max()
    assert (grid.step_l0, grid.overlap) == (grid.size_l0, 0)
    assert [note.code for note in notes] == ["units"]


def test_overlap_in_micrometres_is_kept() -> None:
    grid, _ = place(grid_coords(step=64), {"tile_size_um": 128.0})
    assert (grid.size_l0, grid.step_l0) == ((256, 256), (128, 128))


def test_micrometres_that_cover_little_of_the_slide_are_noted_with_both_numbers() -> None:
    space = SlideSpace((12_000, 10_400), mpp=0.25)
    _, notes = place(grid_coords() * 0.25, {"tile_size_um": 64.0}, space)
    assert notes[1].startswith("coordinates reach 320 x 256 µm, but the slide has 3000 x 2600 µm at 0.25 µm per pixel")
    assert len(place(grid_coords(), TRIDENT | {"level0_width": 0}, space)[1]) == 0


def test_feats_of_before_units_count_in_their_own_pixels() -> None:
    marugoto = grid_coords(step=224)
    grid, notes = place(marugoto, {FEATS: "'feats'"})
    np.testing.assert_array_equal(grid.coords_l0, grid_coords(step=512))
    assert (grid.size_l0, [note.code for note in notes]) == ((512, 512), ["units"])


def test_feats_whose_unit_nothing_tells_are_refused() -> None:
    with pytest.raises(FeatureError, match=r"holds 'feats' and does not say .*coords_unit: px or um"):
        place(grid_coords(), {FEATS: "'feats'"})
    grid, _ = place(grid_coords(), {FEATS: "'feats'", "patch_size_level0": 256})
    np.testing.assert_array_equal(grid.coords_l0, grid_coords())


def test_what_is_no_number_is_refused_in_micrometres_too() -> None:
    with pytest.raises(FeatureError, match="NaN or infinite"):
        place(np.full((4, 2), np.nan), STAMP)
    with pytest.raises(FeatureError, match=r"coords have shape \(4, 3\)"):
        place(np.zeros((4, 3)), STAMP)
    with pytest.raises(FeatureError, match=r"whole numbers \(level-0 pixels\) are needed"):
        place(np.full((4, 2), b"x"), STAMP)


def test_pixels_with_a_patch_size_in_micrometres() -> None:
    grid, _ = place(grid_coords(), {"unit": "px", "tile_size_um": 64.0})
    assert (grid.size_l0, grid.step_l0) == ((128, 128), (256, 256))


def test_coords_in_floats_without_a_word_on_their_unit_are_refused(tmp_path: Path) -> None:
    coords = grid_coords().astype(np.float32)  # whole numbers, as STAMP's micrometres are
    path = write(tmp_path / "s.h5", numbers(), coords, {})
    with pytest.raises(FeatureError, match=r"holds coords in float32 and does not say .*coords_unit: px or um"):
        read_features(path)
    told = read_features(path, space=SlideSpace((3000, 2600), unit="px"))
    np.testing.assert_array_equal(told.grid.coords_l0, grid_coords())
    said = read_features(write(tmp_path / "t.h5", numbers(), coords, {"patch_size_level0": 256}))
    np.testing.assert_array_equal(said.grid.coords_l0, grid_coords())
