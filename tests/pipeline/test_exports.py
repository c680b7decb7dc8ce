"""Exports switched on in the config, each opened by a second program."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunSummary
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
    }
    run(cohort)
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
    assert sum(feature["properties"]["objectType"] == "detection" for feature in features) == 48
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
