"""Fast reading of score files for cohort numbers: corners, scores and prediction, in a third of the time.

`read_scores` checks coordinates of any origin against the slide. This program checks its own files when it writes
them, and reads them here without checks; any other file goes through `read_scores`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.features.row_chunks import read_rows
from mil_heatmaps.files.hdf5 import open_h5, plain
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.score_schema import FORMAT, FORMAT_VERSION, read_scores, texts
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.words import said_by


@dataclass(frozen=True)
class QuickScores:
    """The scores to draw of one slide.

    Attributes
    ----------
    scores : PatchScores
        On their grid.
    prediction : Prediction or None
    slide_id : str or None
    slide_size_l0 : (width, height) or None
    level0_mpp : float or None
    """

    scores: PatchScores
    grid: PatchGrid
    prediction: Prediction | None = None
    slide_id: str | None = None
    slide_size_l0: tuple[int, int] | None = None
    level0_mpp: float | None = None


def read_quickly(path: str | os.PathLike[str]) -> QuickScores:
    """Return the scores to draw of a score file. Raises ScoreError as `read_scores` does."""
    path = Path(path)
    with open_h5(path, ScoreError) as file:
        found = _ours(file, path)
    if found is not None:
        return found
    whole = read_scores(path)
    return QuickScores(
        whole.scores, whole.grid, whole.prediction, whole.slide_id, whole.slide_size_l0, whole.level0_mpp
    )


def _ours(file: h5py.File, path: Path) -> QuickScores | None:
    """Return the content of a file that this program wrote, None for any other file."""
    main, coords = file.get("scores"), file.get("coords")
    if not isinstance(main, h5py.Dataset) or not isinstance(coords, h5py.Dataset) or coords.dtype != np.int64:
        return None
    told = dict(main.attrs)
    if told.get("format") != FORMAT or told.get("format_version") != FORMAT_VERSION:
        return None
    try:
        size, step = (np.asarray(told[key]).tolist() for key in ("patch_size_level0", "step_level0"))
        grid = PatchGrid(read_rows(coords), tuple(size), tuple(step))
        names = texts(told["names"]) or ()
        scores = PatchScores(grid, read_rows(main), names, plain(told["kind"]), plain(told["score"]))
        prediction, classes = None, texts(told.get("prediction_classes"))
        if classes is not None:
            chances, logits = (np.atleast_1d(told[f"prediction_{key}"]) for key in ("probabilities", "logits"))
            prediction = Prediction(classes, chances, logits, plain(told.get("prediction_task", "classification")))
        width, height = (plain(told.get(f"level0_{side}")) for side in ("width", "height"))
        size_l0 = None if width is None or height is None else (int(width), int(height))
        mpp = plain(told.get("level0_mpp"))
        return QuickScores(scores, grid, prediction, plain(told.get("slide_id")), size_l0, mpp)
    except (KeyError, TypeError, ValueError) as cause:
        raise ScoreError(f"{path}: {said_by(cause)}") from cause
