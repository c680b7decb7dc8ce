"""Write the exports of one slide: from the same drawing as the heatmap, one function a format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure_foot import evidence_of, foot_of
from mil_heatmaps.stages.score_columns import drawn_file, planned_maps

if TYPE_CHECKING:
    from mil_heatmaps.config.export_section import GeojsonExport
    from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap
    from mil_heatmaps.visualization.drawing import Drawing


def export_all(work: SlideWork, *, only_telling: bool = False) -> StageResult:
    """Write every format that is switched on, for every drawn column; tables once a slide.

    With `only_telling` those formats alone whose metadata tell how far the map can be believed.
    """
    from mil_heatmaps.stages.heatmap import holding
    from mil_heatmaps.visualization.overlay import draw_to_file

    exports, paths = work.config.export_arguments, work.job.paths
    result = StageResult([])
    for planned in planned_maps(work):
        column = planned.column
        drawing = replace(planned.drawing, color_profile=work.config.heatmap_arguments.for_people)
        for name, options in (("png", exports.png), ("jpg", exports.jpeg), ("webp", exports.webp)):
            if options is not None and not only_telling:
                quality = getattr(options, "quality", None)
                lossless = getattr(options, "lossless", False)
                wanted = paths.export(f"{column.suffix}_{options.content}.{name}")
                path, said = holding(wanted, drawing.size_px)
                draw_to_file(path, _content(drawing, options.content), quality=quality, lossless=lossless)
                result.notes += said
                result.paths.append(path)
        if exports.ome_tiff is not None:
            result.paths.append(_ome_tiff(work, column, drawing))
        if exports.deepzoom is not None and not only_telling:
            result.paths += _deepzoom(work, column, drawing)
        if exports.geojson is not None:
            result.paths.append(_geojson(work, planned, exports.geojson))
        result.notes += drawing.notes
    if not only_telling:
        result.paths += _tables(work)
    result.notes = list(distinct(result.notes))
    return result


def _notices(work: SlideWork, drawing: Drawing) -> tuple[Notice, ...]:
    """What the metadata of an export say: the notices of all earlier stages and of the drawing."""
    return distinct((*work.record.notices(before="exports"), *drawing.notes))


def _content(drawing: Drawing, content: str) -> Drawing:
    """The colours over the slide, or the colours alone on white."""
    from mil_heatmaps.visualization.drawing import colours_alone

    return colours_alone(drawing) if content == "colours" else drawing


def _ome_tiff(work: SlideWork, column: DrawnColumn, drawing: Drawing) -> Path:
    from mil_heatmaps.export.pyramid import write_ome_tiff

    options = work.config.export_arguments.ome_tiff
    assert options is not None
    path = work.job.paths.export(f"{column.suffix}_{options.content}.ome.tif")
    write_ome_tiff(
        path,
        _content(drawing, options.content),
        level=options.level,
        compression=options.compression,
        quality=options.quality,
        tile_size=options.tile_size,
        notices=(*_notices(work, drawing), *(foot.lines() if (foot := foot_of(work)) is not None else ())),
    )
    return path


def _deepzoom(work: SlideWork, column: DrawnColumn, drawing: Drawing) -> list[Path]:
    """Write one file, or a file and its folder of tiles; only the file is on record for the folder's sake."""
    from mil_heatmaps.export.deepzoom import write_deepzoom
    from mil_heatmaps.visualization.frame import choose_frame

    options = work.config.export_arguments.deepzoom
    assert options is not None
    if options.level is not None:
        drawing = replace(drawing, frame=choose_frame(work.slide, options.level))
    path = work.job.paths.export(f"{column.suffix}_{options.content}.{options.container}")
    write_deepzoom(
        path,
        _content(drawing, options.content),
        tile_format=options.format,
        quality=options.quality,
        tile_size=options.tile_size,
    )
    tiles = path.with_name(f"{path.stem}_files")
    return [path, *sorted(tile for tile in tiles.rglob("*") if tile.is_file())] if tiles.is_dir() else [path]


def _geojson(work: SlideWork, planned: PlannedMap, options: GeojsonExport) -> Path:
    from mil_heatmaps.export.geojson import DrawnMap, write_geojson

    column, drawing = planned.column, planned.drawing
    path = work.job.paths.export(f"{column.suffix}.geojson" + (".gz" if options.gzip else ""))
    shades = np.full(len(column.scores), np.nan)
    shades[drawing.patches] = drawing.shades  # patches outside a region stay in the file, without a colour
    write_geojson(
        path,
        drawn_file(work),
        DrawnMap(column.name, column.scores, shades, drawing.colours),
        detections=options.detections,
        regions=options.regions,
        tissue=work.mask if options.tissue and work.job.paths.mask_pkl.is_file() else None,
        threshold=options.threshold,
        notices=_notices(work, drawing),
        faithfulness=None if (foot := foot_of(work)) is None else foot.metadata(),
        evidence=() if (evidence := evidence_of(work)) is None else evidence.regions,
    )
    return path


def _tables(work: SlideWork) -> list[Path]:
    from mil_heatmaps.export.tables import write_csv, write_npz

    exports, paths = work.config.export_arguments, []
    if exports.csv is not None:
        path = work.job.paths.export("_scores.csv" + (".gz" if exports.csv.gzip else ""))
        write_csv(path, drawn_file(work))
        paths.append(path)
    if exports.npz is not None:
        path = work.job.paths.export("_scores.npz")
        write_npz(path, drawn_file(work))
        paths.append(path)
    return paths
