"""What QuPath is given: bounded GeoJSON in its own frame, and the script that imports it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.export.geojson import write_geojson
from mil_heatmaps.export.qupath import write_qupath_script
from mil_heatmaps.scores.external_scores import read_external_scores
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask
from tests.export.test_geojson import example, read

SQUARE = np.array([[600, 700], [900, 700], [900, 900]], np.int32).reshape(-1, 1, 2)


def test_detections_stay_as_an_option(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", *example(), regions=False, objects="detection")
    assert {feature["properties"]["objectType"] for feature in read(tmp_path / "s.geojson")} == {"detection"}


def test_objects_count_from_the_scanned_area_as_qupath_does(tmp_path: Path) -> None:
    file, drawn = example()
    tissue = TissueMask((SQUARE,), ((),))
    area = (500, 600, 4000, 3000)
    write_geojson(tmp_path / "there.geojson", file, drawn, tissue=tissue)
    write_geojson(tmp_path / "s.geojson", file, drawn, tissue=tissue, scanned_l0=area, slide_size_l0=(9000, 8000))
    for plain, moved in zip(read(tmp_path / "there.geojson"), read(tmp_path / "s.geojson"), strict=True):
        ring = np.array(plain["geometry"]["coordinates"][0]) - [500, 600]
        assert moved["geometry"]["coordinates"][0] == ring.tolist()
        assert plain["properties"] == moved["properties"]
    text = (tmp_path / "s.geojson").read_text()
    frame = json.loads(text)["frame"]
    assert frame == {"counted_from": "bounds", "bounds_l0": list(area), "slide_size_l0": [9000, 8000]}
    assert re.search(r'"frame":(\{[^}]*\})', text[:4096])  # where the script looks for it
    assert "frame" not in json.loads((tmp_path / "there.geojson").read_text())


def test_a_map_of_a_slide_with_a_scanned_area_comes_back_to_its_place(tmp_path: Path) -> None:
    file, drawn = example()
    area = (5000, 6000, 2000, 2000)
    grid = file.grid.coords_l0 + area[:2]
    from dataclasses import replace

    placed = replace(file, grid=replace(file.grid, coords_l0=grid), scores=replace(file.scores, grid=None))
    write_geojson(tmp_path / "s.geojson", placed, drawn, regions=False, scanned_l0=area, slide_size_l0=(9000, 8000))
    again = read_external_scores(tmp_path / "s.geojson", space=SlideSpace((9000, 8000), area))
    rows = [row for row in range(20) if row != 2]
    np.testing.assert_array_equal(again.grid.coords_l0, grid[rows])


@pytest.mark.parametrize(("most", "patches", "regions"), [(20, 0, 0), (19, 19, 0), (1, 19, 0), (None, 0, 0)])
def test_more_objects_than_a_file_may_hold_leave_the_regions(
    tmp_path: Path, most: int | None, patches: int, regions: int
) -> None:
    """Nineteen patches and one region."""
    count = write_geojson(tmp_path / "s.geojson", *example(), most_objects=most)
    assert (count.patches_left_out, count.regions_left_out) == (patches, regions)
    features = read(tmp_path / "s.geojson")
    assert len(features) == count == (20 if not patches else 1)
    kinds = [feature["properties"]["objectType"] for feature in features]
    assert kinds == ["annotation"] + ["tile"] * (count - 1)


def test_regions_take_the_place_of_patches_though_they_were_off(tmp_path: Path) -> None:
    write_geojson(tmp_path / "s.geojson", *example(), regions=False, most_objects=5)
    (region,) = read(tmp_path / "s.geojson")
    assert region["properties"]["classification"]["name"] == "High-score region"


def test_of_too_many_regions_the_largest_are_written(tmp_path: Path) -> None:
    file, drawn = example()
    drawn.shades[:] = 0
    drawn.shades[[0, 4, 5, 9, 12]] = 1  # two pairs that touch, and one patch alone
    count = write_geojson(tmp_path / "s.geojson", file, drawn, detections=False, most_objects=2)
    assert (count, count.regions_left_out) == (2, 1)
    assert [f["properties"]["measurements"]["Patches"] for f in read(tmp_path / "s.geojson")] == [2, 2]


def test_the_script_names_its_folder_whatever_that_is_called(tmp_path: Path) -> None:
    folder = tmp_path / 'of "us" $HOME \\ µ'
    folder.mkdir()
    write_qupath_script(folder / "qupath_import.groovy", folder)
    text = (folder / "qupath_import.groovy").read_text(encoding="utf-8")
    (line,) = re.findall(r'^def folder = new File\("(.*)"\)$', text, re.MULTILINE)
    assert "$HOME" in line
    assert not re.search(r"(?<!\\)\$", line)  # Groovy would put something in its place
    assert json.loads('"' + line.replace("\\$", "$") + '"') == str(folder)
    code = re.sub(r'/"frame".*/', "", text)
    for opening, closing in ("()", "[]", "{}"):
        assert code.count(opening) == code.count(closing)
    for call in ("PathIO.readObjectsFromGeoJSON", "getImageList()", "saveImageData", "addObjects"):
        assert call in text
