"""Exports switched on in the config, each opened by a second program."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
import sys
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import SmallCohort, make_small_cohort


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    made = make_small_cohort(tmp_path)
    made.rows = made.rows[:1]
    return made


def run(cohort: SmallCohort) -> RunSummary:
    summary = Runner(load_config(cohort.write())).run()
    assert summary.failed == {}
    return summary


def test_no_export_is_written_unless_asked_for(cohort: SmallCohort) -> None:
    run(cohort)
    assert not list(cohort.production.rglob("exports/*"))


def test_every_export_is_written_and_opens_elsewhere(cohort: SmallCohort) -> None:
    cohort.config["export_arguments"] = {
        "png": True,
        "jpeg": {"quality": 80},
        "webp": {"lossless": True, "content": "colours"},
        "ome_tiff": {"level": 0},
        "deepzoom": True,
        "geojson": {"gzip": True},
        "csv": True,
        "npz": True,
        "annotation_store": True,
        "wsidata": True,
    }
    summary = run(cohort)
    folder = cohort.production / "a" / "exports"
    png = np.asarray(Image.open(folder / "s1_overlay.png"))
    assert png.shape == (768, 1024, 3)
    jpeg = np.asarray(Image.open(folder / "s1_overlay.jpg")).astype(int)
    assert np.abs(jpeg - png).mean() < 6
    webp = np.asarray(Image.open(folder / "s1_colours.webp"))
    assert (webp[2, 2] == 255).all()
    with openslide.OpenSlide(str(folder / "s1_overlay.ome.tif")) as slide:
        assert slide.level_dimensions[0] == (1024, 768)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
    with tifffile.TiffFile(folder / "s1_overlay.ome.tif") as tiff:
        assert tiff.is_ome
    with zipfile.ZipFile(folder / "s1_overlay.szi") as archive:
        assert any(name.endswith(".dzi") for name in archive.namelist())
    features = json.loads(gzip.decompress((folder / "s1.geojson.gz").read_bytes()))["features"]
    assert sum(feature["properties"]["objectType"] == "tile" for feature in features) == 48
    with closing(sqlite3.connect(folder / "s1.db")) as store:
        count = "SELECT COUNT(*) FROM annotations WHERE json_extract(properties, '$.type') = 'patch'"
        assert store.execute(count).fetchone() == (48,)
    missing = find_spec("pyarrow") is None
    assert (folder / "s1.zarr" / "shapes" / "tiles" / "shapes.parquet").is_file() is not missing
    assert ("export_refused" in {note.code for note in summary.notes["s1"]}) is missing
    with (folder / "s1_scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 48
    with np.load(folder / "s1_scores.npz") as arrays:
        assert arrays["coords"].shape == (48, 2)


def test_switching_an_export_on_later_writes_it_and_nothing_else(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["export_arguments"] = {"csv": True}
    assert set(run(cohort).stage_seconds) == {"exports"}
    assert run(cohort).reused == ["s1"]


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_a_picture_beyond_its_formats_limit_is_written_as_png_and_said(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    import mil_heatmaps.visualization.picture_files as picture_files

    monkeypatch.setitem(picture_files._MOST_SIDE, f".{suffix}", 1000)
    cohort.config["export_arguments"] = {"jpeg" if suffix == "jpg" else "webp": True}
    cohort.config["heatmap_arguments"] |= {"save_ext": "jpg", "vis_level": 0}
    run(cohort)
    assert not list(cohort.production.rglob(f"exports/*.{suffix}"))
    folder = cohort.production / "a"
    with Image.open(folder / "exports" / "s1_overlay.png") as picture:
        assert picture.size == (1024, 768)
    maps = {path.suffix for path in folder.glob("s1_0.0_*")}
    assert maps == ({".png"} if suffix == "jpg" else {".jpg"})
    record = json.loads(next(cohort.root.rglob("s1/record.json")).read_text())
    assert f"does not fit {suffix.upper()}: written as PNG" in json.dumps(record)


def test_a_jpeg_of_a_slide_too_large_for_it_is_a_png_and_that_is_said(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mil_heatmaps.visualization.picture_files as picture_files

    monkeypatch.setitem(picture_files._MOST_SIDE, ".jpg", 1000)
    cohort.config["export_arguments"] = {"jpeg": True}
    cohort.config["heatmap_arguments"]["save_ext"] = "png"
    summary = run(cohort)
    assert "picture_format" in {note.code for note in summary.notes["s1"]}
    folder = cohort.production / "a" / "exports"
    assert [path.name for path in folder.iterdir()] == ["s1_overlay.png"]


@pytest.mark.parametrize(("ext", "lossless"), [("jpg", False), ("tif", True)])
def test_a_picture_too_large_to_be_opened_at_once_is_written_as_a_pyramid(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch, ext: str, lossless: bool
) -> None:
    import mil_heatmaps.stages.picture_format as picture_format
    import mil_heatmaps.visualization.picture_files as picture_files

    monkeypatch.setitem(picture_files._MOST_SIDE, f".{ext}", 1000)
    monkeypatch.setattr(picture_format, "_MOST_PIXELS_OF_PNG", 500_000)
    cohort.config["heatmap_arguments"] |= {"save_ext": ext, "vis_level": 0, "save_orig": False}
    summary = run(cohort)
    said = {note.code: str(note) for note in summary.notes["s1"]}
    assert said["picture_format"] == (
        f"a map of 1024 x 768 pixels does not fit {ext.upper()}: written as OME-TIFF (pyramidal BigTIFF)"
    )
    (path,) = (cohort.production / "a").glob("s1_0.0_*")
    assert path.name.endswith(".ome.tif")
    with openslide.OpenSlide(str(path)) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, (1024, 768)))[..., :3].astype(int)
    expected = np.asarray(Image.open(next(cohort.raw.rglob("s1_blockmap.png")).as_posix())) if lossless else None
    assert pixels.shape == (768, 1024, 3)
    if expected is not None and expected.shape == pixels.shape:
        np.testing.assert_array_equal(pixels, expected)
    assert run(cohort).reused == ["s1"]


def test_scores_are_written_as_numbers_for_every_program(cohort: SmallCohort) -> None:
    anndata, zarr = pytest.importorskip("anndata"), pytest.importorskip("zarr")
    highdicom = pytest.importorskip("highdicom")
    cohort.config["export_arguments"] = {
        "ome_tiff": {"content": "scores"},
        "geojson": {"most_objects": 20, "objects": "detection"},
        "anndata": {"features": True},
        "ome_zarr": True,
        "dicom": True,
    }
    summary = run(cohort)
    folder = cohort.production / "a" / "exports"
    scores = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    level0 = tifffile.imread(folder / "s1_scores.ome.tif")
    x, y = scores.grid.coords_l0[5]
    assert level0[0, y + 1, x + 1] == scores.scores.values[5, 0]
    chunks = zarr.open_group(str(folder / "s1_scores.ome.zarr"), mode="r")["0"]
    assert chunks[0, y + 1, x + 1] == level0[0, y + 1, x + 1]
    data = anndata.read_h5ad(folder / "s1.h5ad")
    np.testing.assert_array_equal(data.obs["attention"], scores.scores.values[:, 0])
    np.testing.assert_array_equal(data.obsm["corners_l0"], scores.grid.coords_l0)
    assert data.shape == (48, 16)
    assert data.uns["spatial"]["s1"]["images"]["hires"].shape == (768, 1024, 3)
    together = anndata.read_h5ad(cohort.production / "cohort.h5ad")
    assert set(together.obs["slide_id"]) == {"s1"}
    assert set(together.uns["spatial"]) == {"s1"}
    np.testing.assert_array_equal(together.X, data.X)
    made = highdicom.imread(folder / "s1_scores.dcm")
    assert made.TotalPixelMatrixColumns == 1024
    assert "scores.csv" in next(note for note in summary.notes["s1"] if note.code == "too_many_objects")
    assert (folder / "s1_scores.csv").is_file()
    kinds = {f["properties"]["objectType"] for f in json.loads((folder / "s1.geojson").read_text())["features"]}
    assert kinds == {"annotation"}
    script = (cohort.production / "qupath_import.groovy").read_text()
    assert json.dumps(str(cohort.production)) in script
    assert summary.exports == [cohort.production / "qupath_import.groovy", cohort.production / "cohort.h5ad"]


def test_what_cannot_be_written_is_said_and_the_slide_goes_on(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cohort.production / "a" / "exports"
    (folder / "s1_scores.npz").mkdir(parents=True)  # a folder where a file is to be
    monkeypatch.setitem(sys.modules, "anndata", None)
    cohort.config["run_arguments"] = {"workers": 1}
    cohort.config["export_arguments"] = {"anndata": True, "npz": True, "csv": True}
    summary = run(cohort)
    refused = [note for note in summary.notes["s1"] if note.code == "export_refused"]
    assert "pip install -e '.[interop]'" in refused[0]
    assert "export npz was not written" in refused[1]
    assert (folder / "s1_scores.csv").is_file()
    assert "cohort.h5ad was not written" in summary.refused_exports[0]
    monkeypatch.undo()
    (folder / "s1_scores.npz").rmdir()
    summary = run(cohort)  # it is tried again by itself
    assert (folder / "s1.h5ad").is_file()
    assert not [note for note in summary.notes.get("s1", ()) if note.code == "export_refused"]
    assert run(cohort).reused == ["s1"]
