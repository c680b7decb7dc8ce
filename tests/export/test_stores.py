"""TIAToolbox's annotation store and wsidata's: by their schema, and by the libraries where these are installed."""

from __future__ import annotations

import json
import sqlite3
import sys
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.wkb

from mil_heatmaps.errors import MissingDependencyError
from mil_heatmaps.export.annotation_store import write_annotation_store
from mil_heatmaps.export.outlines import DrawnMap
from mil_heatmaps.export.wsidata_zarr import write_wsidata
from mil_heatmaps.slides.tissue import TissueMask
from tests.helpers import scores
from tests.helpers.places import SHARED

PIECE = np.array([[0, 0], [900, 0], [900, 900], [0, 900]], np.int32).reshape(-1, 1, 2)
HOLE = np.array([[100, 100], [200, 100], [200, 200], [100, 200]], np.int32).reshape(-1, 1, 2)


FILE = scores.example()
LUAD = FILE.scores.values[:, 0].astype(np.float64)


def _store(path: Path) -> int:
    """Nineteen patches, the one that is highest as a region, and a piece of tissue with a hole."""
    shades = (LUAD - LUAD.min()) / (LUAD.max() - LUAD.min())
    shades[2] = np.nan
    drawn = DrawnMap("LUAD", LUAD, shades, np.zeros((256, 3), np.uint8))
    return write_annotation_store(path, FILE, drawn, tissue=TissueMask((PIECE,), ((HOLE,),)), threshold=1.0)


def test_the_store_has_tiatoolboxs_schema_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    assert _store(tmp_path / "s.db") == 21
    with closing(sqlite3.connect(tmp_path / "s.db")) as store:
        metadata = {key: json.loads(value) for key, value in store.execute("SELECT key, value FROM metadata")}
        assert (metadata["version"], metadata["compression"]) == ("1.0.1", "zlib")
        columns = "objtype, cx, cy, geometry, properties, area"
        rows = store.execute(f"SELECT {columns} FROM annotations ORDER BY id").fetchall()
        assert store.execute("SELECT COUNT(*) FROM rtree WHERE min_x < 10 AND min_y < 10").fetchone() == (2,)
    kinds = [json.loads(row[4])["type"] for row in rows]
    assert (kinds[0], kinds.count("High-score region"), kinds.count("patch")) == ("Tissue", 1, 19)
    for kind, x, y, packed, _, area in rows:
        shape = shapely.wkb.loads(zlib.decompress(packed))
        assert (kind, shape.is_valid, shape.area) == ("Polygon", True, area)
        outline = shapely.Polygon(shape.exterior).centroid
        assert (x, y) == pytest.approx((outline.x, outline.y))
    first = json.loads(rows[kinds.index("patch")][4])
    assert first["contribution LUAD"] == LUAD[0]
    _store(tmp_path / "again.db")
    assert (tmp_path / "again.db").read_bytes() == (tmp_path / "s.db").read_bytes()


def test_tiatoolbox_reads_the_store(tmp_path: Path) -> None:
    storage = pytest.importorskip("tiatoolbox.annotation.storage", reason="tiatoolbox is not installed")
    if not hasattr(sqlite3.Connection, "enable_load_extension"):  # by which the library asks SQLite what it can do
        storage.SQLiteStore.compile_options = staticmethod(lambda: ["ENABLE_RTREE", "ENABLE_MATH_FUNCTIONS"])
    _store(tmp_path / "s.db")
    store = storage.SQLiteStore(tmp_path / "s.db")
    assert len(store) == 21
    assert len(store.query((0, 0, 2000, 2000), where="props['type']=='patch'")) == 19
    above = store.query(where="props['contribution LUAD'] > 0.5")
    assert len(above) == (np.delete(LUAD, 2) > 0.5).sum()
    tissue = next(iter(store.query(where="props['type']=='Tissue'").values()))
    assert tissue.geometry.equals(shapely.box(0, 0, 900, 900) - shapely.box(100, 100, 200, 200))
    store.close()


def test_a_store_for_wsidata_is_refused_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"export_arguments\.wsidata needs .*: pip install pyarrow"):
        write_wsidata(tmp_path / "s.zarr", scores.example())
    assert not list(tmp_path.iterdir())


def test_the_tiles_are_a_geoparquet_in_groups_of_zarr_and_wsidata_opens_them(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    file = scores.example(slide_size_l0=(2220, 2967))
    write_wsidata(tmp_path / "s.zarr", file)
    write_wsidata(tmp_path / "s.zarr", file)
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]
    root = json.loads((tmp_path / "s.zarr" / "zarr.json").read_text(encoding="utf-8"))
    assert root["attributes"]["slide_properties"] == {"shape": [2967, 2220], "mpp": 0.2527}
    table = parquet.read_table(tmp_path / "s.zarr" / "shapes" / "tiles" / "shapes.parquet")
    np.testing.assert_array_equal(table["contribution LUAD"], file.scores.values[:, 0])
    boxes = shapely.from_wkb(table["geometry"].to_pylist())
    np.testing.assert_array_equal(shapely.bounds(boxes)[:, :2], file.grid.coords_l0)
    wsidata = pytest.importorskip("wsidata", reason="wsidata is not installed")
    slide = SHARED / "data" / "slides" / "CMU-1-Small-Region.svs"
    if not slide.is_file():
        pytest.skip("the real slides are not here")
    opened = wsidata.open_wsi(slide, store=tmp_path / "s.zarr")
    np.testing.assert_array_equal(opened.shapes["tiles"]["weights"], file.extra[0].values[:, 0])
    assert (opened.tile_spec("tiles").width, opened.tile_spec("tiles").stride_width) == (256, 192)
