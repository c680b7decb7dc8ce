"""Scores for QuPath: patches as tiles, high-attention regions and tissue as annotations, in one GeoJSON file.

Coordinates are level-0 pixels as QuPath counts them on the same slide. If OpenSlide knows a scanned area (bounds),
QuPath opens only this area and counts from its corner. Features are written one after the other, so memory does not
grow with their number.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.outlines import (
    DrawnMap,
    Outline,
    evidence_outlines,
    hot_regions,
    region_outline,
    tissue_outlines,
)
from mil_heatmaps.export.regions import Region
from mil_heatmaps.export.tables import percentile_columns, score_columns
from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.slide_space import Box, Size
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.palette import colour_index

_BLOCK_ROWS = 10_000


class Written(int):
    """How many objects a file holds, and how many patches and regions were left out because there were too many."""

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
    """Write the file, compressed if `path` ends in .gz, and return how many features it holds.

    Parameters
    ----------
    detections : bool
        Write every patch as a rectangle in its colour, with all scores and the percentiles as measurements. Patches
        that are not drawn (no finite score) are left out.
    regions : bool
        Write the patches at or above `threshold` on the colour scale, merged where they touch along an edge. Regions
        have their number of patches, mean and maximum score, and area in px² and, if the slide's resolution is known,
        in µm².
    tissue : TissueMask, optional
        Written as annotations with their holes.
    notices : Notice
        What a user should know about the slide: a member ``notices`` of the collection, which GeoJSON readers ignore.
    faithfulness : mapping, optional
        How far the map can be trusted: a member ``faithfulness`` of the collection.
    evidence : sequence of Region
        The patches that are sufficient for the model on their own, as annotations with their number and area.
    objects : ``tile`` or ``detection``
        QuPath's object type for patches.
    most_objects : int, optional
        Most features in the file. If there are more, patches are left out and regions are written instead, the largest
        first.
    scanned_l0 : (x, y, width, height), optional
        The slide's scanned area, if it has one. QuPath counts from its corner, and a member ``frame`` says so.
    slide_size_l0 : (width, height), optional
        Written into ``frame``.
    """
    corner_l0 = (0, 0) if scanned_l0 is None else scanned_l0[:2]
    members: dict[str, Any] = {
        "frame": scanned_l0 and {"counted_from": "bounds", "bounds_l0": scanned_l0, "slide_size_l0": slide_size_l0},
        "notices": [notice.plain() for notice in notices],
        "faithfulness": faithfulness and dict(faithfulness),
    }
    own = "".join(f'"{name}":{json.dumps(value, ensure_ascii=False)},' for name, value in members.items() if value)
    pieces = [_annotation(part, corner_l0) for part in tissue_outlines(tissue)]
    sets = [_annotation(part, corner_l0) for part in evidence_outlines(evidence, score_file)]
    patches = int(np.isfinite(drawn.shades).sum()) if detections else 0
    left_out = 0 if most_objects is None or len(sets) + len(pieces) + patches <= most_objects else patches
    hot = hot_regions(score_file, drawn, threshold) if regions or left_out else []
    if detections and most_objects is not None and len(sets) + len(pieces) + len(hot) + patches > most_objects:
        left_out = patches
    room = len(hot) if most_objects is None else max(0, most_objects - len(sets) - len(pieces))
    shown = (
        _annotation(region_outline(region, number, score_file, drawn), corner_l0)
        for number, region in enumerate(hot[:room], start=1)
    )
    rest = _patches(score_file, drawn, objects, corner_l0) if detections and not left_out else iter(())
    count = 0
    with binary_writer(path) as file:
        file.write(f'{{"type":"FeatureCollection",{own}"features":['.encode())
        for text in chain(sets, pieces, shown, rest):
            file.write(f"{',' if count else ''}\n{text}".encode())
            count += 1
        file.write(b"\n]}\n")
    return Written(count, left_out, max(0, len(hot) - room))


def _patches(score_file: ScoreFile, drawn: DrawnMap, objects: str, corner_l0: tuple[int, int]) -> Iterator[str]:
    """Yield each patch as text, because a JSON encoder would take most of the time for a large slide."""
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
    """Return numbers as JSON, empty if not finite; float32 numbers read back unchanged."""
    texts = values.astype(str) if values.dtype == np.float32 else np.char.mod("%.4f", values)
    listed: list[str] = np.where(np.isfinite(values), texts, "").tolist()
    return listed


def _annotation(outline: Outline, corner_l0: tuple[int, int]) -> str:
    left, top = corner_l0
    rings = [[[x - left, y - top] for x, y in ring] for ring in outline.rings_l0]
    properties: dict[str, Any] = {
        "name": outline.name,
        "classification": {"name": outline.kind, "color": outline.colour},
        "measurements": outline.measurements,
    }
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"objectType": "annotation", **{key: value for key, value in properties.items() if value}},
    }
    return json.dumps(feature, separators=(",", ":"), ensure_ascii=False)
