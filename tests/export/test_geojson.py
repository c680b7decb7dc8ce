"""GeoJSON for QuPath, read back by the json module."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.export.geojson import write_geojson
from mil_heatmaps.export.outlines import DrawnMap
from mil_heatmaps.scores.normalize import normalize
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import read_mask
from tests.helpers.features import grid_coords

TABLE = np.stack([np.arange(256)] * 3, axis=1).astype(np.uint8)


def example(mpp: float | None = 0.5, n: int = 20) -> tuple[ScoreFile, DrawnMap]:
    grid = PatchGrid(grid_coords(5, n // 5), (256, 256), (256, 256))
    values = np.linspace(-1, 1, n, dtype=np.float32)
    values[2] = np.nan
    scores = PatchScores(grid, values[:, None], ("attention",), "attention_logit", 'at"tention')
    file = ScoreFile(grid, scores, level0_mpp=mpp)
    return file, DrawnMap("attention", values, normalize(values, "minmax").shades, TABLE)


def read(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data, parse_constant=pytest.fail)
    assert content["type"] == "FeatureCollection"
    features: list[dict[str, Any]] = content["features"]
    return features


@pytest.mark.parametrize("name", ["s.geojson", "s.geojson.gz"])
def test_every_drawn_patch_is_a_tile_with_its_scores(tmp_path: Path, name: str) -> None:
    file, drawn = example()
    count = write_geojson(tmp_path / name, file, drawn, regions=False)
    features = read(tmp_path / name)
    rows = [row for row in range(20) if row != 2]  # the patch without a score is not drawn
    assert len(features) == count == 19
    for row, feature in zip(rows, features, strict=True):
        x, y = file.grid.coords_l0[row].tolist()
        ring = feature["geometry"]["coordinates"][0]
        assert ring == [[x, y], [x + 256, y], [x + 256, y + 256], [x, y + 256], [x, y]]
        properties = feature["properties"]
        assert properties["objectType"] == "tile"
        assert np.float32(properties["measurements"]['at"tention']) == drawn.scores[row]
        shade = min(int(drawn.shades[row] * 256), 255)
        assert properties["color"] == [shade] * 3
    top = features[-1]["properties"]["measurements"]['at"tention percentile']
    assert top == 100


def test_hot_patches_become_regions_with_their_area(tmp_path: Path) -> None:
    file, drawn = example(mpp=0.5)
    write_geojson(tmp_path / "s.geojson", file, drawn, detections=False, threshold=0.9)
    (region,) = read(tmp_path / "s.geojson")
    hot = np.flatnonzero(np.nan_to_num(drawn.shades, nan=-1) >= 0.9)
    assert hot.tolist() == [18, 19]
    measured = region["properties"]["measurements"]
    assert (measured["Patches"], measured["Area px^2"]) == (2, 2 * 256 * 256)
    assert measured["Area µm^2"] == 2 * 128 * 128
    assert measured["attention mean"] == pytest.approx(drawn.scores[hot].mean())
    assert measured["attention max"] == 1
    assert region["properties"]["classification"]["name"] == "High-score region"


def test_no_area_in_micrometres_without_a_resolution(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", *example(mpp=None), detections=False)
    (region,) = read(tmp_path / "s.geojson")
    assert "Area µm^2" not in region["properties"]["measurements"]
    assert "Area px^2" in region["properties"]["measurements"]


def test_the_tissue_comes_with_its_holes_and_is_read_as_tissue(tmp_path: Path) -> None:
    square = np.array([[0, 0], [900, 0], [900, 900], [0, 900]], np.int32).reshape(-1, 1, 2)
    mask = TissueMask((square,), ((square // 9 + 100,),))
    write_geojson(tmp_path / "s.geojson", *example(), detections=False, regions=False, tissue=mask)
    (feature,) = read(tmp_path / "s.geojson")
    assert feature["properties"]["classification"]["name"] == "Tissue"
    assert len(feature["geometry"]["coordinates"]) == 2
    again = read_mask(tmp_path / "s.geojson")
    np.testing.assert_array_equal(again.contours_l0[0], square)
    np.testing.assert_array_equal(again.holes_l0[0][0], square // 9 + 100)


def test_all_three_lie_in_one_file(tmp_path: Path) -> None:
    square = np.array([[0, 0], [900, 0], [900, 900]], np.int32).reshape(-1, 1, 2)
    count = write_geojson(tmp_path / "s.geojson", *example(), tissue=TissueMask((square,), ((),)))
    kinds = [feature["properties"]["objectType"] for feature in read(tmp_path / "s.geojson")]
    assert kinds == ["annotation"] * 2 + ["tile"] * 19
    assert count == 21


def test_nothing_to_write_is_still_a_collection(tmp_path: Path) -> None:
    file, drawn = example()
    assert write_geojson(tmp_path / "s.geojson", file, drawn, detections=False, threshold=1.1) == 0
    assert read(tmp_path / "s.geojson") == []


@pytest.mark.parametrize("name", ["s.geojson", "s.geojson.gz"])
def test_equal_maps_give_equal_bytes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geojson(tmp_path / name, *example())
    before = (tmp_path / name).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_geojson(tmp_path / name, *example())
    assert (tmp_path / name).read_bytes() == before


def test_more_patches_than_a_block_are_all_there(tmp_path: Path) -> None:
    file, drawn = example(n=25_000)
    write_geojson(tmp_path / "s.geojson", file, drawn, regions=False)
    features = read(tmp_path / "s.geojson")
    assert len(features) == 24_999
    assert features[-1]["geometry"]["coordinates"][0][0] == file.grid.coords_l0[-1].tolist()
