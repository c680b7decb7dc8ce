"""Finding the slides of a list by stem."""

import os
from pathlib import Path

import pytest

from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.names import SLIDE_EXTENSIONS, extension_of, stem_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "A.svs",
        "B.OME.TIF",
        "TCGA-01.8628b4d2-1f3a.svs",
        "inner/C.tiff",
        "inner/A.svs",
        "other/C.svs",
        "M.mrxs",
        "M/Data0001.tif",
        "._A.svs",
        ".cache/D.svs",
        "readme.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_only_a_known_ending_is_an_extension() -> None:
    assert stem_of("TCGA-01.8628b4d2", SLIDE_EXTENSIONS) == "TCGA-01.8628b4d2"
    assert stem_of("a.ome.tif", (".tif",)) == "a"
    assert stem_of("a.svs.tif", (".tif",)) == "a.svs"
    assert stem_of("a.SVS", (".svs",)) == "a"
    assert extension_of("a.ome.tiff", (".tif", ".tiff")) == ".ome.tiff"
    assert stem_of(".ome.tif", (".tif",)) == ".ome"


def test_a_slide_is_found_by_stem_or_name_the_nearest_folder_first(folder: Path) -> None:
    index = SlideIndex([folder], SLIDE_EXTENSIONS)
    assert index.find("A") == folder / "A.svs"
    assert index.find("A.svs") == folder / "A.svs"
    assert index.find("B") == folder / "B.OME.TIF"
    assert index.find("TCGA-01.8628b4d2-1f3a") == folder / "TCGA-01.8628b4d2-1f3a.svs"
    assert index.find("C.tiff") == folder / "inner" / "C.tiff"
    assert index.get("Data0001") is None
    assert set(index.repeated) == {"C"}


def test_two_slides_of_one_name_are_an_error_that_shows_both(folder: Path) -> None:
    with pytest.raises(
        SlideError, match=r"2 slides are named 'C': .*inner/C\.tiff, .*other/C\.svs; keep one"
    ):
        SlideIndex([folder], SLIDE_EXTENSIONS).find("C")


def test_a_missing_slide_shows_the_nearest_names(folder: Path) -> None:
    index = SlideIndex([folder], SLIDE_EXTENSIONS)
    with pytest.raises(
        SlideError, match=r"no slide for 'TCGA-01' .*nearest names are TCGA-01\.8628b4d2-1f3a"
    ):
        index.find("TCGA-01")
    with pytest.raises(SlideError, match="names there look like A"):
        index.find("zzzzzz")
    with pytest.raises(SlideError, match=r"nothing in .* ends with \.ndpi"):
        SlideIndex([folder], [".ndpi"]).find("zzzzzz")
    with pytest.raises(SlideError, match=r"'A': .*A\.svs cannot be used: only files that end with \.ndpi are read"):
        SlideIndex([folder], [".ndpi"]).find("A")


def test_after_many_misses_the_messages_are_short_and_quick(tmp_path: Path) -> None:
    for i in range(300):
        (tmp_path / f"slide_{i:04d}.svs").touch()
    index = SlideIndex([tmp_path], (".svs",))
    messages = []
    for i in range(60):
        with pytest.raises(SlideError) as caught:
            index.find(f"slyde_{i:04d}")
        messages.append(str(caught.value))
    assert "nearest names" in messages[0]
    assert "nearest names" not in messages[-1]


def test_folders_inside_are_left_alone_on_request(folder: Path) -> None:
    index = SlideIndex([folder, folder], SLIDE_EXTENSIONS, recursive=False)
    assert [slide_id for slide_id, _ in index.slides()] == ["A", "B", "M", "TCGA-01.8628b4d2-1f3a"]


def test_a_link_that_leads_back_is_followed_once(folder: Path) -> None:
    os.symlink(folder, folder / "inner" / "back")
    index = SlideIndex([folder], SLIDE_EXTENSIONS)
    assert sum(map(len, index.by_stem.values())) == 7


def index_of(folder: Path, *names: str, **options: bool) -> SlideIndex:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return SlideIndex([folder], SLIDE_EXTENSIONS, **options)


@pytest.mark.parametrize("ending", [*SLIDE_EXTENSIONS, ".QPTIFF", ".ome.btf", ".Ome.Tf8"])
def test_every_ending_of_a_slide_is_found_in_any_case(tmp_path: Path, ending: str) -> None:
    index = index_of(tmp_path, f"S{ending}", f"._S{ending}")
    assert list(index.slides()) == [("S", [tmp_path / f"S{ending}"])]


def test_of_several_slides_of_one_name_the_nearest_counts_at_any_depth(tmp_path: Path) -> None:
    index = index_of(tmp_path, "a/b/S.svs", "a/S.tif", "a/c/d/S.ndpi", "T.svs", "T.tif")
    assert dict(index.slides()) == {"S": [tmp_path / "a/S.tif"], "T": [tmp_path / "T.svs", tmp_path / "T.tif"]}
    assert index.find("S") == tmp_path / "a/S.tif"
    assert index.find("S.svs") == tmp_path / "a/b/S.svs"
    with pytest.raises(SlideError, match=r"2 slides are named 'T': .*T\.svs, .*T\.tif; keep one"):
        index.find("T")


def test_composed_and_decomposed_letters_are_one_name_spelt_as_the_file_has_it(tmp_path: Path) -> None:
    composed, decomposed = "Gewebe_\u00e9", "Gewebe_e\u0301"
    index = index_of(tmp_path, f"{decomposed}.tif")
    path = index.find(composed)
    assert path == index.find(f"{composed}.tif") == tmp_path / f"{decomposed}.tif"
    assert index.spelt(path, composed) == decomposed
    assert index.spelt(path, f"{composed}.TIF") == f"{decomposed}.TIF"
    assert index.spelt(path, "another") == "another"
    assert [slide_id for slide_id, _ in index.slides()] == [decomposed]


def test_one_name_in_both_spellings_is_ambiguous(tmp_path: Path) -> None:
    index = index_of(tmp_path, "\u00e9.tif", "e\u0301.tif")
    with pytest.raises(SlideError, match="2 slides are named"):
        index.find("\u00e9")


def test_without_a_folder_that_is_said() -> None:
    with pytest.raises(SlideError, match="no slide for 'S': there is no folder to look in"):
        SlideIndex([], SLIDE_EXTENSIONS).find("S")
