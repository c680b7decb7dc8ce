"""Finding the slides of a list by stem."""

import os
from pathlib import Path

import pytest

from mil_heatmaps.cohort.slide_index import SlideIndex, list_slides
from mil_heatmaps.config.section_types import SLIDE_EXTENSIONS
from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.stem_index import extension_of, stem_of


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
    assert set(index.repeated) == {"A", "C"}


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
    names = [path.name for path in list_slides([folder, folder], SLIDE_EXTENSIONS, recursive=False)]
    assert names == ["A.svs", "B.OME.TIF", "M.mrxs", "TCGA-01.8628b4d2-1f3a.svs"]


def test_a_link_that_leads_back_is_followed_once(folder: Path) -> None:
    os.symlink(folder, folder / "inner" / "back")
    assert len(list_slides([folder], SLIDE_EXTENSIONS)) == 7
