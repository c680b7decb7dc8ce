"""Patches of a run similar to a given one: a table with scores, ranks, labels and predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.insight.search import Found, where_else
from mil_heatmaps.insight.study_files import StudyFiles
from mil_heatmaps.insight.thumbnails import drawn_column
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.quick_read import QuickScores, read_quickly
from mil_heatmaps.words import counted, duration, first_of

if TYPE_CHECKING:
    import pandas as pd


def similar_patches(
    run: StudyRun,
    files: StudyFiles,
    slide_id: str,
    place_l0: tuple[int, int],
    say: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the patch at a point, in the first row, and the 50 most similar patches, at most three per slide.

    Parameters
    ----------
    say : is told how long it will take, before it begins, and which slides are left out

    Raises
    ------
    ConfigError
        There is no such slide, or no patch at the point.
    FeatureError
        The slide has no features.
    """
    import pandas as pd

    if slide_id not in run.slides:
        raise ConfigError(f"{slide_id} has no scores in {run.name}; it has {first_of(list(run.slides), 5)}")
    asked = read_quickly(run.slides[slide_id].scores)
    row = _patch_at(asked, place_l0)
    started = time.perf_counter()
    own = files.features(slide_id, asked)
    seconds = (time.perf_counter() - started) * len(run.slides)
    say(f"{counted(len(run.slides), 'slide')} to look through, about {duration(seconds)}")
    found = where_else(own[row], _slides(run, files), but=(slide_id, row), say=say)
    return pd.DataFrame([_told(run, one) for one in (Found(1.0, slide_id, row), *found)])


def _patch_at(read: QuickScores, place_l0: tuple[int, int]) -> int:
    offset = np.asarray(place_l0) - read.grid.coords_l0
    inside = np.flatnonzero(((offset >= 0) & (offset < read.grid.size_l0)).all(axis=1))
    if not len(inside):
        raise ConfigError(f"no scored patch holds the point ({place_l0[0]}, {place_l0[1]}) in level-0 pixels")
    return int(inside[0])


def _slides(run: StudyRun, files: StudyFiles) -> Iterator[tuple[str, Callable[[], Any]]]:
    for slide in run.slides.values():
        yield slide.slide_id, lambda slide=slide: files.features(slide.slide_id, read_quickly(slide.scores))  # type: ignore[misc]


def _told(run: StudyRun, found: Found) -> dict[str, Any]:
    """Return a row of the table: where the patch is, its similarity, and what the model and the list say."""
    slide = run.slides[found.slide_id]
    read = read_quickly(slide.scores)
    scores = drawn_column(read).scores
    x, y = read.grid.coords_l0[found.row].tolist()
    predicted = "" if read.prediction is None else read.prediction.summary
    return {
        "slide_id": found.slide_id, "x": x, "y": y, "width": read.grid.size_l0[0], "height": read.grid.size_l0[1],
        "cosine": round(found.cosine, 6), "score": float(scores[found.row]),
        "rank": round(float(rank_percentiles(scores)[found.row]) / 100, 6), "label": slide.label,
        "predicted": predicted,
    }  # fmt: skip
