"""Scores for TIAToolbox: an annotation store, SQLite with the schema of its `SQLiteStore`, version 1.0.1.

Patches have the type ``patch`` and every score and percentile as properties. High-score regions, the evidence set and
tissue have types of their own. Coordinates are level-0 pixels of the whole slide, TIAToolbox's baseline. Outlines are
well-known binary (WKB), compressed with zlib, as stated in the store's metadata.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.outlines import (
    DrawnMap,
    Outline,
    Ring,
    evidence_outlines,
    hot_regions,
    polygon_wkb,
    region_outline,
    tissue_outlines,
)
from mil_heatmaps.export.regions import Region
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.points_in_contour import signed_area
from mil_heatmaps.slides.tissue import TissueMask

_SCHEMA = """
CREATE TABLE metadata (key TEXT UNIQUE, value TEXT);
CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y);
CREATE TABLE annotations(
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, cx FLOAT NOT NULL, cy FLOAT NOT NULL, geometry BLOB,
    properties TEXT, area FLOAT NOT NULL
);
"""
_PACKED = 6
_BLOCK_ROWS = 10_000

Row = tuple[list[Ring], dict[str, Any], tuple[float, float, float, float], float]
"""Rings, properties, box (x0, y0, x1, y1), area."""


def write_annotation_store(
    path: str | os.PathLike[str],
    scores: ScoreFile,
    drawn: DrawnMap,
    *,
    tissue: TissueMask | None = None,
    threshold: float = 0.9,
    evidence: Sequence[Region] = (),
    notices: Sequence[Notice] = (),
    faithfulness: Mapping[str, Any] | None = None,
) -> int:
    """Write the store and return how many annotations it holds; parameters are those of `geojson.write_geojson`."""
    hot = hot_regions(scores, drawn, threshold)
    outlines = chain(
        tissue_outlines(tissue),
        evidence_outlines(evidence, scores),
        (region_outline(region, number, scores, drawn) for number, region in enumerate(hot, start=1)),
    )
    told = {
        "version": "1.0.1", "compression": "zlib", "compression_level": _PACKED,
        "slide_id": scores.slide_id, "slide_size_l0": scores.slide_size_l0, "level0_mpp": scores.level0_mpp,
        "drawn": drawn.name, "notices": [notice.plain() for notice in notices],
        "faithfulness": faithfulness and dict(faithfulness),
    }  # fmt: skip
    count = 0
    with atomic_path(path) as partial, closing(sqlite3.connect(partial)) as store:
        # The file is moved into place when it is complete, so a journal would only be a second file.
        store.execute("PRAGMA journal_mode = OFF")
        store.executescript(_SCHEMA)
        pairs = [(key, json.dumps(value, ensure_ascii=False)) for key, value in told.items() if value is not None]
        store.executemany("INSERT INTO metadata VALUES (?, ?)", pairs)
        for rings, properties, (x0, y0, x1, y1), area in chain(map(_of_outline, outlines), _patches(scores, drawn)):
            count += 1
            key = uuid.uuid5(uuid.NAMESPACE_OID, f"mil-heatmaps {scores.slide_id} {drawn.name} {count}")
            text = json.dumps(properties, separators=(",", ":"), ensure_ascii=False)
            centre, packed = _centre(rings[0]), zlib.compress(polygon_wkb(rings), _PACKED)
            store.execute(
                "INSERT INTO annotations VALUES (?, ?, 'Polygon', ?, ?, ?, ?, ?)",
                (count, str(key), *centre, packed, text, area),
            )
            store.execute("INSERT INTO rtree VALUES (?, ?, ?, ?, ?)", (count, x0, x1, y0, y1))
        store.commit()
    return count


def _of_outline(outline: Outline) -> Row:
    points = np.asarray(outline.rings_l0[0], np.float64)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    outer, *holes = (abs(signed_area(np.asarray(ring, np.float64))) for ring in outline.rings_l0)
    area = outer - sum(holes)
    name = {"name": outline.name} if outline.name else {}
    properties = {"type": outline.kind, **name, "color": outline.colour, **(outline.measurements or {})}
    return outline.rings_l0, properties, (x0, y0, x1, y1), area


def _patches(scores: ScoreFile, drawn: DrawnMap) -> Iterator[Row]:
    """Yield each drawn patch; numbers that are not finite are left out."""
    numbers: dict[str, npt.NDArray[Any]] = {**score_columns(scores), **percentile_columns(scores)}
    width, height = scores.grid.size_l0
    drawn_rows = np.flatnonzero(np.isfinite(drawn.shades))
    for start in range(0, len(drawn_rows), _BLOCK_ROWS):
        rows = drawn_rows[start : start + _BLOCK_ROWS]
        columns = {name: values[rows].astype(np.float64).tolist() for name, values in numbers.items()}
        for nth, (x, y) in enumerate(scores.grid.coords_l0[rows].tolist()):
            x1, y1 = x + width, y + height
            ring = [[x, y], [x1, y], [x1, y1], [x, y1], [x, y]]
            told = {name: column[nth] for name, column in columns.items() if np.isfinite(column[nth])}
            yield [ring], {"type": "patch", **told}, (x, y, x1, y1), float(width * height)


def _centre(ring: Ring) -> tuple[float, float]:
    """Return the centroid of a closed ring, ignoring holes; the middle of its box if it has no area."""
    points = np.asarray(ring, np.float64)
    x, y = points.T
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]
    if not (total := float(cross.sum())):
        return float(x.min() + x.max()) / 2, float(y.min() + y.max()) / 2
    return float(((x[:-1] + x[1:]) * cross).sum() / (3 * total)), float(((y[:-1] + y[1:]) * cross).sum() / (3 * total))
