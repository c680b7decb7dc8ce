"""Write the exports of one slide: from the same drawing as the heatmap, one function per format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.stages.bag_work import bag_works
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.export_parts import attempt, content_of, for_people, lines_of, notices_of
from mil_heatmaps.stages.figure_foot import evidence_of, foot_of
from mil_heatmaps.stages.picture_format import holding, write_maps
from mil_heatmaps.stages.score_columns import drawn_file, planned_maps
from mil_heatmaps.stages.write_score_exports import write_of_all_columns
from mil_heatmaps.words import grouped

if TYPE_CHECKING:
    from mil_heatmaps.config.export_section import GeojsonExport
    from mil_heatmaps.export.outlines import DrawnMap
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.stages.planned_map import DrawnColumn, PlannedMap
    from mil_heatmaps.visualization.drawing import Drawing


def export_all(work: SlideWork, *, only_telling: bool = False) -> StageResult:
    """Write every format that is switched on: for every drawn column, or once per bag if it holds all columns.

    If a format cannot be written (its package is missing, it needs an unknown resolution, its folder is not writable),
    a notice says so and the others are written.

    With `only_telling`, write only the formats whose metadata hold the faithfulness of the map.
    """
    result = _export(work, only_telling=only_telling)
    for of_bag in bag_works(work):
        part = _export(of_bag, only_telling=only_telling)
        result.paths += part.paths
        result.notes += [one.of(planned_maps(of_bag)[0].column.of) for one in part.notes]
        result.again |= part.again
    result.notes = list(distinct(result.notes))
    return result


def _export(work: SlideWork, *, only_telling: bool) -> StageResult:
    result = StageResult([])
    exports, maps = work.config.export_arguments, planned_maps(work)
    for planned in maps:
        drawing = for_people(work, planned.drawing)
        if not only_telling:
            _pictures(work, planned.column, drawing, result)
        if exports.ome_tiff is not None and exports.ome_tiff.content != "scores":
            attempt(result, "ome_tiff", partial(_ome_tiff, work, planned.column, drawing))
        if exports.geojson is not None:
            attempt(result, "geojson", partial(_geojson, work, planned, exports.geojson, result))
        if exports.annotation_store is not None:
            attempt(result, "annotation_store", partial(_annotation_store, work, planned))
        result.notes += planned.drawing.notes
    if maps:
        write_of_all_columns(work, maps[0].drawing, result)
    if not only_telling:
        _tables(work, result)
    return result


def _pictures(work: SlideWork, column: DrawnColumn, drawing: Drawing, result: StageResult) -> None:
    """Write PNG, JPEG, WebP and DeepZoom of one column."""
    exports = work.config.export_arguments
    for name, suffix in (("png", "png"), ("jpeg", "jpg"), ("webp", "webp")):
        if (options := getattr(exports, name)) is not None:
            wanted = work.job.paths.export(f"{column.suffix}_{options.content}.{suffix}")
            attempt(result, name, partial(_flat, wanted, content_of(drawing, options.content), options, result))
    if exports.deepzoom is not None:
        attempt(result, "deepzoom", partial(_deepzoom, work, column, drawing))


def _flat(wanted: Path, drawing: Drawing, options: Any, result: StageResult) -> list[Path]:
    path, said = holding(wanted, drawing.size_px)
    result.notes += said
    quality, lossless = getattr(options, "quality", None), getattr(options, "lossless", False)
    write_maps([path], drawing, quality=quality, lossless=lossless or wanted.suffix == ".png")
    return [path]


def _ome_tiff(work: SlideWork, column: DrawnColumn, drawing: Drawing) -> list[Path]:
    from mil_heatmaps.export.pyramid import write_ome_tiff

    options = work.config.export_arguments.ome_tiff
    assert options is not None
    path = work.job.paths.export(f"{column.suffix}_{options.content}.ome.tif")
    write_ome_tiff(
        path,
        content_of(drawing, options.content),
        level=options.level,
        compression=options.compression,
        quality=options.quality,
        tile_size=options.tile_size,
        notices=lines_of(work, drawing),
    )
    return [path]


def _deepzoom(work: SlideWork, column: DrawnColumn, drawing: Drawing) -> list[Path]:
    """Write one file, or a file and its folder of tiles; return the paths of all files."""
    from mil_heatmaps.export.deepzoom import write_deepzoom
    from mil_heatmaps.visualization.frame import choose_frame

    options = work.config.export_arguments.deepzoom
    assert options is not None
    if options.level is not None:
        drawing = replace(drawing, frame=choose_frame(work.slide, options.level))
    path = work.job.paths.export(f"{column.suffix}_{options.content}.{options.container}")
    write_deepzoom(
        path,
        content_of(drawing, options.content),
        tile_format=options.format,
        quality=options.quality,
        tile_size=options.tile_size,
    )
    tiles = path.with_name(f"{path.stem}_files")
    return [path, *sorted(tile for tile in tiles.rglob("*") if tile.is_file())] if tiles.is_dir() else [path]


def _geojson(work: SlideWork, planned: PlannedMap, options: GeojsonExport | None, result: StageResult) -> list[Path]:
    """Write the objects; if there are too many, also write a table of the patches, unless the csv export does."""
    from mil_heatmaps.export.geojson import write_geojson
    from mil_heatmaps.export.tables import write_csv

    assert options is not None
    column, drawing = planned.column, planned.drawing
    path = work.job.paths.export(f"{column.suffix}.geojson" + (".gz" if options.gzip else ""))
    written = write_geojson(
        path,
        drawn_file(work),
        _drawn_map(planned),
        detections=options.detections,
        regions=options.regions,
        tissue=work.mask if options.tissue and work.job.paths.mask_pkl.is_file() else None,
        threshold=options.threshold,
        notices=notices_of(work, drawing),
        faithfulness=None if (foot := foot_of(work)) is None else foot.metadata(),
        evidence=() if (evidence := evidence_of(work)) is None else evidence.regions,
        objects=options.objects,
        most_objects=options.most_objects,
        scanned_l0=work.slide.space().scanned_l0,
        slide_size_l0=work.slide.dimensions_l0,
    )
    paths = [path]
    if written.patches_left_out or written.regions_left_out:
        csv = work.config.export_arguments.csv
        table = work.job.paths.export(f"{work.bag_suffix}_scores.csv" + (".gz" if csv is not None and csv.gzip else ""))
        if csv is None and table not in result.paths:
            write_csv(table, drawn_file(work))
            paths.append(table)
        regions = f" and the {grouped(written.regions_left_out)} smallest regions" if written.regions_left_out else ""
        words = (
            f"{path.name} would hold more than {grouped(options.most_objects)} objects: it has regions, without the "
            f"{grouped(written.patches_left_out)} patches{regions}, which are in {table.name}"
        )
        counts = {"patches_left_out": written.patches_left_out, "regions_left_out": written.regions_left_out}
        result.notes.append(Notice("too_many_objects", words, **counts))
    return paths


def _annotation_store(work: SlideWork, planned: PlannedMap) -> list[Path]:
    from mil_heatmaps.export.annotation_store import write_annotation_store

    options = work.config.export_arguments.annotation_store
    assert options is not None
    path, drawing = work.job.paths.export(f"{planned.column.suffix}.db"), planned.drawing
    write_annotation_store(
        path,
        drawn_file(work),
        _drawn_map(planned),
        tissue=work.mask if options.tissue and work.job.paths.mask_pkl.is_file() else None,
        threshold=options.threshold,
        evidence=() if (evidence := evidence_of(work)) is None else evidence.regions,
        notices=notices_of(work, drawing),
        faithfulness=None if (foot := foot_of(work)) is None else foot.metadata(),
    )
    return [path]


def _drawn_map(planned: PlannedMap) -> DrawnMap:
    from mil_heatmaps.export.outlines import DrawnMap

    column, drawing = planned.column, planned.drawing
    shades = np.full(len(column.scores), np.nan)
    shades[drawing.patches] = drawing.shades  # patches outside a region stay in the file, without a colour
    return DrawnMap(column.name, column.scores, shades, drawing.colours)


def _tables(work: SlideWork, result: StageResult) -> None:
    from mil_heatmaps.export.tables import write_csv, write_npz

    exports = work.config.export_arguments
    for name, options, write in (("csv", exports.csv, write_csv), ("npz", exports.npz, write_npz)):
        if options is not None:
            packed = ".gz" if getattr(options, "gzip", False) else ""
            path = work.job.paths.export(f"{work.bag_suffix}_scores.{name}{packed}")
            attempt(result, name, partial(_table, write, path, drawn_file(work)))


def _table(write: Callable[[Path, ScoreFile], None], path: Path, scores: ScoreFile) -> list[Path]:
    write(path, scores)
    return [path]
