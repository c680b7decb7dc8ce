"""Regions of interest: CLAM's box rule, QuPath's polygons, and regions that make no sense."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.roi import Roi, patches_in_box, patches_in_roi, read_roi, roi_from_box, roi_from_polygons
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.slides.tissue import TissueMask

SLIDE = (1000, 800)


def grid(step: int = 100, size: int = 100) -> PatchGrid:
    x, y = np.meshgrid(np.arange(0, 1000, step), np.arange(0, 800, step), indexing="ij")
    return PatchGrid(np.stack([x.ravel(), y.ravel()], 1).astype(np.int64), (size, size), (step, step))


def corners(chosen: PatchGrid, roi: Roi, **options: Any) -> set[tuple[int, int]]:
    return {(x, y) for x, y in chosen.coords_l0[patches_in_roi(chosen, roi, **options)].tolist()}


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


def feature(geometry: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    properties = {"objectType": "annotation"}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": properties | ({"classification": {"name": name}} if name else {}),
    }


def test_a_box_takes_corners_on_both_of_its_ends_as_clam_does() -> None:
    assert corners(grid(), roi_from_box((100, 200, 300, 300), SLIDE)) == {
        (100, 200), (200, 200), (300, 200), (100, 300), (200, 300), (300, 300),
    }  # fmt: skip


def test_a_box_cuts_a_real_grid_by_clams_rule(golden: Path) -> None:
    with np.load(golden / "clam" / "coords" / "region_B_ov0_cs0.npz") as file:
        coords = file["coords"].astype(np.int64)
    whole = PatchGrid(coords, (256, 256), (256, 256))
    top_left, bot_right = (900, 700), (4000, 3000)
    expected = (coords >= top_left).all(1) & (coords <= bot_right).all(1)
    found = patches_in_roi(whole, roi_from_box((*top_left, *bot_right), (6001, 5003)))
    assert np.array_equal(found, expected)
    assert 0 < expected.sum() < len(coords)


@pytest.mark.parametrize("rule", ["corner", "center", "reach"])
def test_a_patch_belongs_to_a_box_by_its_corner_its_centre_or_any_pixel(rule: Any) -> None:
    whole = grid(step=70)
    top_left, bot_right = (140, 95), (420, 420)
    corner, centre = whole.coords_l0, whole.coords_l0 + 50
    looked_at = {"corner": (corner, corner), "center": (centre, centre), "reach": (corner + 99, corner + 1)}[rule]
    expected = (looked_at[0] >= top_left).all(1) & (looked_at[1] <= bot_right).all(1)
    assert np.array_equal(patches_in_box(whole, top_left, bot_right, rule), expected)
    assert 0 < expected.sum() < len(whole)


def test_corners_may_be_given_the_other_way_round_and_are_cut_to_the_slide() -> None:
    roi = roi_from_box((1200.0, 300.0, -50.0, 100.0), SLIDE)
    assert (roi.top_left_l0, roi.bot_right_l0) == ((0, 100), (1000, 300))
    assert roi.size_l0 == (1000, 200)


def test_a_polygon_takes_patches_whose_centre_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "roi.geojson"
    path.write_text(json.dumps(feature(polygon((100, 100), (400, 100), (400, 400)))))
    roi = read_roi(path, SLIDE)
    # Centres 150, 250, 350: those on the slanted side count.
    assert corners(grid(), roi) == {(100, 100), (200, 100), (300, 100), (200, 200), (300, 200), (300, 300)}
    assert str(path) in repr(roi)


def test_collections_multi_polygons_and_holes_are_read_and_other_shapes_passed_over(tmp_path: Path) -> None:
    ring = [[0, 0], [500, 0], [500, 500], [0, 500], [0, 0]]
    hole = [[110, 110], [390, 110], [390, 390], [110, 390], [110, 110]]
    collection = {
        "type": "FeatureCollection",
        "features": [
            feature({"type": "MultiPolygon", "coordinates": [[ring, hole]]}, "Tumor"),
            feature({"type": "Point", "coordinates": [900, 700]}),
            feature(polygon((600, 600), (700, 600), (700, 700), (600, 700))),
            feature(polygon((800, 0), (1000, 0), (1000, 800), (800, 800)), "Ignore*"),
        ],
    }
    (tmp_path / "roi.json").write_text(json.dumps(collection))
    found = corners(grid(), read_roi(tmp_path / "roi.json", SLIDE))
    outer = {(x, y) for x in range(0, 500, 100) for y in range(0, 500, 100)}
    assert found == outer - {(x, y) for x in (100, 200, 300) for y in (100, 200, 300)} | {(600, 600)}


def test_points_are_judged_as_opencv_judges_them() -> None:
    rng = np.random.default_rng(0)
    points = np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1).reshape(-1, 2).astype(np.int64)
    one = PatchGrid(points, (1, 1), (1, 1))
    for _ in range(20):
        ring = (rng.integers(0, 30, (rng.integers(3, 12), 1, 2)) * 1).astype(np.int32)
        if np.ptp(ring.reshape(-1, 2), axis=0).min() == 0:
            continue
        expected = [cv2.pointPolygonTest(ring, (float(x), float(y)), False) >= 0 for x, y in points.tolist()]
        roi = roi_from_polygons(TissueMask((ring,), ((),)), (32, 32))
        assert np.array_equal(patches_in_roi(one, roi, rule="corner"), expected)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1000, 0, 1200, 100), r"\(1000, 0\) to \(1200, 100\) lies outside the slide of 1000 x 800"),
        ((-300, -300, 0, 0), "outside the slide"),
        ((5, 5, 5, 90), "has no area"),
        ((1, 2, 3), "needs four numbers"),
        ((1, 2, 3, float("nan")), "needs four numbers"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(SlideError, match=message):
        roi_from_box(box, SLIDE)


def test_a_region_without_patches_says_where_the_patches_are() -> None:
    with pytest.raises(SlideError, match=r"no patch lies in the ROI .* 80 patches lie within \(0, 0\)"):
        patches_in_roi(grid(), roi_from_box((901, 701, 999, 799), SLIDE))
    empty = PatchGrid(np.empty((0, 2), np.int64), (1, 1), (1, 1))
    with pytest.raises(SlideError, match="no patches at all"):
        patches_in_roi(empty, roi_from_box((0, 0, 10, 10), SLIDE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "FeatureCollection", "features": []}', "holds no polygon"),
        ("{", "not JSON"),
        (
            json.dumps(feature(polygon((2000, 2000), (2100, 2000), (2100, 2100)))),
            r"outside the slide of 1000 x 800 pixels \(.*roi\.geojson\)",
        ),
    ],
)
def test_a_file_without_a_region_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "roi.geojson").write_text(text)
    with pytest.raises(SlideError, match=message):
        read_roi(tmp_path / "roi.geojson", SLIDE)


@pytest.mark.parametrize("scanned", [None, (100, 100, 500, 400)])
def test_a_region_without_patches_names_the_frame_if_there_are_two(scanned: tuple[int, int, int, int] | None) -> None:
    space = SlideSpace(SLIDE, scanned, frame="slide")
    square = np.array([[[1, 1]], [[9, 1]], [[9, 9]]], np.int32)
    for roi in (roi_from_box((1, 1, 9, 9), space), roi_from_polygons(TissueMask((square,), ((),)), space)):
        with pytest.raises(SlideError, match="no patch lies in the ROI") as refused:
            patches_in_roi(grid(), roi, rule="center")
        assert ("coords_frame says whether" in str(refused.value)) is (scanned is not None)
