"""Scores for QuPath: patches as detections, high-attention regions and tissue as annotations, in one GeoJSON file.

Coordinates are level-0 pixels, as QuPath counts them on the same slide. Features are written one after the
other, so memory does not follow their number.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.regions import Region, merge_patches
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.slides.tissue_files import closed_ring
from mil_heatmaps.visualization.palette import colour_index

_BLOCK_ROWS = 10_000
_TISSUE_COLOUR = [0, 160, 0]
_REGION_COLOUR = [200, 0, 0]
_EVIDENCE_COLOUR = [0, 0, 0]


@dataclass(frozen=True)
class DrawnMap:
    """One column of the scores as it is drawn.

    Attributes
    ----------
    name : str
        What is drawn, such as ``attention LSCC``.
    scores : (N,) float
        As the model gave them.
    shades : (N,) float64
        The same on the colour scale, 0 to 1; NaN where nothing is drawn.
    table : (n, 3) uint8
        The colours of the scale.
    """

    name: str
    scores: npt.NDArray[Any]
    shades: npt.NDArray[np.float64]
    table: npt.NDArray[np.uint8]


def write_geojson(
    path: str | os.PathLike[str],
    score_file: ScoreFile,
    drawn: DrawnMap,
    *,
    detections: bool = True,
    regions: bool = True,
    tissue: TissueMask | None = None,
    threshold: float = 0.9,
    notices: Iterable[Notice] = (),
    faithfulness: Mapping[str, Any] | None = None,
    evidence: Sequence[Region] = (),
) -> int:
    """Write the file, packed when `path` ends in .gz, and return how many features it holds.

    Parameters
    ----------
    detections : bool
        Every patch as a rectangle in its colour, with all scores and the percentiles as measurements. Patches
        that are not drawn (no finite score) are left out.
    regions : bool
        Patches at or above `threshold` on the colour scale, merged where they touch along an edge; with their
        number, mean and maximum score, and area in px² and, where the slide's resolution is known, µm².
    tissue : TissueMask, optional
        Written as annotations with their holes.
    notices : Notice
        What is to know of the slide; a member ``notices`` of the collection, which readers of GeoJSON pass over.
    faithfulness : mapping, optional
        How far the map can be believed: a member ``faithfulness`` of the collection.
    evidence : sequence of Region
        The patches that alone are sufficient for the model, as annotations with their number and area.
    """
    said = [notice.plain() for notice in notices]
    count = 0
    with binary_writer(path) as file:
        members = {"notices": said, "faithfulness": faithfulness and dict(faithfulness)}
        own = "".join(f'"{name}":{json.dumps(value, ensure_ascii=False)},' for name, value in members.items() if value)
        file.write(f'{{"type":"FeatureCollection",{own}"features":['.encode())
        sets = (_evidence(part, score_file) for part in evidence)
        for text in chain(sets, _features(score_file, drawn, detections, regions, tissue, threshold)):
            file.write(f"{',' if count else ''}\n{text}".encode())
            count += 1
        file.write(b"\n]}\n")
    return count


def _features(
    score_file: ScoreFile,
    drawn: DrawnMap,
    detections: bool,
    regions: bool,
    tissue: TissueMask | None,
    threshold: float,
) -> Iterator[str]:
    if tissue is not None:
        yield from _tissue(tissue)
    if regions:
        with np.errstate(invalid="ignore"):
            hot = drawn.shades >= threshold
        for number, region in enumerate(merge_patches(score_file.grid, hot), start=1):
            yield _region(region, number, score_file, drawn)
    if detections:
        yield from _detections(score_file, drawn)


def _detections(score_file: ScoreFile, drawn: DrawnMap) -> Iterator[str]:
    """Yield each patch. Put together as text: a JSON encoder would take most of the time of a large slide."""
    measures: dict[str, npt.NDArray[Any]] = {**score_columns(score_file), **percentile_columns(score_file)}
    keys = [json.dumps(name, ensure_ascii=False) for name in measures]
    width, height = score_file.grid.size_l0
    rows_drawn = np.flatnonzero(np.isfinite(drawn.shades))
    for start in range(0, len(rows_drawn), _BLOCK_ROWS):
        rows = rows_drawn[start : start + _BLOCK_ROWS]
        columns: list[list[str]] = [_number_texts(values[rows]) for values in measures.values()]
        colours: list[list[int]] = drawn.table[colour_index(drawn.shades[rows], len(drawn.table))].tolist()
        coords_l0: list[list[int]] = score_file.grid.coords_l0[rows].tolist()
        numbers_of = zip(*columns, strict=True)
        for (x, y), (red, green, blue), numbers in zip(coords_l0, colours, numbers_of, strict=True):
            right, bottom = x + width, y + height
            listed = ",".join(f"{key}:{text}" for key, text in zip(keys, numbers, strict=True) if text)
            yield (
                '{"type":"Feature","geometry":{"type":"Polygon","coordinates":'
                f"[[[{x},{y}],[{right},{y}],[{right},{bottom}],[{x},{bottom}],[{x},{y}]]]}},"
                f'"properties":{{"objectType":"detection","color":[{red},{green},{blue}],'
                f'"measurements":{{{listed}}}}}}}'
            )


def _number_texts(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as JSON, empty where there is none; float32 reads back the same."""
    texts = values.astype(str) if values.dtype == np.float32 else np.char.mod("%.4f", values)
    listed: list[str] = np.where(np.isfinite(values), texts, "").tolist()
    return listed


def _region(region: Region, number: int, score_file: ScoreFile, drawn: DrawnMap) -> str:
    scores = drawn.scores[region.patches].astype(np.float64)
    measurements: dict[str, float] = {
        "Patches": len(region.patches),
        "Area px^2": region.area_px,
        f"{drawn.name} mean": float(scores.mean()),
        f"{drawn.name} max": float(scores.max()),
        **_areas(region, score_file),
    }
    return _annotation(
        [ring.tolist() for ring in region.rings_l0],
        {
            "name": f"{drawn.name} {number}",
            "classification": {"name": "High-score region", "color": _REGION_COLOUR},
            "measurements": measurements,
        },
    )


def _evidence(region: Region, score_file: ScoreFile) -> str:
    return _annotation(
        [ring.tolist() for ring in region.rings_l0],
        {
            "name": "Evidence set: sufficient for this model",
            "classification": {"name": "Evidence set", "color": _EVIDENCE_COLOUR},
            "measurements": {"Patches": len(region.patches), **_areas(region, score_file)},
        },
    )


def _areas(region: Region, score_file: ScoreFile) -> dict[str, float]:
    mpp = score_file.level0_mpp
    return {"Area px^2": region.area_px} | ({} if mpp is None else {"Area µm^2": region.area_px * mpp**2})


def _tissue(mask: TissueMask) -> Iterator[str]:
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        rings = [closed_ring(part) for part in (contour, *holes)]
        yield _annotation(rings, {"classification": {"name": "Tissue", "color": _TISSUE_COLOUR}})


def _annotation(rings: list[list[list[int]]], properties: dict[str, Any]) -> str:
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": "annotation", **properties},
    }
    return json.dumps(feature, separators=(",", ":"), ensure_ascii=False)
