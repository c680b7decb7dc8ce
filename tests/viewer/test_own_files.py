"""Scores and outlines of the user's own are placed on their slide; those of a run are where they belong already."""

import json
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import write_geojson
from mil_heatmaps.viewer.catalog import Catalog, catalog_of_files
from mil_heatmaps.viewer.content import Content


def coords_and_outline(catalog: Catalog) -> tuple[list[str], list[list[int]], list[int]]:
    content = Content(catalog)
    try:
        problems = content.describe(0)["problems"]
        coords = np.frombuffer(content.layer(0, 0).coords(), "<i4").reshape(-1, 2).tolist()
        return problems, coords, json.loads(content.tissue(0))[0]["outline"]
    finally:
        content.close()


def test_own_files_that_count_from_the_scanned_area_are_moved(
    tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SlideSpace((2048, 1536), (512, 256, 1024, 768), mpp=0.5)
    monkeypatch.setattr(Slide, "space", lambda slide: space)
    (tmp_path / "s.csv").write_text("x_um,y_um,score\n0,0,1\n128,0,2\n0,128,3\n")
    outline = np.array([[[0, 0]], [[512, 0]], [[512, 512]]], np.int32)
    write_geojson(TissueMask((outline,), ((),)), tmp_path / "t.geojson")
    catalog = catalog_of_files(tiny_slide, [], [tmp_path / "s.csv"], tmp_path / "t.geojson")
    problems, coords, points = coords_and_outline(catalog)
    assert coords == [[512, 256], [768, 256], [512, 512]]
    assert points == [512, 256, 1024, 256, 1024, 768]
    assert ["µm" in problems[0], "bounds" in problems[1], "outlines count" in problems[2]] == [True] * 3

    (tmp_path / "s.csv").write_text("x,y,score\n0,0,1\n256,0,2\n0,256,3\n")
    of_run = replace(catalog, slides=(replace(catalog.slides[0], own_files=False),))
    assert coords_and_outline(of_run) == ([], [[0, 0], [256, 0], [0, 256]], [0, 0, 512, 0, 512, 512])


def test_patches_outside_the_slide_are_counted_and_their_pictures_are_white(tiny_slide: Path, tmp_path: Path) -> None:
    table = tmp_path / "far.csv"
    table.write_text("x,y,score,patch_size\n0,0,1,128\n100000,100000,2,128\n")
    content = Content(catalog_of_files(tiny_slide, [], [table], None))
    try:
        about = content.describe(0)
        assert any("1 of 2 patches lies outside the slide" in problem for problem in about["problems"])
        assert len(about["problems"]) == len(set(about["problems"]))
        white = imagecodecs.jpeg8_decode(content.patch(0, 0, 1))
        assert white.min() >= 254
    finally:
        content.close()


def test_a_tissue_outline_that_leaves_the_slide_is_said(tiny_slide: Path, tmp_path: Path) -> None:
    outline = tmp_path / "other.geojson"
    ring = [[10, 10], [90000, 10], [90000, 500], [10, 10]]
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    content = Content(catalog_of_files(tiny_slide, [], [], outline))
    try:
        assert any("leave the slide" in problem for problem in content.describe(0)["problems"])
    finally:
        content.close()
