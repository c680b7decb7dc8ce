"""CLAM's helpers: appendable HDF5, and pickles that hold data only."""

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.clam_files import load_hdf5, load_pkl, save_hdf5, save_pkl

FEATURES = np.arange(40, dtype=np.float32).reshape(10, 4)
COORDS = np.arange(20).reshape(10, 2)


def test_arrays_and_attributes_come_back(tmp_path: Path) -> None:
    attributes = {"coords": {"patch_size": 256, "downsample": np.array([4.0, 4.0]), "name": "slide ä"}}
    path = save_hdf5(tmp_path / "deep/er/a.h5", {"features": FEATURES, "coords": COORDS}, attributes)
    assert path == str(tmp_path / "deep/er/a.h5")
    arrays, attrs = load_hdf5(path)
    np.testing.assert_array_equal(arrays["features"], FEATURES)
    np.testing.assert_array_equal(arrays["coords"], COORDS)
    assert (arrays["features"].dtype, arrays["coords"].dtype) == (np.float32, np.int64)
    assert (attrs["coords"]["patch_size"], attrs["coords"]["name"]) == (256, "slide ä")
    np.testing.assert_array_equal(attrs["coords"]["downsample"], [4, 4])
    assert attrs["features"] == {}


def test_rows_are_appended_batch_by_batch_as_clam_does(tmp_path: Path) -> None:
    path, mode = tmp_path / "a.h5", "w"
    for start in range(0, 10, 3):
        batch = {"features": FEATURES[start : start + 3], "coords": COORDS[start : start + 3]}
        save_hdf5(path, batch, attr_dict=None, mode=mode)
        mode = "a"
    arrays, _ = load_hdf5(path)
    np.testing.assert_array_equal(arrays["features"], FEATURES)
    np.testing.assert_array_equal(arrays["coords"], COORDS)
    with h5py.File(path) as file:
        assert (file["features"].chunks, file["features"].maxshape) == ((32, 4), (None, 4))


def test_a_new_dataset_may_join_an_old_file(tmp_path: Path) -> None:
    save_hdf5(tmp_path / "a.h5", {"features": FEATURES})
    save_hdf5(tmp_path / "a.h5", {"coords": COORDS}, {"coords": {"patch_size": 1}}, chunk_size=1)
    assert set(load_hdf5(tmp_path / "a.h5")[0]) == {"features", "coords"}
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["coords"].chunks == (1, 2)


def test_mode_w_starts_anew(tmp_path: Path) -> None:
    save_hdf5(tmp_path / "a.h5", {"features": FEATURES})
    save_hdf5(tmp_path / "a.h5", {"coords": COORDS}, mode="w")
    assert set(load_hdf5(tmp_path / "a.h5")[0]) == {"coords"}


@pytest.mark.parametrize(
    "value",
    [
        np.float64(3.5),
        np.empty((0, 4), np.float32),
        np.empty((5, 0), np.float32),
        np.arange(6).reshape(1, 2, 3),
        np.array([True, False]),
        np.array(["a", "längeres"]),
        FEATURES.astype(np.float16),
    ],
)
def test_every_shape_and_type_comes_back(tmp_path: Path, value: Any) -> None:
    save_hdf5(tmp_path / "a.h5", {"x": value})
    got = load_hdf5(tmp_path / "a.h5")[0]["x"]
    np.testing.assert_array_equal(got, value)
    assert got.shape == value.shape
    assert got.dtype.kind == value.dtype.kind or got.dtype == object


def test_tensors_lists_and_growing_text_are_taken(tmp_path: Path) -> None:
    save_hdf5(tmp_path / "a.h5", {"t": torch.from_numpy(FEATURES), "l": [1, 2], "s": ["a"]})
    save_hdf5(tmp_path / "a.h5", {"l": [3], "s": ["much longer"]})
    arrays, _ = load_hdf5(tmp_path / "a.h5")
    assert arrays["l"].tolist() == [1, 2, 3]
    assert arrays["s"].tolist() == ["a", "much longer"]
    np.testing.assert_array_equal(arrays["t"], FEATURES)


@pytest.mark.parametrize(
    ("assets", "message"),
    [
        (
            {"coords": COORDS, "features": FEATURES[:, :3]},
            r"rows of shape \(4,\); an array of shape \(10, 3\)",
        ),
        ({"coords": COORDS, "features": FEATURES[0]}, r"an array of shape \(4,\) does not fit"),
        ({"features": FEATURES, "coords": COORDS + 0.5}, "'coords' holds int64; float64 would not fit"),
        ({"features": FEATURES, "one": np.float64(1)}, r"'one' of shape \(\) cannot grow"),
        (
            {"features": FEATURES, "coords": np.full((2, 2), "a")},
            "'coords' holds int64; object would not fit",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, assets: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.h5"
    save_hdf5(path, {"features": FEATURES, "coords": COORDS, "one": np.float64(0)})
    with pytest.raises(HeatmapError, match=message):
        save_hdf5(path, assets)
    assert {name: len(array) for name, array in load_hdf5(path)[0].items() if array.ndim} == {
        "features": 10,
        "coords": 10,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "r"}, "mode must be 'a' .append. or 'w'"),
        ({"attr_dict": {"feats": {}}}, r"attributes for 'feats', which is not among \['features'\]"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
    ],
)
def test_wrong_arguments_say_what_would_do(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HeatmapError, match=message):
        save_hdf5(tmp_path / "a.h5", {"features": FEATURES}, **options)
    assert not list(tmp_path.iterdir())


def test_objects_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(HeatmapError, match="'x' holds object"):
        save_hdf5(tmp_path / "a.h5", {"x": np.array([{}, []], dtype=object)})


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(HeatmapError, match=r"a\.h5: does not exist"):
        load_hdf5(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"not hdf5 at all")
    with pytest.raises(HeatmapError, match=r"a\.h5: not an HDF5 file"):
        load_hdf5(tmp_path / "a.h5")
    with pytest.raises(HeatmapError, match=r"a\.h5: cannot be appended to"):
        save_hdf5(tmp_path / "a.h5", {"features": FEATURES})


def test_groups_go_by_their_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["extra/rollout"] = COORDS
    assert list(load_hdf5(tmp_path / "a.h5")[0]) == ["extra/rollout"]


def test_clams_files_are_loaded(golden: Path) -> None:
    arrays, attributes = load_hdf5(golden / "clam/coords/B_basic_256.h5")
    assert arrays["coords"].shape == (136, 2)
    assert attributes["coords"]["patch_size"] == 256


def test_masks_come_back_from_pickles(tmp_path: Path) -> None:
    mask = {
        "tissue": [np.arange(8, dtype=np.int32).reshape(4, 1, 2)],
        "holes": [[]],
        "n": 3,
        "s": ("a", None, 1.5),
    }
    save_pkl(tmp_path / "m.pkl", mask)
    got = load_pkl(tmp_path / "m.pkl")
    np.testing.assert_array_equal(got["tissue"][0], mask["tissue"][0])
    assert (got["holes"], got["n"], got["s"]) == ([[]], 3, ("a", None, 1.5))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("pwned",))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"tissue": [Evil()]}))
    with pytest.raises(HeatmapError, match=r"m\.pkl .*mkdir"):
        load_pkl(tmp_path / "m.pkl")
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(HeatmapError, match="mkdir"):
        save_pkl(tmp_path / "n.pkl", Evil())
    assert not (tmp_path / "n.pkl").exists()
