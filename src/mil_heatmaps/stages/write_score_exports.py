"""Write the exports that hold scores and not colours: OME-TIFF and OME-Zarr of scores, AnnData, DICOM maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.choices import SUM
from mil_heatmaps.errors import ScoreError
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.export_parts import at_level, attempt, content_of, for_people, lines_of, notices_of
from mil_heatmaps.stages.figure_foot import foot_of
from mil_heatmaps.stages.score_columns import drawn_file, planned_maps

if TYPE_CHECKING:
    from mil_heatmaps.export.score_pixels import ScorePicture
    from mil_heatmaps.visualization.drawing import Drawing


def write_of_all_columns(work: SlideWork, drawing: Drawing, result: StageResult) -> None:
    """Write the formats that hold all columns of the scores, and DICOM for each drawn column."""
    exports = work.config.export_arguments
    if exports.ome_tiff is not None and exports.ome_tiff.content == "scores":
        attempt(result, "ome_tiff", lambda: _score_tiff(work, drawing))
    if exports.anndata is not None:
        attempt(result, "anndata", lambda: _anndata(work, drawing))
    if exports.wsidata is not None and not work.bag:  # one store per slide, whose name its readers fix
        attempt(result, "wsidata", lambda: _wsidata(work, drawing))
    if exports.ome_zarr is not None:
        attempt(result, "ome_zarr", lambda: _ome_zarr(work, drawing))
    if exports.dicom is not None:
        attempt(result, "dicom", lambda: _dicom(work, drawing))


def _picture(work: SlideWork, drawing: Drawing, level: int | None) -> ScorePicture:
    from mil_heatmaps.export.score_pixels import picture_of

    slide, frame = work.slide, at_level(work, drawing, level).frame
    notes = tuple(map(str, lines_of(work, drawing)))
    picture = picture_of(drawn_file(work), frame, slide.slide_id, slide.mpp, notes=notes)
    return replace(picture, slide_size_l0=slide.dimensions_l0)


def _score_tiff(work: SlideWork, drawing: Drawing) -> list[Path]:
    from mil_heatmaps.export.score_tiff import write_score_tiff

    options = work.config.export_arguments.ome_tiff
    assert options is not None
    path = work.job.paths.export(f"{work.bag_suffix}_scores.ome.tif")
    write_score_tiff(path, _picture(work, drawing, options.level), tile_size=options.tile_size)
    return [path]


def _ome_zarr(work: SlideWork, drawing: Drawing) -> list[Path]:
    from mil_heatmaps.export.ome_zarr import write_picture_zarr, write_score_zarr

    options = work.config.export_arguments.ome_zarr
    assert options is not None
    how: dict[str, Any] = {"version": options.version, "chunk_size": options.chunk_size}
    folders = []
    if options.content == "scores":
        folders.append(work.job.paths.export(f"{work.bag_suffix}_scores.ome.zarr"))
        write_score_zarr(folders[0], _picture(work, drawing, options.level), **how)
    else:
        for planned in planned_maps(work):
            folders.append(work.job.paths.export(f"{planned.column.suffix}_{options.content}.ome.zarr"))
            shown = content_of(at_level(work, for_people(work, planned.drawing), options.level), options.content)
            write_picture_zarr(folders[-1], shown, notices=lines_of(work, planned.drawing), **how)
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def _dicom(work: SlideWork, drawing: Drawing) -> list[Path]:
    from mil_heatmaps.export.dicom_map import write_dicom_map

    options = work.config.export_arguments.dicom
    assert options is not None
    picture, paths = _picture(work, drawing, options.level), []
    names = list(picture.columns)
    for planned in planned_maps(work):
        # The drawn column's name among all columns; the score's name may precede it.
        scores = drawn_file(work).scores
        name = next((n for n in (f"{scores.score} {planned.column.name}", planned.column.name) if n in names), None)
        if name is None:  # the mean of heads, say, is not a column of the file
            name = planned.column.name
            columns = {**picture.columns, name: planned.column.scores}
            picture = replace(picture, columns=columns, kinds={**picture.kinds, name: planned.column.kind})
        paths.append(work.job.paths.export(f"{planned.column.suffix}_scores.dcm"))
        write_dicom_map(paths[-1], picture, name, slide_path=work.job.slide_path, series=len(paths))
    return paths


def _anndata(work: SlideWork, drawing: Drawing) -> list[Path]:
    from mil_heatmaps.export.anndata_file import anndata_module, write_h5ad

    options = work.config.export_arguments.anndata
    assert options is not None
    anndata_module()  # before the features are read
    scores, path, slide = drawn_file(work), work.job.paths.export(f"{work.bag_suffix}.h5ad"), work.slide
    foot = foot_of(work)
    write_h5ad(
        path,
        scores,
        features=_features(work) if options.features and work.bag != SUM else None,
        thumbnail=slide.thumbnail(options.thumbnail_px),
        slide_id=work.job.slide_id,
        slide_size_l0=slide.dimensions_l0,
        mpp=slide.mpp,
        notices=notices_of(work, drawing),
        faithfulness=None if foot is None else foot.metadata(),
    )
    return [path]


def _wsidata(work: SlideWork, drawing: Drawing) -> list[Path]:
    """Write the store under the name by which wsidata looks for it: ``open_wsi(slide, store=<exports>)``."""
    from mil_heatmaps.export.wsidata_zarr import write_wsidata

    folder, slide = work.job.paths.export(".zarr"), work.slide
    notices = notices_of(work, drawing)
    write_wsidata(folder, drawn_file(work), slide_size_l0=slide.dimensions_l0, mpp=slide.mpp, notices=notices)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _features(work: SlideWork) -> Any:
    """Return the features of the drawn patches, (N, D); ScoreError if there are none or they are of other patches."""
    from mil_heatmaps.features.read import read_features

    if work.wants_fine_map:
        features = read_features(work.fine_features_path)
    elif work.job.scores_path is not None:
        raise ScoreError("scores that were brought have no features here; set anndata.features to false")
    else:
        features = work.bag_features()
    if not np.array_equal(features.grid.coords_l0, drawn_file(work).grid.coords_l0):
        raise ScoreError(f"the features in {work.features_path.name} are of other patches than the scores")
    return features.features
