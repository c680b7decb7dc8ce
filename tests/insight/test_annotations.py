"""Annotations: what is read, mended and refused; how scores agree with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from sklearn.metrics import average_precision_score, roc_auc_score

from mil_heatmaps.errors import TissueError
from mil_heatmaps.insight.agreement import agreement, annotated_shares
from mil_heatmaps.insight.annotations import read_annotations
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import grid_coords

SPACE = SlideSpace((1024, 768))
SCANNED = SlideSpace((4096, 3072), scanned_l0=(2048, 1024, 1024, 768))
GRID = PatchGrid(grid_coords(8, 6, 128), (128, 128), (128, 128))


def _square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def _feature(rings: list[list[list[int]]], **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": properties}


def _write(path: Path, *features: dict[str, object]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_classes_of_qupath_and_trident_are_read_and_holes_are_left_out(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "s.geojson",
        _feature([_square(0, 0, 256), _square(0, 0, 128)], classification={"name": "Tumor", "color": [1, 2, 3]}),
        _feature([_square(512, 0, 64)], tissue_id=0),
        _feature([_square(256, 256, 128)]),
    )
    found = read_annotations(path, SPACE)
    assert found.classes == ["Tumor", "tissue", "unclassified"]
    shares = annotated_shares(found, "Tumor", GRID)
    assert np.flatnonzero(shares).tolist() == [1, 8, 9]
    assert annotated_shares(found, "tissue", GRID)[4] == 0.25


def test_asap_groups_are_classes(tmp_path: Path) -> None:
    points = "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate(_square(128, 0, 128)[:4]))
    path = tmp_path / "s.xml"
    path.write_text(
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="A0" Type="Polygon" PartOfGroup="Tumor">'
        f"<Coordinates>{points}</Coordinates></Annotation>"
        '<Annotation Name="d" Type="Dot" PartOfGroup="Tumor"><Coordinates><Coordinate Order="0" X="1" Y="1"/>'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    found = read_annotations(path, SPACE)
    assert np.flatnonzero(annotated_shares(found, "Tumor", GRID)).tolist() == [1]
    path.write_text('<!DOCTYPE x [<!ENTITY a "b">]><ASAP_Annotations/>')
    with pytest.raises(TissueError, match="entities"):
        read_annotations(path, SPACE)


def test_a_mask_of_labels_counts_by_the_area_its_pixels_share_with_a_patch(tmp_path: Path) -> None:
    mask = np.zeros((24, 32), np.uint8)
    mask[:3, :4] = 2  # 32 level-0 pixels a pixel, so 96 x 128 of the first patch
    tifffile.imwrite(tmp_path / "s.tif", mask)
    found = read_annotations(tmp_path / "s.tif", SPACE, mask_labels={"2": "tumour"})
    assert (found.classes, found.mask and found.mask.downsample) == (["tumour"], (32, 32))
    shares = annotated_shares(found, "tumour", GRID)
    assert shares[0] == pytest.approx(0.75)
    assert shares[1:].max() == 0
    shifted = PatchGrid(np.array([[16, 0]], np.int64), (128, 128), (128, 128))  # cuts a pixel of the mask in half
    assert annotated_shares(found, "tumour", shifted)[0] == pytest.approx(0.75 * 112 / 128)


def test_a_mask_of_another_shape_is_of_another_slide(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.ones((32, 32), np.uint8))
    with pytest.raises(TissueError, match="not the shape of the slide"):
        read_annotations(tmp_path / "s.tif", SPACE)


def test_a_small_crossing_is_mended_and_a_figure_of_eight_is_refused(tmp_path: Path) -> None:
    small = [[0, 0], [512, 0], [512, 512], [256, 512], [256, 514], [258, 512], [0, 512], [0, 0]]
    found = read_annotations(_write(tmp_path / "a.geojson", _feature([small])), SPACE)
    assert found.notes == ["1 polygon crossed itself or touched its holes and was corrected"]
    assert annotated_shares(found, "unclassified", GRID).sum() == pytest.approx(16, abs=0.01)
    eight = [[0, 0], [512, 512], [512, 0], [0, 512], [0, 0]]
    with pytest.raises(TissueError, match=r"feature 0 crosses itself .*: draw it again"):
        read_annotations(_write(tmp_path / "b.geojson", _feature([eight])), SPACE)


def test_annotations_of_another_slide_are_refused_and_a_bit_over_the_edge_is_cut(tmp_path: Path) -> None:
    with pytest.raises(TissueError, match=r"lies at x 5000 to 5100.*another slide\?"):
        read_annotations(_write(tmp_path / "a.geojson", _feature([_square(5000, 0, 100)])), SPACE)
    found = read_annotations(_write(tmp_path / "b.geojson", _feature([_square(-10, 0, 100)], label="x")), SPACE)
    assert found.notes == ["x reached over the edge of the slide and was cut there"]


def test_annotations_that_count_from_the_scanned_areas_corner_are_moved_and_others_are_not(tmp_path: Path) -> None:
    moved = PatchGrid(GRID.coords_l0 + np.array([2048, 1024]), GRID.size_l0, GRID.step_l0)
    of_qupath = read_annotations(_write(tmp_path / "a.geojson", _feature([_square(128, 0, 128)], label="x")), SCANNED)
    assert np.flatnonzero(annotated_shares(of_qupath, "x", moved)).tolist() == [1]
    assert of_qupath.notes == [
        "annotations count from the corner of the scanned area (bounds) at (2048, 1024): moved by as much"
    ]
    as_it_is = _write(tmp_path / "b.geojson", _feature([_square(2048 + 128, 1024, 128)], label="x"))
    found = read_annotations(as_it_is, SCANNED)
    assert (np.flatnonzero(annotated_shares(found, "x", moved)).tolist(), found.notes) == ([1], [])


@pytest.mark.parametrize("labels", [(slice(0, 4), slice(4, 8)), (slice(16, 20), slice(32, 36))])
def test_a_mask_is_of_the_slide_or_of_its_scanned_area_by_shape_and_by_what_it_marks(
    tmp_path: Path, labels: tuple[slice, slice]
) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[labels] = 1
    tifffile.imwrite(tmp_path / "s.tif", mask)
    found = read_annotations(tmp_path / "s.tif", SCANNED).mask
    assert found is not None
    whole = labels[0].start == 16  # what it marks there lies in the scanned area, if the mask is of the whole slide
    assert (found.corner_l0, found.downsample) == (((0, 0), (64, 64)) if whole else ((2048, 1024), (16, 16)))
    assert bool(found.notices) is not whole
    wide = SlideSpace((9000, 3072), scanned_l0=(2048, 1024, 1024, 768))
    assert read_annotations(tmp_path / "s.tif", wide).notes[0].startswith("pixels of the mask count from the corner")
    with pytest.raises(TissueError, match="nor of its scanned area, 1024 x 1000"):
        read_annotations(tmp_path / "s.tif", SlideSpace((9000, 3072), scanned_l0=(2048, 1024, 1024, 1000)))


def test_unknown_classes_are_named_and_a_file_without_a_known_one_is_refused(tmp_path: Path) -> None:
    square = _square(0, 0, 9)
    path = _write(tmp_path / "a.geojson", _feature([square], label="x"), _feature([square], label="y"))
    found = read_annotations(path, SPACE, classes=["x"])
    assert (found.classes, found.notes) == (["x"], ["left out: y, not among the classes asked for"])
    with pytest.raises(TissueError, match="has only the classes x, y; asked for are z"):
        read_annotations(path, SPACE, classes=["z"])


def test_numbers_equal_scikit_learn_and_their_formulas_to_1e_12() -> None:
    rng = np.random.default_rng(2)
    values, shares = rng.integers(0, 40, 300) / 40, rng.random(300)
    inside = shares >= 0.5
    found = agreement(values, shares, "attention_softmax", top=0.1)
    assert abs(found.auroc - roc_auc_score(inside, values)) < 1e-12
    assert abs(found.average_precision - average_precision_score(inside, values)) < 1e-12
    mass = values / values.sum()
    assert abs(found.mass_inside - (mass * shares).sum()) < 1e-12
    assert abs(found.enrichment - (mass * shares).sum() / shares.mean()) < 1e-12
    top = np.argsort(-values, kind="stable")[:30]
    assert abs(found.dice - 2 * inside[top].sum() / (30 + inside.sum())) < 1e-12
    assert found.inside + found.outside == found.patches == 300


def test_a_perfect_map_a_reversed_one_and_one_without_a_second_side() -> None:
    drawn = np.arange(10) >= 5
    right, wrong = agreement(np.arange(10.0), drawn, top=0.5), agreement(-np.arange(10.0), drawn, top=0.5)
    assert (right.auroc, right.pointing, right.dice) == (1, 1, 1)
    assert (wrong.auroc, wrong.pointing, wrong.dice) == (0, 0, 0)
    nothing = agreement(np.arange(10.0), np.zeros(10))
    assert np.isnan([nothing.auroc, nothing.pointing, nothing.dice, nothing.enrichment]).all()
    everything = agreement(np.arange(10.0), np.ones(10))
    assert np.isnan(everything.auroc)
    assert everything.enrichment == pytest.approx(1)
