"""Bring your own scores: a score file, a table with x, y and one or more score columns, or what other tools write.

docs/reference/score_file.md lists whose files are read and what their columns mean.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mil_heatmaps.errors import FeatureError, ScoreError
from mil_heatmaps.features.place_patches import place_patches
from mil_heatmaps.files.parquet import is_parquet
from mil_heatmaps.notices import distinct
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.scores.score_tables import plain_scores, read_table, rows_of_slide
from mil_heatmaps.scores.told_scores import ToldScores
from mil_heatmaps.scores.tool_files import read_json, read_npz, read_zarr
from mil_heatmaps.scores.tool_tables import tool_scores
from mil_heatmaps.slides.slide_space import SlideSpace

HDF5_SUFFIXES = (".h5", ".hdf5")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
JSON_SUFFIXES = (".geojson", ".json")
_OTHERS = (".npz", ".zarr")


def read_external_scores(
    path: str | os.PathLike[str],
    *,
    patch_size_l0: float | tuple[float, float] | None = None,
    slide_size_l0: tuple[int, int] | None = None,
    space: SlideSpace | None = None,
    slide_id: str | None = None,
    columns: Sequence[str] | None = None,
) -> ScoreFile:
    """Return scores made elsewhere: a score file (``.h5``), a table, or what other tools write.

    Tables are ``.csv``, ``.tsv``, ``.txt`` and ``.parquet``. Other tools write objects (QuPath's ``.geojson``),
    predictions (TIAToolbox's ``.json``, ``.zarr``), also ``.gz``, and attention (slideflow's ``.npz``).

    A table needs a header line with x, y and at least one numeric score column; empty cells and NaN are
    patches without a score. The size of a patch comes from a column (``patch_size``, or ``width`` and
    ``height``), else from `patch_size_l0`, else from the step of the coordinates. Tables of measurements that QuPath
    exports, and slideflow's of tiles, are told by their columns.

    Parameters
    ----------
    slide_size_l0 : (width, height), optional
        Size of the slide, to refuse scores of another slide.
    space : SlideSpace, optional
        What is known about the slide (`Slide.space`), in place of its size.
    slide_id : str, optional
        Picks the rows of one slide where the table has a ``slide_id`` column.
    columns : names, optional
        The score columns, in this order; without it every numeric column that is nothing else.

    Raises
    ------
    ScoreError
        Says which columns or values are missing or wrong, and in which line.
    """
    path, space = Path(path), space or SlideSpace(slide_size_l0)
    space = space if space.name is not None else replace(space, name=slide_id)
    suffix = ".parquet" if is_parquet(path) else (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return read_scores(path, patch_size_l0=patch_size_l0, space=space)
    known = (*HDF5_SUFFIXES, *TABLE_SUFFIXES, *JSON_SUFFIXES, *_OTHERS)
    if suffix not in known:
        raise ScoreError(f"{path}: scores are read from {', '.join(known)} files")
    if not (path.is_dir() if suffix == ".zarr" else path.is_file()):
        raise ScoreError(f"{path}: does not exist")
    try:
        told = _told(path, suffix, patch_size_l0, space, slide_id, columns)
        grid, notes = place_patches(
            told.places, told.attributes, space, patch_size_l0=patch_size_l0, where=str(path)
        )
    except ScoreError:
        raise
    except (FeatureError, ValueError) as cause:  # coordinates and grids are checked by the code that reads features
        raise ScoreError(str(cause)) from cause
    with np.errstate(over="ignore"):
        scores = PatchScores(grid, told.values.astype(np.float32), told.names, "external", "external")
    return ScoreFile(
        grid=grid,
        scores=scores,
        slide_id=slide_id,
        slide_size_l0=space.size_l0,
        notes=distinct((*notes, *told.notes)),
    )


def _told(
    path: Path,
    suffix: str,
    patch_size_l0: float | tuple[float, float] | None,
    space: SlideSpace,
    slide_id: str | None,
    columns: Sequence[str] | None,
) -> ToldScores:
    """Return what the file says, by its suffix and what is in it."""
    if suffix in TABLE_SUFFIXES:
        table = rows_of_slide(read_table(path), slide_id, path)
        told = tool_scores(table, space, columns, patch_size_l0, path)
        return plain_scores(table, space, columns, path) if told is None else told
    if suffix in JSON_SUFFIXES:
        return read_json(path, space, patch_size_l0, columns)
    if suffix == ".npz":
        return read_npz(path)
    return read_zarr(path, space, patch_size_l0)
