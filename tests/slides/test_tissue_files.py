"""Masks come in from CLAM, TRIDENT and QuPath, go out to them, and say where they are wrong."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import read_mask, write_geojson, write_mask_pkl

OUTER = [[0, 0], [100, 0], [100, 80], [0, 80], [0, 0]]
INNER = [[10, 10], [30, 10], [30, 30], [10, 10]]
POLYGON = {"type": "Polygon", "coordinates": [OUTER, INNER]}


def contour(*points: tuple[int, int]) -> npt.NDArray[np.int32]:
    return np.array(points, np.int32).reshape(-1, 1, 2)


MASK = TissueMask(
    (contour((5, 5), (50, 5), (50, 40)), contour((200, 200), (260, 200), (260, 290), (200, 290))),
    ((), (contour((210, 210), (220, 210), (220, 220)), contour((230, 240), (240, 240), (240, 250)))),
)


def assert_same(one: TissueMask, other: TissueMask) -> None:
    assert len(one) == len(other)
    for a, b in zip(one.contours_l0, other.contours_l0, strict=True):
        np.testing.assert_array_equal(a, b)
    for holes, others in zip(one.holes_l0, other.holes_l0, strict=True):
        assert len(holes) == len(others)
        for a, b in zip(holes, others, strict=True):
            np.testing.assert_array_equal(a, b)


def read_json(tmp_path: Path, content: Any, name: str = "x.geojson") -> TissueMask:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_mask(tmp_path / name)


@pytest.mark.parametrize("name", ["x.pkl", "x.geojson", "x.geojson.gz", "x.json", "X.GeoJSON"])
@pytest.mark.parametrize("mask", [MASK, TissueMask()])
def test_a_mask_survives_writing_and_reading(tmp_path: Path, name: str, mask: TissueMask) -> None:
    write = write_mask_pkl if name.endswith(".pkl") else write_geojson
    write(mask, tmp_path / "made" / name)
    first = (tmp_path / "made" / name).read_bytes()
    assert_same(read_mask(tmp_path / "made" / name), mask)
    write(mask, tmp_path / "made" / name)
    assert (tmp_path / "made" / name).read_bytes() == first


def test_the_pickle_is_clams(tmp_path: Path) -> None:
    write_mask_pkl(MASK, tmp_path / "S_mask.pkl")
    content = pickle.loads((tmp_path / "S_mask.pkl").read_bytes())
    assert list(content) == ["holes", "tissue"]
    assert [type(part) for part in (content["holes"], content["tissue"], content["holes"][0])] == [list] * 3
    assert [(piece.dtype, piece.shape) for piece in content["tissue"]] == [
        (np.int32, (3, 1, 2)),
        (np.int32, (4, 1, 2)),
    ]


def test_clams_own_pickle_is_read(golden: Path) -> None:
    mask = read_mask(golden / "clam/seg/B_fine_l1_mask.pkl")
    saved = np.load(golden / "clam/seg/B_fine_l1.npz")
    assert [len(holes) for holes in mask.holes_l0] == saved["n_holes"].tolist()
    np.testing.assert_array_equal(mask.contours_l0[2], saved["tissue_2"])
    np.testing.assert_array_equal(mask.holes_l0[2][1], saved["hole_2_1"])


def test_tridents_contours_are_read(golden: Path) -> None:
    found = {
        str(path.relative_to(golden / "trident")): read_mask(path)
        for path in (golden / "trident").rglob("*.geojson")
    }
    assert len(found) >= 7
    for name, mask in found.items():
        content = json.loads((golden / "trident" / name).read_text())
        rings = [ring for feature in content["features"] for ring in feature["geometry"]["coordinates"]]
        assert len(mask) == len(content["features"]), name
        assert mask.is_empty is ("blank" in name), name
        assert len(mask) + mask.n_holes == len(rings), name
        assert sum(map(len, mask.contours_l0)) + sum(len(h) for of in mask.holes_l0 for h in of) == sum(
            len(ring) - 1 for ring in rings
        ), name
    assert found["variants/remove_holes/contours_geojson/synth_40x.geojson"].n_holes == 1


@pytest.mark.parametrize(
    ("content", "pieces", "holes"),
    [
        (POLYGON, 1, 1),
        ({"type": "Feature", "geometry": POLYGON, "properties": None}, 1, 1),
        ([{"type": "Feature", "geometry": POLYGON}] * 2, 2, 2),
        ({"type": "FeatureCollection", "features": []}, 0, 0),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]}, 0, 0),
        ({"type": "MultiPolygon", "coordinates": [[OUTER, INNER], [OUTER], []]}, 2, 1),
        (
            {"type": "GeometryCollection", "geometries": [POLYGON, {"type": "Point", "coordinates": [1, 2]}]},
            1,
            1,
        ),
        ({"type": "Feature", "geometry": {"type": "LineString", "coordinates": OUTER}}, 0, 0),
        ({"type": "Polygon", "coordinates": []}, 0, 0),
    ],
)
def test_every_form_of_polygon_is_found(tmp_path: Path, content: Any, pieces: int, holes: int) -> None:
    mask = read_json(tmp_path, content)
    assert (len(mask), mask.n_holes) == (pieces, holes)
    if pieces:
        np.testing.assert_array_equal(mask.contours_l0[0].reshape(-1, 2), OUTER[:-1])


def test_what_qupath_classifies_as_ignored_does_not_count(tmp_path: Path) -> None:
    features = [
        {"type": "Feature", "geometry": POLYGON, "properties": {"classification": classification}}
        for classification in ({"name": "Ignore*"}, "ignore", {"name": "Tumor"}, None, {"names": ["Stroma"]})
    ]
    assert len(read_json(tmp_path, {"type": "FeatureCollection", "features": features})) == 3


def test_heights_fractions_and_open_rings_are_taken_in_stride(tmp_path: Path) -> None:
    ring = [[0.4, 0.6, 9], [10.5, 0, 9], [11.5, 20.2, 9]]
    mask = read_json(tmp_path, {"type": "Polygon", "coordinates": [ring]})
    assert mask.contours_l0[0].reshape(-1, 2).tolist() == [[0, 1], [10, 0], [12, 20]]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"type": "Polygon",\n "coordinates" [', r"x\.geojson is not JSON: .* at line 2, column 16"),
        ("", "is not JSON: .* at line 1"),
        ("7", r"not GeoJSON: expected an object with a known 'type', got 7"),
        ({"type": "Cube"}, "got {'type': 'Cube'}"),
        ({"type": "FeatureCollection"}, "FeatureCollection needs a list 'features', got None"),
        (
            [{"type": "Feature", "geometry": POLYGON}, {"type": "Polygon"}],
            r"feature 1: a Polygon needs a list",
        ),
        (
            {"type": "MultiPolygon", "coordinates": [[OUTER], [[[0, 0], [1, 1]]]]},
            "polygon 1, ring 0 has 2 positions, needs at least 3",
        ),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, "a"], [2, 2]]]}, "ring 0 is not a list of x, y"),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1, NotImplemented], [2, 2]]]},
            "not a number, or beyond",
        ),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1e10], [2, 2]]]}, "not a number, or beyond"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1], [2, 2]]]}, "ring 0 is not a list of x, y"),
        ({"type": "Polygon", "coordinates": [7]}, "ring 0 "),
    ],
)
def test_bad_geojson_is_refused_with_the_place(tmp_path: Path, content: Any, match: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content, default=lambda _: float("nan"))
    with pytest.raises(TissueError, match=match):
        read_json(tmp_path, text)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TissueError, match=r"tissue file not found: .*none\.geojson"):
        read_mask(tmp_path / "none.geojson")
    (tmp_path / "mask.png").write_bytes(b"x")
    with pytest.raises(TissueError, match=r"mask\.png is not a tissue file: expected \.geojson"):
        read_mask(tmp_path / "mask.png")
    (tmp_path / "x.geojson.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(TissueError, match=r"cannot read .*x\.geojson\.gz"):
        read_mask(tmp_path / "x.geojson.gz")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "is not CLAM's mask: expected a dict with 'tissue' and 'holes'"),
        ({"tissue": [], "holes": [[]]}, "0 pieces of tissue but holes for 1"),
        ({"tissue": [np.zeros((2, 3))], "holes": [[]]}, "piece 0 is not a list of x, y"),
        ({"tissue": [], "holes": 3}, "'tissue' must be a list, 'holes' a list of lists"),
        ({"tissue": [3], "holes": [3]}, "'tissue' must be a list, 'holes' a list of lists"),
        ({"tissue": [np.zeros(3)], "holes": [[]]}, "piece 0 is not a list of x, y"),
        (
            {"tissue": [np.full((3, 1, 2), np.nan)], "holes": [[]]},
            "piece 0 has a position that is not a number",
        ),
        (
            {"tissue": [np.zeros((3, 1, 2))], "holes": [[np.zeros((0, 1, 2))]]},
            "hole 0 of piece 0 has 0 positions",
        ),
    ],
)
def test_a_pickle_that_is_no_mask_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    (tmp_path / "mask.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(TissueError, match=match):
        read_mask(tmp_path / "mask.pkl")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.pkl").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    with pytest.raises(TissueError, match=r"asks for os\.system"):
        read_mask(tmp_path / "mask.pkl")
    assert not (tmp_path / "ran").exists()


def test_whole_numbers_of_any_type_become_int32(tmp_path: Path) -> None:
    points = [[0, 0], [10, 0], [10, 10]]
    for value in (np.array(points, np.int64), np.array(points, np.float32)[:, None], points):
        (tmp_path / "mask.pkl").write_bytes(pickle.dumps({"tissue": [value], "holes": [[]]}))
        mask = read_mask(tmp_path / "mask.pkl")
        assert mask.contours_l0[0].dtype == np.int32
        assert mask.contours_l0[0].shape == (3, 1, 2)


def test_the_geojson_is_valid_and_whole_numbered(tmp_path: Path) -> None:
    write_geojson(
        TissueMask((contour((1, 2)), *MASK.contours_l0), ((), *MASK.holes_l0)), tmp_path / "x.geojson"
    )
    content = json.loads((tmp_path / "x.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert [feature["properties"]["tissue_id"] for feature in content["features"]] == [0, 1, 2]
    assert all(feature["properties"]["objectType"] == "annotation" for feature in content["features"])
    rings = [ring for feature in content["features"] for ring in feature["geometry"]["coordinates"]]
    assert len(rings) == 5
    for ring in rings:
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(type(number) is int for position in ring for number in position)
