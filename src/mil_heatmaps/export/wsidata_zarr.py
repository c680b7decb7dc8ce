"""Scores for LazySlide and wsidata: a SpatialData store with a table of tiles, ``wsidata.open_wsi(slide, store=...)``.

The table has one row per tile: outline (WKB), corner, every score and percentile. The store consists of Zarr 3 groups,
which are JSON, and a GeoParquet file. It holds the slide's shape, so that wsidata can detect a store of another slide.
Coordinates are level-0 pixels, as in wsidata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mil_heatmaps.export.outlines import polygon_wkb
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import atomic_folder
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.version import __version__
from mil_heatmaps.words import lacking

_KEY = "tiles"


def write_wsidata(
    path: str | os.PathLike[str],
    scores: ScoreFile,
    *,
    slide_size_l0: tuple[int, int] | None = None,
    mpp: float | None = None,
    notices: Sequence[Notice] = (),
) -> None:
    """Write the store; raise MissingDependencyError without pyarrow, which writes the table."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise lacking("export_arguments.wsidata", "pyarrow", "pip install pyarrow", error) from error

    size_l0, mpp = slide_size_l0 or scores.slide_size_l0, mpp or scores.level0_mpp
    grid, corners = scores.grid, scores.grid.coords_l0
    width, height = grid.size_l0
    boxes = [
        polygon_wkb([[[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]])
        for x, y in corners.tolist()
    ]
    columns: dict[str, Any] = {
        "tile_id": np.arange(len(grid)), "x": corners[:, 0], "y": corners[:, 1],
        "tissue_id": np.zeros(len(grid), np.int64), **score_columns(scores), **percentile_columns(scores),
    }  # fmt: skip
    table = pyarrow.table({**columns, "geometry": pyarrow.array(boxes, pyarrow.binary())})
    table = table.replace_schema_metadata({"geo": json.dumps(_geo(scores))})
    with atomic_folder(path) as partial:
        _group(partial, _root(scores, size_l0, mpp, notices))
        _group(partial / "shapes", {})
        _group(partial / "shapes" / _KEY, _SHAPES)
        pyarrow.parquet.write_table(table, partial / "shapes" / _KEY / "shapes.parquet")


def _group(folder: Path, attributes: dict[str, Any]) -> None:
    """Make a Zarr 3 group."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    (folder / "zarr.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")


def _root(
    scores: ScoreFile, size_l0: tuple[int, int] | None, mpp: float | None, notices: Sequence[Notice]
) -> dict[str, Any]:
    (width, height), (across, down) = scores.grid.size_l0, scores.grid.step_l0
    properties: dict[str, Any] = {} if size_l0 is None else {"shape": [size_l0[1], size_l0[0]]}
    properties |= {} if mpp is None else {"mpp": mpp}
    spec = {
        "height": height, "width": width, "stride_height": down, "stride_width": across, "mpp": mpp, "ops_level": 0,
        "ops_downsample": 1.0, "base_level": 0, "base_downsample": 1.0, "tissue_name": None,
    }  # fmt: skip
    prediction = scores.prediction
    return {
        "spatialdata_attrs": {"version": "0.2", "spatialdata_software_version": f"mil-heatmaps {__version__}"},
        "slide_properties": properties,
        "tile_spec": {_KEY: spec},
        "mil_heatmaps": {
            "slide_id": scores.slide_id,
            "kinds": {name: one.kind for name, one in scores.all_scores.items()},
            "prediction": None if prediction is None else prediction.summary,
            "notices": [notice.plain() for notice in notices],
        },
    }


def _geo(scores: ScoreFile) -> dict[str, Any]:
    """Return the GeoParquet metadata."""
    corners = scores.grid.coords_l0
    low, high = (corners.min(axis=0), corners.max(axis=0)) if len(corners) else (np.zeros(2), np.zeros(2))
    box = [*low.astype(float).tolist(), *(high + np.asarray(scores.grid.size_l0)).astype(float).tolist()]
    column = {"encoding": "WKB", "crs": None, "geometry_types": ["Polygon"], "bbox": box}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _axes(name: str) -> dict[str, Any]:
    return {"name": name, "axes": [{"name": axis, "type": "space", "unit": "unit"} for axis in "xy"]}


_SHAPES = {
    "encoding-type": "ngff:shapes",
    "axes": ["x", "y"],
    "coordinateTransformations": [{"type": "identity", "input": _axes("xy"), "output": _axes("global")}],
    "spatialdata_attrs": {"version": "0.3"},
}
