"""Which files of a cohort belong to a slide, and what is said of those that cannot be used."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.cohort.jobs import Cohort, find_cohort
from mil_heatmaps.config.config import make_config

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Gewebe_\u00e9") for form in ("NFC", "NFD"))


def found(root: Path, *names: str, listed: str | None = None, **keys: Any) -> Cohort:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    data = {key: str(root / value) for key, value in {"data_dir": "slides", **keys}.items()}
    if listed is not None:
        (root / "list.csv").write_text(listed, encoding="utf-8")
        data["process_list"] = str(root / "list.csv")
    if "h5_dir" not in data:
        data["scores_dir"] = str(root / "scores")
    return find_cohort(make_config({"data_arguments": data, "model_arguments": {"model_class": "m.py:M"}}))


def test_files_named_with_the_slides_extension_belong_to_it(tmp_path: Path) -> None:
    names = "slides/S.svs", "scores/S.svs_blockmap.h5", "tissue/S.svs_mask.pkl"
    job = found(tmp_path, *names, tissue_dir="tissue").jobs["S"]
    assert (job.scores_path, job.tissue_path) == (tmp_path / names[1], tmp_path / names[2])
    assert job.unused_tissue == ""


def test_two_slides_of_one_name_are_one_failed_row_that_names_both(tmp_path: Path) -> None:
    cohort = found(tmp_path, "slides/S.svs", "slides/S.tif", "slides/T.svs", "scores/S.csv", "scores/T.csv")
    assert [(row.slide_id, row.problem is None) for row in cohort.rows] == [("S", False), ("T", True)]
    (problem,) = cohort.problems.values()
    assert "S.svs" in problem
    assert "S.tif" in problem
    assert "line" not in problem


def test_a_list_chooses_by_extension_between_slides_of_one_name(tmp_path: Path) -> None:
    names = "slides/S.svs", "slides/S.tif", "scores/S.csv"
    assert found(tmp_path, *names, listed="slide_id\nS.tif\n").jobs["S"].slide_path == tmp_path / "slides/S.tif"
    assert "S.svs" in found(tmp_path, listed="slide_id\nS\n").problems[0]


def test_a_name_in_two_spellings_is_one_and_written_as_the_slides_file_has_it(tmp_path: Path) -> None:
    names = f"slides/{DECOMPOSED}.tif", f"scores/{COMPOSED}.csv"
    cohort = found(tmp_path, *names, listed=f"slide_id\n{COMPOSED}.tif\n")
    (job,) = cohort.jobs.values()
    assert job.slide_id == DECOMPOSED
    assert cohort.rows[0].cells["slide_id"] == f"{DECOMPOSED}.tif"
    assert job.paths.raw.name == DECOMPOSED
    assert cohort.position == {DECOMPOSED: 0}


def test_both_spellings_of_a_name_in_a_list_are_one_slide(tmp_path: Path) -> None:
    names = f"slides/{DECOMPOSED}.tif", f"scores/{COMPOSED}.csv"
    cohort = found(tmp_path, *names, listed=f"slide_id\n{COMPOSED}\n{DECOMPOSED}\n")
    assert list(cohort.jobs) == [DECOMPOSED]
    assert "is in the list already (line 2)" in cohort.problems[1]


@pytest.mark.parametrize("mpp", ["x", "0", "-1", "353", "inf"])
def test_a_resolution_nobody_believes_fails_its_row(tmp_path: Path, mpp: str) -> None:
    cohort = found(tmp_path, "slides/S.svs", "scores/S.csv", listed=f"slide_id,mpp\nS,{mpp}\n")
    assert cohort.problems == {0: f"mpp must be a number of µm per pixel from 0.05 to 10, got '{mpp}'"}


def test_a_resolution_is_read_with_a_decimal_comma_and_may_be_left_out(tmp_path: Path) -> None:
    names = "slides/S.svs", "slides/T.svs", "scores/S.csv", "scores/T.csv"
    cohort = found(tmp_path, *names, listed="slide_id;mpp\nS;0,25\nT;\n")
    assert {slide_id: job.row.mpp for slide_id, job in cohort.jobs.items()} == {"S": 0.25, "T": None}


def test_what_lies_in_a_folder_and_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    names = "slides/S.svs", "tissue/S.svs_mask.png", "tissue/S.tiff", "scores/S.csv", "h5/S.npy", "h5/T.h5"
    job = found(tmp_path, *names, tissue_dir="tissue").jobs["S"]
    assert "S.svs_mask.png" in job.unused_tissue
    assert "only files that end with .geojson, .geojson.gz, .json, .pkl are read as outline files" in job.unused_tissue
    problem = found(tmp_path, h5_dir="h5").problems[0]
    assert "h5/S.npy cannot be used: only files that end with .h5, .hdf5, .pt are read as feature files" in problem
    (tmp_path / "scores/S.csv").rename(tmp_path / "scores/S.xlsx")
    assert "scores/S.xlsx cannot be used: only files" in found(tmp_path).problems[0]
