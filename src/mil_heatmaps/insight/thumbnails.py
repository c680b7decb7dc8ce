"""Small pictures of slides with their scores on one scale, from the files of a run; no slide is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mil_heatmaps.insight.runs import ScoredSlide, StudyRun
from mil_heatmaps.records.slide_record import output_path
from mil_heatmaps.scores.normalize import NormalizedScores, default_method, normalize
from mil_heatmaps.scores.patch_scores import MIDDLES, SHARE_KINDS, kind_of_column
from mil_heatmaps.scores.quick_read import QuickScores
from mil_heatmaps.scores.scale import CohortScale, summarize_scores
from mil_heatmaps.scores.select import Column, select_columns
from mil_heatmaps.slides.colour_profile import srgb_converter
from mil_heatmaps.slides.sources import large_pictures_allowed
from mil_heatmaps.visualization.palette import colour_index, colour_table, default_cmap

SIDE_PX = 360
_GLASS, _OPACITY = 245, 0.45


def drawn_column(read: QuickScores) -> Column:
    """Return the column that represents a slide's scores: that of the predicted class, or the only one."""
    return select_columns(read.scores, read.prediction)[0]


def picture_without_colours(run: StudyRun, slide: ScoredSlide) -> Path | None:
    """Return the picture of the whole slide that a run saved; None where it saved none."""
    record = run.record(slide.slide_id)
    stage = None if record is None else record.stages.get("heatmap")
    if record is None or stage is None:
        return None
    for key in stage.outputs:
        name = Path(key).name.removeprefix(slide.slide_id)
        path = Path(output_path(str(record.path.parent), key))
        if name.startswith(("_orig_", "_slide.")) and path.is_file():
            return path
    return None


def thumbnail(read: QuickScores, column: Column, scale: CohortScale, picture: Path | None) -> npt.NDArray[np.uint8]:
    """Return the slide with its colours, (H, W, 3), at most 360 pixels per side.

    Colours are on the cohort's scale. The background is glass where the run saved no picture of the slide.
    """
    ground, factor = _ground(read, picture)
    scaled, cmap = on_scale(read, column, scale)
    return _tinted(ground, read, scaled.shades, factor, cmap)


def on_scale(read: QuickScores, column: Column, scale: CohortScale) -> tuple[NormalizedScores, str]:
    """Return a column on the cohort's scale, whose label explains the ends, and its colormap."""
    kind = kind_of_column(read.scores.kind, column.name)
    method = default_method(kind)
    center = MIDDLES.get(kind) if method != "percentile" else None
    return normalize(column.scores, method, scale=scale, kind=kind, center=center), default_cmap(kind)


def tint(ground: Any, colours: Any) -> npt.NDArray[np.uint8]:
    """Return colours at 45 % over a ground, as in thumbnails."""
    return np.asarray(np.rint((1 - _OPACITY) * np.asarray(ground, float) + _OPACITY * colours), np.uint8)


def _ground(read: QuickScores, picture: Path | None) -> tuple[npt.NDArray[np.uint8], tuple[float, float]]:
    """Return the slide's picture, and its level-0 pixels per pixel."""
    grid = read.grid
    far = (grid.coords_l0.max(axis=0) + grid.size_l0).tolist() if len(grid) else [1, 1]
    width, height = read.slide_size_l0 or (int(far[0]), int(far[1]))
    scale = SIDE_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if picture is None:
        pixels = np.full((size[1], size[0], 3), _GLASS, np.uint8)
    else:
        with large_pictures_allowed():  # this program wrote the picture
            opened = Image.open(picture)
        with opened as image:
            image.draft("RGB", size)  # decode the JPEG at reduced size
            image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX, reducing_gap=2.0)
            to_srgb = srgb_converter(image.info.get("icc_profile"))
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        pixels = pixels if to_srgb is None else to_srgb(pixels)
    return pixels, (width / size[0], height / size[1])


def _tinted(
    ground: npt.NDArray[np.uint8], read: QuickScores, shades: npt.NDArray[Any], factor: tuple[float, float], cmap: str
) -> npt.NDArray[np.uint8]:
    """Return the ground with each patch's colour at 45 %; overlapping patches show their mean shade."""
    high, wide = ground.shape[:2]
    sums, counts = np.zeros((high + 1, wide + 1)), np.zeros((high + 1, wide + 1))
    kept = np.isfinite(shades)
    low = np.floor(read.grid.coords_l0[kept] / factor + 0.5).astype(int)
    end = np.floor((read.grid.coords_l0[kept] + read.grid.size_l0) / factor + 0.5).astype(int)
    end = np.maximum(end, low + 1)
    x0, y0 = np.clip(low, 0, (wide, high)).T
    x1, y1 = np.clip(end, 0, (wide, high)).T
    for values, total in ((shades[kept].astype(np.float64), sums), (np.ones(int(kept.sum())), counts)):
        for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
            np.add.at(total, (y, x), sign * values)
    area = counts.cumsum(0).cumsum(1)[:high, :wide]
    mean = sums.cumsum(0).cumsum(1)[:high, :wide] / np.maximum(area, 1)
    table = colour_table(cmap)
    colours = table[colour_index(mean, len(table))].astype(np.float64)
    return np.where(area[..., None] > 0.5, tint(ground, colours), ground)


def one_scale(columns: Sequence[tuple[str, npt.NDArray[Any]]]) -> CohortScale:
    """Return one scale over the scores of many slides, given as (kind, values)."""
    return CohortScale(tuple(summarize_scores(values, are_shares=kind in SHARE_KINDS) for kind, values in columns))
