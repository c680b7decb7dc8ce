"""A slide's feature file is found by exact name, wherever TRIDENT or CLAM put it."""

from pathlib import Path

import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.find import FeatureIndex, find_coords_file

TCGA = "TCGA-CR-7395-01A-01-TS1.811E11E7-FA67-46BB-9BC6-1FD0106B789D"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.pt", "h5_files/a.h5", "pt_files/a.pt", "x/y/a.h5"])
def test_every_layout_is_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    index = FeatureIndex([tmp_path])
    assert index.find("a") == tmp_path / name
    assert index.by_stem == {"a": [tmp_path / name]}


def test_only_the_last_suffix_is_cut(tmp_path: Path) -> None:
    touch(tmp_path / f"{TCGA}.h5", tmp_path / "TCGA-CR-7395-01A-01-TS1.h5")
    index = FeatureIndex([tmp_path])
    assert index.find(TCGA).name == f"{TCGA}.h5"
    assert sorted(index.by_stem) == ["TCGA-CR-7395-01A-01-TS1", TCGA]


def test_names_match_whole_never_in_part(tmp_path: Path) -> None:
    touch(tmp_path / "slide_10.h5", tmp_path / "a_slide_1.h5", tmp_path / "slide_1_blockmap.h5")
    with pytest.raises(FeatureError, match=r"no feature file for 'slide_1' among 3 .*nearest names are .*slide_10"):
        FeatureIndex([tmp_path]).find("slide_1")


def test_hdf5_is_preferred_to_pt(tmp_path: Path) -> None:
    touch(tmp_path / "pt_files/a.pt", tmp_path / "h5_files/a.h5", tmp_path / "pt_files/b.pt")
    index = FeatureIndex([tmp_path])
    assert index.find("a") == tmp_path / "h5_files/a.h5"
    assert index.find("b") == tmp_path / "pt_files/b.pt"


def test_below_a_run_folder_too(tmp_path: Path) -> None:
    touch(tmp_path / "run/pt_files/a.pt", tmp_path / "run/h5_files/a.h5")
    assert FeatureIndex([tmp_path]).find("a") == tmp_path / "run/h5_files/a.h5"


def test_tridents_and_clams_other_files_are_passed_over(tmp_path: Path) -> None:
    cdir = tmp_path / "20x_256px_0px_overlap"
    touch(cdir / "patches/a_patches.h5", cdir / "patches/a.h5", cdir / "slide_features_mean/a.h5")
    touch(cdir / "features_uni_v2/a.h5", cdir / ".hidden/a.h5", cdir / "features_uni_v2/.a.partial.h5")
    assert FeatureIndex([tmp_path]).by_stem == {"a": [cdir / "features_uni_v2/a.h5"]}


def test_two_encoders_are_ambiguous_and_both_are_listed(tmp_path: Path) -> None:
    touch(tmp_path / "features_uni/a.h5", tmp_path / "features_conch/a.h5")
    with pytest.raises(FeatureError, match=r"2 feature files are named 'a': .*features_conch/a\.h5, .*uni/a\.h5; keep"):
        FeatureIndex([tmp_path]).find("a")


def test_the_folder_itself_wins_over_folders_below(tmp_path: Path) -> None:
    touch(tmp_path / "a.h5", tmp_path / "old/a.h5")
    assert FeatureIndex([tmp_path]).find("a") == tmp_path / "a.h5"


def test_a_folder_without_features_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"nothing in .* ends with \.h5, \.hdf5, \.pt"):
        FeatureIndex([tmp_path]).find("a")


@pytest.mark.parametrize("home", ["f/a_patches.h5", "patches/a.h5", "f/patches/../../patches/a_patches.h5"])
def test_coordinates_are_found_from_the_features(tmp_path: Path, home: str) -> None:
    (tmp_path / "f/patches").mkdir(parents=True)
    touch(tmp_path / "f/a.pt", tmp_path / home)
    found = find_coords_file(tmp_path / "f/a.pt")
    assert found is not None
    assert found.samefile(tmp_path / home)


def test_a_file_is_not_its_own_coordinates(tmp_path: Path) -> None:
    touch(tmp_path / "f/a.h5")
    assert find_coords_file(tmp_path / "f/a.h5") is None
