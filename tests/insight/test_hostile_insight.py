"""Annotations, masks and tables of strangers: every one ends with a reason, soon, and within the memory there is."""

from __future__ import annotations

import gzip
import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from mil_heatmaps.errors import ScoreError, TissueError
from mil_heatmaps.insight import label_masks
from mil_heatmaps.insight.annotations import read_annotations
from mil_heatmaps.insight.label_masks import label_shares, read_label_mask
from mil_heatmaps.insight.spots import read_spots
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.slide_space import SlideSpace
from tests.helpers.features import grid_coords

COORDINATE = '<Coordinate Order="0" X="{}" Y="1"/>'
XML = (
    "<ASAP_Annotations><Annotations><Annotation Type='Polygon'><Coordinates>{}</Coordinates></Annotation></Annotations>"
    "</ASAP_Annotations>"
)
POINT = '[{"geometry": {"type": "Point", "coordinates": [X, 0]}}]'
ENTITIES = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


def _geometry(coordinates: str, kind: str = "Polygon") -> bytes:
    return f'{{"type": "{kind}", "coordinates": {coordinates}}}'.encode()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.geojson", _geometry(f"[[[{'1' * 400}, 0], [1, 0], [1, 1]]]"), "not a number, or beyond"),
        ("a.geojson", _geometry(f"[[[{'1' * 5000}, 0], [1, 0], [1, 1]]]"), "not a number, or beyond"),
        ("a.geojson", _geometry("[[[1e300, 0], [1, 0], [1, 1]]]"), "not a number, or beyond"),
        ("a.geojson", _geometry("[[[[0, 0], [1, 0]], [[1, 1], [2, 2]], [[0, 0], [1, 0]]]]"), "not a list of x, y"),
        ("a.geojson", _geometry("[[[1], [2], [3]]]"), "not a list of x, y"),
        ("a.geojson", _geometry("5"), "'coordinates'|not a list of x, y"),
        ("a.geojson", _geometry("[5]", "MultiPolygon"), "not a list of x, y"),
        ("a.geojson", b'{"type": "GeometryCollection", "geometries": 7}', "must be a list"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": {"a": 1}}', "must be a list"),
        ("a.geojson.gz", gzip.compress(b" " * (1 << 26)), "text never compresses that far"),
        ("a.geojson.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 30, "cannot read"),
        ("a.xml", XML.format(COORDINATE.format("1e999")).encode(), "not a number, or beyond"),
        ("a.xml", XML.format(COORDINATE.format("abc")).encode(), "a coordinate without X and Y"),
        ("a.xml", ENTITIES.encode("utf-16"), "declares a document type"),
        ("a.xml", ENTITIES.replace("utf-16", "utf-8").encode(), "declares a document type"),
        ("a.xml", b"\x81\xff", "not XML in UTF-8"),
    ],
)
def test_annotations_that_are_none_are_told(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TissueError, match=why):
        read_annotations(tmp_path / name)


def test_outlines_that_would_take_hours_to_correct_or_join_are_refused_at_once(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a.geojson"
    began = time.process_time()
    path.write_bytes(_geometry(json.dumps([rng.integers(0, 999, (3000, 2)).tolist()])))
    with pytest.raises(TissueError, match="crosses itself more than 1,000 times"):
        read_annotations(path)
    combs = []  # each sound in itself: 700 teeth one way, and 700 the other
    for turned in (False, True):
        teeth = [corner for k in range(700) for corner in ((k, 0), (k + 0.2, 700), (k + 0.4, 0))]
        combs.append([[(y, x) if turned else (x, y) for x, y in [*teeth, (700, -1), (0, -1)]]])
    path.write_bytes(_geometry(json.dumps(combs), "MultiPolygon"))
    with pytest.raises(TissueError, match="cross one another more than 200,000 times"):
        read_annotations(path)
    assert time.process_time() - began < 60  # to correct the first would take hours
    ends = range(0, 450, 9)
    tiles = [[[[x, y], [x + 9, y], [x + 9, y + 9], [x, y + 9], [x, y]]] for x in ends for y in ends]
    path.write_bytes(_geometry(json.dumps(tiles), "MultiPolygon"))
    assert read_annotations(path).polygons["unclassified"].area == 450 * 450


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _tiff(**options: Any) -> bytearray:
    held = io.BytesIO()
    tifffile.imwrite(held, np.zeros((128, 128, 3), np.uint8), tile=(64, 64), photometric="rgb", **options)
    return bytearray(held.getvalue())


def _false_jpeg() -> bytes:
    data = _tiff(compression="jpeg")
    struct.pack_into(">HH", data, data.rfind(b"\xff\xc0") + 5, 30_000, 30_000)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("m.png", _png(65_535, 65_535, b"\0" * 99), "cannot read|save the mask smaller"),
        ("m.png", _png(16_000, 16_000, b"\0" * 99), "(256000000 pixels.*|16000 x 16000 pixels): save the mask smaller"),
        ("m.png", _png(64, 64, b"\0" * 99), "cannot read"),
        ("m.tif", _false_jpeg(), "claims 30000 x 30000 pixels"),
        ("m.tif", bytes(_tiff())[:200], "cannot read"),
        ("m.tif", b"II*\0\x08\0\0\0", "cannot read"),
    ],
)
def test_masks_that_are_none_are_told(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TissueError, match=why):
        read_label_mask(tmp_path / name, SlideSpace((1024, 1024)))


def test_shares_are_those_of_sums_over_every_pixel() -> None:
    rng = np.random.default_rng(3)
    mask, scale = rng.integers(0, 3, (36, 35)).astype(np.uint8), (11.3, 10.7)
    grid = PatchGrid(np.concatenate([grid_coords(3, 3, 128), [[3, 5], [270, 255]]]), (128, 128), (128, 128))
    shares = label_shares(mask, scale, grid, (1, 2))
    fine = np.kron(mask > 0, np.ones((107, 113)))  # a tenth of a level-0 pixel each way
    for (x, y), share in zip(grid.coords_l0, shares, strict=True):
        assert share == pytest.approx(fine[10 * y : 10 * (y + 128), 10 * x : 10 * (x + 128)].sum() / 1280**2, abs=1e-9)
    assert label_masks._sums_up_to(mask, (1, 2), np.arange(37), np.arange(36))[-1, -1] == (mask > 0).sum()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("s.csv", "x,y,cell_type\n" + "".join(f"{k},{k},c{k}\n" for k in range(1200)), "1,200 cell types, such as c0"),
        ("s.csv", f"x,y,g\n{'1' * 400},2,3\n", "x and y must be numbers"),
        ("s.geojson", POINT.replace("X", "1" * 400), "no point has a position"),
        ("s.geojson", "[" * 100_000, "is not JSON that can be read"),
        ("s.geojson", "5", "not a GeoJSON of cells"),
    ],
)
def test_spots_that_are_none_are_told(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ScoreError, match=why):
        read_spots(tmp_path / name)


def _sparse(shape: tuple[int, int], indices: list[int], ends: list[int]) -> Callable[[h5py.File], None]:
    def fill(file: h5py.File) -> None:
        held = file.create_group("X")
        held.attrs["encoding-type"], held.attrs["shape"] = "csr_matrix", shape
        held["data"], held["indices"], held["indptr"] = np.ones(len(indices), "f4"), indices, ends

    return fill


@pytest.mark.parametrize(
    ("fill", "why"),
    [
        (_sparse((3, 2), [10**8, 1], [0, 1, 2, 2]), "not an h5ad as anndata writes it"),
        (_sparse((3, 2), [-(10**8), 1], [0, 1, 2, 2]), "not an h5ad as anndata writes it"),
        (_sparse((3, 2), [0, 1], [0, 10**9, 2, 2]), "not an h5ad as anndata writes it"),
        (_sparse((10**6, 10**6), [0], [0, 1]), "1,000,000 points and 1,000,000 columns"),
        (lambda file: file.create_dataset("X", (10**6, 10**5), "f4", chunks=(999, 999)), "measurements never compress"),
        (lambda file: file.create_dataset("X", (3, 2), "f4", external=[("/etc/passwd", 0, 24)]), "another file"),
        (lambda file: file.__setitem__("X", np.ones((4, 2))), r"numbers of shape \(4, 2\)"),
    ],
)
def test_an_h5ad_that_is_none_is_told(tmp_path: Path, fill: Callable[[h5py.File], None], why: str) -> None:
    with h5py.File(tmp_path / "s.h5ad", "w") as file:
        file["obsm/spatial"] = np.zeros((3, 2))
        file.create_group("var").attrs["_index"] = "i"
        file["var/i"] = np.array(["a", "b"], h5py.string_dtype())
        fill(file)
    with pytest.raises(ScoreError, match=why):
        read_spots(tmp_path / "s.h5ad")


def test_a_parquet_of_one_value_a_billion_times_is_not_unfolded(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    from pyarrow import parquet

    zeros = arrow.array(np.zeros(10_000_000, np.int8))
    parquet.write_table(arrow.table([zeros] * 40, names=["x", "y", *map(str, range(38))]), tmp_path / "s.parquet")
    with pytest.raises(ScoreError, match="10,000,000 rows and 40 columns"):
        read_spots(tmp_path / "s.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "s.parquet").read_bytes()[:99])
    with pytest.raises(ScoreError, match="cannot read"):
        read_spots(tmp_path / "t.parquet")
