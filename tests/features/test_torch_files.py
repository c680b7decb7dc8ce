"""Features in ``.pt`` files: every honest form is read, nothing in them is ever run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.read import feature_info, read_coords, read_features
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import TRIDENT, grid_coords, numbers, write


@pytest.mark.parametrize(
    "home", ["h5_files/s.h5", "pt_files/s.h5", "../patches/s.h5", "../patches/s_patches.h5"]
)
def test_pt_features_find_their_coordinates(tmp_path: Path, home: str) -> None:
    features, coords = numbers(), grid_coords()
    path = tmp_path / "features/pt_files/s.pt"
    path.parent.mkdir(parents=True)
    torch.save(torch.from_numpy(features), path)
    write(path.parent.parent / home, None, coords, TRIDENT)
    got = read_features(path)
    np.testing.assert_array_equal(got.features, features)
    np.testing.assert_array_equal(got.grid.coords_l0, coords)
    assert got.source == path


def test_pt_features_take_coordinates_from_the_folder_given(tmp_path: Path) -> None:
    path = tmp_path / "a/s.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(numbers()), path)
    write(tmp_path / "elsewhere/patches/s_patches.h5", None, grid_coords(), TRIDENT)
    with pytest.raises(FeatureError, match="give the folder that has it as coords_dir"):
        read_features(path)
    assert len(read_features(path, coords_dir=tmp_path / "elsewhere")) == 20


def test_bfloat16_is_widened_without_loss(tmp_path: Path) -> None:
    tensor = torch.from_numpy(numbers()).bfloat16()
    torch.save(tensor, tmp_path / "s.pt")
    write(tmp_path / "s.h5", None, grid_coords(), TRIDENT)
    got = read_features(tmp_path / "s.pt").features
    assert got.dtype == np.float32
    assert torch.equal(torch.from_numpy(got), tensor.float())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [np.asarray, lambda a: torch.from_numpy(a).half(), lambda a: a[None]])
def test_pt_files_of_every_form_are_read(tmp_path: Path, wrap: Any, legacy: bool) -> None:
    features = numbers(dtype=np.float16)
    torch.save(wrap(features), tmp_path / "s.pt", _use_new_zipfile_serialization=not legacy)
    write(tmp_path / "s.h5", None, grid_coords(), TRIDENT)
    np.testing.assert_array_equal(read_features(tmp_path / "s.pt").features, features)


def test_a_pt_dict_may_hold_its_coordinates(tmp_path: Path) -> None:
    held = {"features": torch.from_numpy(numbers()), "coords": torch.from_numpy(grid_coords())}
    torch.save(held, tmp_path / "s.pt")
    assert read_features(tmp_path / "s.pt").grid.size_l0 == (256, 256)
    assert feature_info(tmp_path / "s.pt").has_coords
    assert len(read_coords(tmp_path / "s.pt")) == 20


def test_what_a_pt_dict_says_of_its_coordinates_counts_as_in_hdf5(tmp_path: Path) -> None:
    held = {"features": torch.from_numpy(numbers()), "coords": torch.from_numpy(grid_coords() * 0.5)}
    held |= {"unit": "um", "tile_size_um": torch.tensor([128.0]), "slide_id": "other.svs"}
    held |= {"history": [1, 2, 3], "nested": {"a": 1}, 7: "seven"}
    torch.save(held, tmp_path / "s.pt")
    read = read_features(tmp_path / "s.pt", space=SlideSpace((4096, 4096), mpp=0.5, name="s"))
    np.testing.assert_array_equal(read.grid.coords_l0, grid_coords())
    assert read.grid.size_l0 == (256, 256)
    assert {note.code for note in read.notes} == {"units", "pairing"}
    with pytest.raises(FeatureError, match="µm"):
        read_features(tmp_path / "s.pt", space=SlideSpace((4096, 4096)))
    torch.save({"feats": held["features"], "coords": held["coords"]}, tmp_path / "t.pt")
    with pytest.raises(FeatureError, match="does not say whether its coords are pixels or µm"):
        read_features(tmp_path / "t.pt", space=SlideSpace((4096, 4096), mpp=0.5))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("pwned").touch, ())


@pytest.mark.parametrize("held", [torch.nn.Linear(2, 2), Evil()], ids=["module", "code"])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: Any, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(held, tmp_path / "s.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(FeatureError, match=r"s\.pt: holds .*could run code.*Save the features alone"):
        read_features(tmp_path / "s.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_plain_pickle_called_pt_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(FeatureError, match=r"s\.pt"):
        read_features(tmp_path / "s.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_pt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.pt"
    torch.save(torch.zeros(300, 400), path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(FeatureError, match="damaged or not a torch file"):
        read_features(path)


def test_a_dict_without_features_lists_what_it_holds(tmp_path: Path) -> None:
    torch.save({"state_dict": torch.zeros(2)}, tmp_path / "s.pt")
    with pytest.raises(FeatureError, match=r"without 'features'; it holds \['state_dict'\]"):
        read_features(tmp_path / "s.pt")
