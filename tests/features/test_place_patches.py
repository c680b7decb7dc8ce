"""From stored coordinates to patches on the slide: frames, grid positions, pairing, augmented rows."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.checks import refuse_grid_positions
from mil_heatmaps.features.pairing import names_slide, pairing_notes
from mil_heatmaps.features.read import feature_info, place_coords, read_coords, read_features
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import TRIDENT, grid_coords, numbers, tissue_coords, write

SCANNED = SlideSpace((9000, 8000), (3000, 2000, 1280, 1024))


def test_features_that_count_from_the_scanned_area_are_moved_there(tmp_path: Path) -> None:
    said = {"patch_size_level0": 256, "level0_width": 1280, "level0_height": 1024}
    got = read_features(write(tmp_path / "s.h5", numbers(), grid_coords(), said), space=SCANNED)
    np.testing.assert_array_equal(got.grid.coords_l0, grid_coords() + np.array([3000, 2000]))
    assert [note.code for note in got.notes] == ["frame"]


def test_the_scanned_areas_size_is_not_called_another_slides_when_the_key_says_slide(tmp_path: Path) -> None:
    said = {"patch_size_level0": 256, "level0_width": 1280, "level0_height": 1024}
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), said)
    space = SlideSpace(SCANNED.size_l0, SCANNED.scanned_l0, frame="slide")
    np.testing.assert_array_equal(read_coords(path, space=space).coords_l0, grid_coords())


def test_a_size_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="made on a slide of 5000 x 4000 px, but this one has 9000 x 8000"):
        read_features(write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT), space=SCANNED)


@pytest.mark.parametrize("said", [{}, {"patch_size_level0": 256}])
def test_columns_and_rows_of_a_grid_are_refused(tmp_path: Path, said: dict[str, int]) -> None:
    for coords in (grid_coords(step=1), grid_coords(step=1) + 70, tissue_coords(1)[:500]):
        path = write(tmp_path / "s.h5", numbers(len(coords)), coords, said)
        with pytest.raises(FeatureError, match=r"s\.h5: .*pixels.*columns and rows of a grid, .*level-0 pixels"):
            read_features(path)


def test_grid_positions_are_told_by_the_size_of_a_patch() -> None:
    near, far = grid_coords(step=8), grid_coords(step=9)
    with pytest.raises(FeatureError, match="at most 8 pixels"):
        refuse_grid_positions(near, (256, 256), None, "s.h5")
    refuse_grid_positions(far, (256, 256), None, "s.h5")
    refuse_grid_positions(grid_coords(step=5), None, None, "s.h5")
    with pytest.raises(FeatureError, match="at most 4 pixels"):
        refuse_grid_positions(grid_coords(step=4), None, None, "s.h5")


def test_patches_that_are_no_grid_positions_pass() -> None:
    refuse_grid_positions(np.array([[3, 4]]), None, None, "one patch")
    refuse_grid_positions(np.zeros((50, 2), np.int64), None, None, "one patch, many times")
    refuse_grid_positions(np.repeat(grid_coords(), 3, axis=0), None, None, "each patch three times")
    refuse_grid_positions(grid_coords(step=4), (256, 256), (4, 4), "the file says that patches are that near")
    mostly_apart = np.concatenate([grid_coords(), grid_coords(4, 4, 1)])
    refuse_grid_positions(mostly_apart, (256, 256), None, "fewer than half are near")


@pytest.mark.parametrize(
    ("said", "name", "same"),
    [
        ("S1", "S1", True),
        ("S1.svs", "S1", True),
        ("S1.ome.tiff", "S1", True),
        ("/data/slides/S1.svs", "S1", True),
        ("D:\\slides\\S1.ndpi", "S1", True),
        ("Gewebe_e\u0301", "Gewebe_\u00e9", True),
        ("TCGA-1.ab.svs", "TCGA-1.ab", True),
        ("S1", "S10", False),
        ("S10", "S1", False),
        ("S1.2", "S1", False),
        ("OTHER", "S1", False),
    ],
)
def test_names_are_compared_without_extension_and_in_one_form_of_unicode(said: str, name: str, same: bool) -> None:
    assert names_slide(said, name) is same


def test_a_file_of_another_slide_is_drawn_with_a_note_that_names_both(tmp_path: Path) -> None:
    space = SlideSpace((5000, 4000), name="mine")
    (note,) = read_features(write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT), space=space).notes
    assert (note.code, note) == ("pairing", "s.h5 says it is of the slide slide, and is drawn on mine")
    assert pairing_notes({"name": "x", "slide_id": "mine"}, "mine", "s.h5") == []
    assert pairing_notes({"name": "x"}, None, "s.h5") == []


def test_augmented_rows_are_left_out_of_features_and_coordinates(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), {"patch_size_level0": 256})
    marked = np.arange(20) % 5 == 4
    with h5py.File(path, "r+") as file:
        file["augmented"] = marked
    got = read_features(path)
    np.testing.assert_array_equal(got.features, numbers()[~marked])
    np.testing.assert_array_equal(got.grid.coords_l0, grid_coords()[~marked])
    assert got.notes == ("4 of 20 rows are augmented copies of patches: left out",)
    assert dict(got.notes[0].counts) == {"augmented": 4, "rows": 20}
    grid, notes = place_coords(path, SlideSpace())
    assert (len(grid), [note.code for note in notes]) == (16, ["augmented"])
    with h5py.File(path, "r+") as file:
        del file["augmented"]
        file["augmented"] = marked[:7]
    with pytest.raises(FeatureError, match="'augmented' has 7 rows, but there are 20"):
        read_features(path)


def test_features_may_be_called_feats(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), {"patch_size_level0": 256}, {"extractor": "uni2"})
    with h5py.File(path, "r+") as file:
        file.move("features", "feats")
    got = read_features(path)
    np.testing.assert_array_equal(got.features, numbers())
    assert got.encoder == "uni2"
    assert feature_info(path).width == 8
    with h5py.File(path, "r+") as file:
        file["features"] = numbers(20, 5)
    with pytest.raises(FeatureError, match=r"holds 'features' \(20, 5\) and 'feats' \(20, 8\)"):
        read_features(path)


def test_features_of_a_whole_slide_are_named_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT, {"feat_type": "patient"})
    with pytest.raises(FeatureError, match="feat_type 'patient' are one vector for the whole patient"):
        read_features(path)
