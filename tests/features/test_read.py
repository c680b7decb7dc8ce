"""Feature files as TRIDENT, CLAM and others write them, and the damaged ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.read import feature_info, read_coords, read_features
from tests.helpers.features import TRIDENT, Array, grid_coords, numbers, write


def test_a_trident_file_gives_features_grid_and_encoder(tmp_path: Path) -> None:
    features, coords = numbers(), grid_coords()
    path = write(tmp_path / "s.h5", features, coords, TRIDENT, {"encoder": "uni_v2"})
    got = read_features(path, slide_size_l0=(5000, 4000))
    np.testing.assert_array_equal(got.features, features)
    np.testing.assert_array_equal(got.grid.coords_l0, coords)
    assert got.grid.coords_l0.dtype == np.int64
    assert (got.grid.size_l0, got.grid.step_l0) == ((256, 256), (256, 256))
    assert (got.encoder, got.source, got.notes) == ("uni_v2", path, ())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float16_and_float32_are_kept_as_stored(tmp_path: Path, dtype: Any) -> None:
    features = numbers(dtype=dtype)
    got = read_features(write(tmp_path / "s.h5", features, grid_coords(), TRIDENT))
    assert got.features.dtype == dtype
    np.testing.assert_array_equal(got.features, features)


def test_float64_becomes_float32(tmp_path: Path) -> None:
    got = read_features(write(tmp_path / "s.h5", numbers(dtype=np.float64), grid_coords(), TRIDENT))
    assert got.features.dtype == np.float32


def test_a_leading_axis_of_one_goes(tmp_path: Path) -> None:
    features, coords = numbers(), grid_coords()
    got = read_features(write(tmp_path / "s.h5", features[None], coords[None]))
    np.testing.assert_array_equal(got.features, features)
    np.testing.assert_array_equal(got.grid.coords_l0, coords)
    assert got.grid.size_l0 == (256, 256)
    assert got.notes == ("patch size 256 x 256 px taken from the coordinates, assuming no overlap",)


def test_one_patch_in_three_dimensions_is_one_patch(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(1)[None], grid_coords(1, 1)[None], TRIDENT)
    assert read_features(path).features.shape == (1, 8)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float64])
def test_whole_coordinates_of_any_type_are_taken(tmp_path: Path, dtype: Any) -> None:
    coords = grid_coords()
    got = read_features(write(tmp_path / "s.h5", numbers(), coords.astype(dtype), TRIDENT))
    np.testing.assert_array_equal(got.grid.coords_l0, coords)


def test_duplicate_coordinates_are_allowed(tmp_path: Path) -> None:
    coords = np.concatenate([grid_coords(), grid_coords()])
    assert len(read_features(write(tmp_path / "s.h5", numbers(40), coords, TRIDENT))) == 40


def test_a_patch_may_stick_out_to_the_left(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords() - 128, TRIDENT)
    assert read_features(path, slide_size_l0=(5000, 4000)).grid.coords_l0.min() == -128


def test_the_encoder_falls_back_to_tridents_folder_name(tmp_path: Path) -> None:
    path = write(tmp_path / "features_conch_v15/s.h5", numbers(), grid_coords(), TRIDENT, {"encoder": "None"})
    assert read_features(path).encoder == "conch_v15"


def test_clams_attributes_give_the_size_at_level_0(tmp_path: Path) -> None:
    attributes = {"patch_size": 64, "patch_level": 1, "downsample": np.array([4.0007, 4.0024])}
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), attributes)
    assert read_features(path).grid.size_l0 == (256, 256)
    assert read_features(path).notes == ()


def test_attributes_win_over_the_caller_and_say_so(tmp_path: Path) -> None:
    got = read_features(write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT), patch_size_l0=512)
    assert got.grid.size_l0 == (256, 256)
    assert "not 512 x 512 px as asked" in got.notes[0]


def test_the_caller_wins_over_the_guess_from_coordinates(tmp_path: Path) -> None:
    got = read_features(write(tmp_path / "s.h5", numbers(), grid_coords(step=128)), patch_size_l0=256)
    assert (got.grid.size_l0, got.grid.step_l0) == ((256, 256), (128, 128))
    assert got.notes == ()


def test_an_unknown_size_says_what_to_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(1), grid_coords(1, 1))
    with pytest.raises(FeatureError, match="pass patch_size_l0"):
        read_features(path)
    assert read_features(path, patch_size_l0=224).grid.size_l0 == (224, 224)


@pytest.mark.parametrize("bad", [0, -5, np.nan, (256, 0)])
def test_an_impossible_size_is_refused(tmp_path: Path, bad: Any) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords())
    with pytest.raises(FeatureError, match="patch_size_l0 must be a positive number"):
        read_features(path, patch_size_l0=bad)


def test_clam_features_take_the_size_from_the_patches_folder(tmp_path: Path) -> None:
    coords = grid_coords(step=128)
    attributes = {"patch_size": 256, "patch_level": 0, "downsample": np.array([1.0, 1.0])}
    write(tmp_path / "patches/s.h5", None, coords, attributes)
    path = write(tmp_path / "features/h5_files/s.h5", numbers(), coords)
    assert read_features(path).grid.size_l0 == (256, 256)
    assert read_coords(path).size_l0 == (256, 256)


def test_the_patches_folder_is_not_believed_when_its_coordinates_differ(tmp_path: Path) -> None:
    attributes = {"patch_size": 512, "patch_level": 0, "downsample": np.array([1.0, 1.0])}
    write(tmp_path / "patches/s.h5", None, grid_coords(step=512), attributes)
    path = write(tmp_path / "features/s.h5", numbers(), grid_coords())
    assert read_features(path).grid.size_l0 == (256, 256)


@pytest.mark.parametrize("name", ["s.h5", "s.pt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FeatureError, match=f"{name}: does not exist"):
        read_features(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "s.h5").mkdir()
    with pytest.raises(FeatureError, match="is a folder"):
        read_features(tmp_path / "s.h5")


def test_an_empty_file_and_a_foreign_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"")
    (tmp_path / "b.h5").write_bytes(b"GIF89a and so on")
    with pytest.raises(FeatureError, match=r"empty \(0 bytes\)"):
        read_features(tmp_path / "a.h5")
    with pytest.raises(FeatureError, match="not an HDF5 file, it begins with b'GIF89a"):
        read_features(tmp_path / "b.h5")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_damaged(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "s.h5", numbers(2000, 64), grid_coords(50, 40), TRIDENT)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(FeatureError, match=r"s\.h5: damaged or incomplete"):
        read_features(path)


def test_a_lock_beside_the_file_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT)
    (tmp_path / "s.h5.lock").write_text("{}")
    assert "s.h5.lock lies beside it" in read_features(path).notes[0]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FeatureError, match="the file is being written, or a failed run left"):
        read_features(path)


def test_missing_datasets_list_what_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", None, grid_coords(), TRIDENT)
    with pytest.raises(
        FeatureError, match=r"no dataset 'features'; it holds coords int64 \(20, 2\); this is a coor"
    ):
        read_features(path)
    path = write(tmp_path / "b.h5", numbers())
    with pytest.raises(FeatureError, match="features but no coordinates"):
        read_features(path)
    with pytest.raises(FeatureError, match=r"no dataset 'coords'; it holds features float32 \(20, 8\)"):
        read_coords(path)
    path = write(tmp_path / "c.h5")
    with pytest.raises(FeatureError, match="it holds nothing"):
        read_features(path)


def test_different_lengths_give_both_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(19), grid_coords(), TRIDENT)
    with pytest.raises(FeatureError, match="19 rows of features but 20 coordinates"):
        read_features(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_numbers_that_are_not_finite_are_counted(tmp_path: Path, bad: float, dtype: Any) -> None:
    features = numbers(dtype=dtype)
    features[7, 3] = features[9, 0] = bad
    path = write(tmp_path / "s.h5", features, grid_coords(), TRIDENT)
    with pytest.raises(
        FeatureError, match="2 of 160 feature values are NaN or infinite, the first in row 7 of 20"
    ):
        read_features(path)


def test_opposite_infinities_do_not_hide_each_other(tmp_path: Path) -> None:
    features = numbers()
    features[3, 0], features[4, 0] = np.inf, -np.inf
    with pytest.raises(FeatureError, match=r"2 of 160 .* row 3"):
        read_features(write(tmp_path / "s.h5", features, grid_coords(), TRIDENT))


def test_large_but_finite_numbers_pass(tmp_path: Path) -> None:
    features = np.full((20, 8), 3e38, np.float32)
    assert len(read_features(write(tmp_path / "s.h5", features, grid_coords(), TRIDENT))) == 20


@pytest.mark.parametrize("features", [np.empty((0, 64), np.float32), np.empty(0, np.float32)])
def test_a_slide_without_patches_says_so(tmp_path: Path, features: Array) -> None:
    path = write(tmp_path / "s.h5", features, np.empty((0, 2), np.int64), TRIDENT)
    with pytest.raises(FeatureError, match=r"no patches .*a blank slide, or no tissue"):
        read_features(path)
    with pytest.raises(FeatureError, match="no patches"):
        feature_info(path)
    with pytest.raises(FeatureError, match="no patches"):
        read_coords(path)


def test_slide_features_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers()[0], grid_coords(), TRIDENT)
    with pytest.raises(FeatureError, match=r"shape \(8,\) for 20 patches are one vector for the whole slide"):
        read_features(path)


@pytest.mark.parametrize("shape", [(2, 10, 8), (20, 8, 1, 1), (20, 0)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / "s.h5", np.zeros(shape, np.float32), grid_coords(), TRIDENT)
    with pytest.raises(FeatureError, match="features have shape"):
        read_features(path)


def test_features_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="features are int64"):
        read_features(write(tmp_path / "s.h5", np.zeros((20, 8), np.int64), grid_coords(), TRIDENT))


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (grid_coords() + 0.5, r"20 of 20 coords are no whole numbers, the first in row 0: \[0.5, 0.5\]"),
        (np.full((20, 2), np.nan), "40 of 40 numbers of coords are NaN or infinite, the first in row 0"),
        (grid_coords()[:, :1], r"coords have shape \(20, 1\)"),
        (grid_coords().T, r"coords have shape \(2, 20\)"),
        (
            grid_coords() - 600,
            "patches have negative coords and lie left of or above the slide, the first in row 0",
        ),
        (grid_coords() * 10**9, "beyond any slide"),
        (np.full((20, 2), b"x"), "whole numbers .level-0 pixels. are needed"),
    ],
)
def test_coordinates_that_cannot_be_are_refused(tmp_path: Path, coords: Array, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        read_features(write(tmp_path / "s.h5", numbers(), coords, TRIDENT))


def test_patches_of_another_slide_are_refused(tmp_path: Path) -> None:
    attributes = {"patch_size_level0": 256}
    path = write(tmp_path / "s.h5", numbers(), grid_coords() + 3000, attributes)
    for read in (read_features, read_coords):
        with pytest.raises(FeatureError, match=r"20 of 20 patches lie outside the slide \(3000 x 2000 px"):
            read(path, slide_size_l0=(3000, 2000))


def test_a_few_patches_outside_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), {"patch_size_level0": 256})
    assert read_features(path, slide_size_l0=(1100, 1024)).notes == (
        "4 of 20 patches lie mostly outside the slide",
    )


def test_a_file_made_on_a_slide_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(), TRIDENT)
    with pytest.raises(
        FeatureError, match="made on a slide of 5000 x 4000 px, but this one has 10000 x 8000"
    ):
        read_features(path, slide_size_l0=(10_000, 8000))
    assert "5000 x 4000" in read_features(path, slide_size_l0=(5120, 4096)).notes[0]


def test_info_is_what_the_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.h5", numbers(dtype=np.float16)[None], grid_coords()[None], TRIDENT, {"encoder": "uni"}
    )
    info = feature_info(path)
    assert (info.n, info.width, info.dtype, info.encoder) == (20, 8, "float16", "uni")
    assert info.has_coords
    assert info.slide_size_l0 == (5000, 4000)
    assert info.attributes["patch_size_level0"] == 256.0
    assert type(info.attributes["patch_size"]) is int
