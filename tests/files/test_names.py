"""Which stems belong to a slide, and which names are one."""

from pathlib import Path

import pytest

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.find import FeatureIndex, coords_named_like, find_coords_file
from mil_heatmaps.files.names import comparable, names_of_slide, slide_id_of, spellings
from mil_heatmaps.files.stem_index import StemIndex


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("file_name", "stems"),
    [
        ("S.svs", ("S", "S.svs")),
        ("TCGA-1.8628.SVS", ("TCGA-1.8628", "TCGA-1.8628.SVS")),
        ("S.ome.tif", ("S", "S.ome.tif", "S.ome")),
        ("1.2.826.0", ("1.2.826.0",)),
    ],
)
def test_files_of_a_slide_are_named_with_or_without_its_extension(file_name: str, stems: tuple[str, ...]) -> None:
    assert names_of_slide(file_name) == stems


def test_names_are_compared_composed_and_with_extensions_in_small_letters() -> None:
    assert comparable("e\u0301.SVS") == comparable("\u00e9.svs") == "\u00e9.svs"
    assert comparable("S.SVS") != comparable("s.svs")
    assert spellings("plain") == ("plain",)
    assert set(spellings("e\u0301")) == {"\u00e9", "e\u0301"}


def test_the_id_of_a_folder_is_its_name_and_of_a_file_its_stem(tmp_path: Path) -> None:
    (tmp_path / "1.2.3").mkdir()
    assert slide_id_of(tmp_path / "1.2.3") == "1.2.3"
    assert [slide_id_of(Path(name)) for name in ("S.ome.tif", "a.b.svs", "a.png", "a.foo")] == ["S", "a.b", "a", "a"]


def test_the_plain_stem_wins_over_the_one_with_the_extension(tmp_path: Path) -> None:
    touch(tmp_path / "S.svs.h5", tmp_path / "in/S.h5", tmp_path / "T.svs.h5", tmp_path / "U.tif.h5")
    index = FeatureIndex([tmp_path])
    assert index.find(*names_of_slide("S.svs")) == tmp_path / "in/S.h5"
    assert index.find(*names_of_slide("T.SVS")) == tmp_path / "T.svs.h5"
    assert index.get(*names_of_slide("U.svs")) is None


@pytest.mark.parametrize("name", ["S_patches.h5", "S.svs_patches.h5", "S.svs.h5", "patches/S.svs_patches.h5"])
def test_coordinates_of_features_named_with_the_extension_are_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "f/S.svs.pt", tmp_path / "c" / name)
    assert find_coords_file(tmp_path / "f/S.svs.pt", tmp_path / "c") == tmp_path / "c" / name


def test_coordinates_named_with_the_extension_are_found_from_the_slide(tmp_path: Path) -> None:
    touch(tmp_path / "f/S.pt", tmp_path / "c/S.svs_patches.h5", tmp_path / "c/S.tif_patches.h5")
    path = coords_named_like("S.svs", tmp_path / "c")
    assert path == tmp_path / "c/S.svs_patches.h5"
    assert find_coords_file(tmp_path / "f/S.pt", path) == path


def outlines(folder: Path) -> StemIndex:
    return StemIndex([folder], (".geojson", ".pkl"), noun="outline file")


def test_files_of_a_slide_that_are_of_no_use_are_named_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path / "S.svs/S.svs_mask.png", tmp_path / "S_2.geojson", tmp_path / "Sx.png", tmp_path / "._S.png")
    expected = f"{tmp_path}/S.svs/S.svs_mask.png cannot be used: only files that end with .geojson, .pkl are read as "
    assert outlines(tmp_path).unused("S", "S.svs") == expected + "outline files"
    assert outlines(tmp_path).unused("T") == ""
    with pytest.raises(Exception, match=r"no outline file for 'S' among 1 in .*mask\.png cannot be used: only"):
        outlines(tmp_path).find("S", "S.svs")


def test_several_files_are_called_by_the_plural_of_what_they_are(tmp_path: Path) -> None:
    touch(tmp_path / "S.qpdata")
    regions = StemIndex([tmp_path], (".geojson",), noun="region of interest")
    assert regions.unused("S").endswith("are read as regions of interest")
    assert outlines(tmp_path).nouns == "outline files"


def test_a_longer_name_is_told_on_request_and_the_slide_itself_never(tmp_path: Path) -> None:
    touch(tmp_path / "S_tissue.geojson", tmp_path / "S.svs")
    index = outlines(tmp_path)
    assert index.unused("S", "S.svs") == ""
    assert index.unused("S", "S.svs", longer=True) == (
        f"{tmp_path}/S_tissue.geojson cannot be used: outline files of this slide are called S or S.svs, up to the "
        "extension"
    )


def test_features_in_a_folder_of_something_else_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "patches/S.h5", tmp_path / "other.h5")
    with pytest.raises(Exception, match=r"patches/S\.h5 cannot be used: files in a folder patches are no "):
        FeatureIndex([tmp_path]).find("S")


def test_a_folder_that_is_named_like_the_file_looked_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "S.h5").mkdir()
    with pytest.raises(FeatureError, match=r"S\.h5 cannot be used: it is a folder, no feature file"):
        FeatureIndex([tmp_path]).find("S")
