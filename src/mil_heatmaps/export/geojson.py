"""Scores for QuPath: patches as tiles, high-attention regions and tissue as annotations, in one GeoJSON file.

Coordinates are level-0 pixels as QuPath counts them on the same slide: it opens the scanned area alone where OpenSlide
knows one (bounds), and counts from its corner. Features are written one after the other, so memory does not follow
their number.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.regions import Region, merge_patches
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.slide_space import Box, Size
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


class Written(int):
    """How many objects a file holds, and how many patches and regions it does not, as there were too many."""

    patches_left_out: int
    regions_left_out: int

    def __new__(cls, objects: int, patches_left_out: int = 0, regions_left_out: int = 0) -> Self:
        made = super().__new__(cls, objects)
        made.patches_left_out, made.regions_left_out = patches_left_out, regions_left_out
        return made


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
    objects: Literal["tile", "detection"] = "tile",
    most_objects: int | None = None,
    scanned_l0: Box | None = None,
    slide_size_l0: Size | None = None,
) -> Written:
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
    objects : ``tile`` or ``detection``
        What patches are to QuPath.
    most_objects : int, optional
        Features the file may hold. With more, patches are left out and regions are written in their place, the largest
        first.
    scanned_l0 : (x, y, width, height), optional
        The scanned area of a slide that has one. QuPath counts from its corner, and a member ``frame`` says so.
    slide_size_l0 : (width, height), optional
        Goes into ``frame``.
    """
    corner_l0 = (0, 0) if scanned_l0 is None else scanned_l0[:2]
    members: dict[str, Any] = {
        "frame": scanned_l0 and {"counted_from": "bounds", "bounds_l0": scanned_l0, "slide_size_l0": slide_size_l0},
        "notices": [notice.plain() for notice in notices],
        "faithfulness": faithfulness and dict(faithfulness),
    }
    own = "".join(f'"{name}":{json.dumps(value, ensure_ascii=False)},' for name, value in members.items() if value)
    pieces = [*(() if tissue is None else _tissue(tissue.moved((-corner_l0[0], -corner_l0[1]))))]
    sets = [_evidence(part, score_file, corner_l0) for part in evidence]
    patches = int(np.isfinite(drawn.shades).sum()) if detections else 0
    left_out = 0 if most_objects is None or len(sets) + len(pieces) + patches <= most_objects else patches
    hot = _hot(score_file, drawn, threshold) if regions or left_out else []
    if detections and most_objects is not None and len(sets) + len(pieces) + len(hot) + patches > most_objects:
        left_out = patches
    room = len(hot) if most_objects is None else max(0, most_objects - len(sets) - len(pieces))
    shown = (_region(region, number, score_file, drawn, corner_l0) for number, region in enumerate(hot[:room], start=1))
    rest = _patches(score_file, drawn, objects, corner_l0) if detections and not left_out else iter(())
    count = 0
    with binary_writer(path) as file:
        file.write(f'{{"type":"FeatureCollection",{own}"features":['.encode())
        for text in chain(sets, pieces, shown, rest):
            file.write(f"{',' if count else ''}\n{text}".encode())
            count += 1
        file.write(b"\n]}\n")
    return Written(count, left_out, max(0, len(hot) - room))


def _hot(score_file: ScoreFile, drawn: DrawnMap, threshold: float) -> list[Region]:
    with np.errstate(invalid="ignore"):
        return merge_patches(score_file.grid, drawn.shades >= threshold)


def _patches(score_file: ScoreFile, drawn: DrawnMap, objects: str, corner_l0: tuple[int, int]) -> Iterator[str]:
    """Yield each patch. Put together as text: a JSON encoder would take most of the time of a large slide."""
    measures: dict[str, npt.NDArray[Any]] = {**score_columns(score_file), **percentile_columns(score_file)}
    keys = [json.dumps(name, ensure_ascii=False) for name in measures]
    width, height = score_file.grid.size_l0
    rows_drawn = np.flatnonzero(np.isfinite(drawn.shades))
    for start in range(0, len(rows_drawn), _BLOCK_ROWS):
        rows = rows_drawn[start : start + _BLOCK_ROWS]
        columns: list[list[str]] = [_number_texts(values[rows]) for values in measures.values()]
        colours: list[list[int]] = drawn.table[colour_index(drawn.shades[rows], len(drawn.table))].tolist()
        corners: list[list[int]] = (score_file.grid.coords_l0[rows] - corner_l0).tolist()
        numbers_of = zip(*columns, strict=True)
        for (x, y), (red, green, blue), numbers in zip(corners, colours, numbers_of, strict=True):
            right, bottom = x + width, y + height
            listed = ",".join(f"{key}:{text}" for key, text in zip(keys, numbers, strict=True) if text)
            yield (
                '{"type":"Feature","geometry":{"type":"Polygon","coordinates":'
                f"[[[{x},{y}],[{right},{y}],[{right},{bottom}],[{x},{bottom}],[{x},{y}]]]}},"
                f'"properties":{{"objectType":"{objects}","color":[{red},{green},{blue}],'
                f'"measurements":{{{listed}}}}}}}'
            )


def _number_texts(values: npt.NDArray[Any]) -> list[str]:
    """Return numbers as JSON, empty where there is none; float32 reads back the same."""
    texts = values.astype(str) if values.dtype == np.float32 else np.char.mod("%.4f", values)
    listed: list[str] = np.where(np.isfinite(values), texts, "").tolist()
    return listed


def _region(
    region: Region, number: int, score_file: ScoreFile, drawn: DrawnMap, corner_l0: tuple[int, int]
) -> str:
    scores = drawn.scores[region.patches].astype(np.float64)
    measurements: dict[str, float] = {
        "Patches": len(region.patches),
        "Area px^2": region.area_px,
        f"{drawn.name} mean": float(scores.mean()),
        f"{drawn.name} max": float(scores.max()),
        **_areas(region, score_file),
    }
    return _annotation(
        [(ring - corner_l0).tolist() for ring in region.rings_l0],
        {
            "name": f"{drawn.name} {number}",
            "classification": {"name": "High-score region", "color": _REGION_COLOUR},
            "measurements": measurements,
        },
    )


def _evidence(region: Region, score_file: ScoreFile, corner_l0: tuple[int, int]) -> str:
    return _annotation(
        [(ring - corner_l0).tolist() for ring in region.rings_l0],
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
