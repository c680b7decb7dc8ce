"""Scores as tables for other programs: CSV and NPZ. One row per patch, in the order of the score file."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.files.atomic import binary_writer
from mil_heatmaps.files.csv_tables import guarded
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.score_file import ScoreFile

_BLOCK_ROWS = 20_000
"""Rows turned into text at a time, so that memory does not grow with the number of patches."""


def score_columns(scores: ScoreFile) -> dict[str, npt.NDArray[np.float32]]:
    """Return every column of every score, by the score's name, followed by the column's name if it has several."""
    columns: dict[str, npt.NDArray[np.float32]] = {}
    for one in scores.all_scores.values():
        for index, name in enumerate(one.names):
            columns[one.score if len(one.names) == 1 else f"{one.score} {name}"] = one.values[:, index]
    return columns


def percentile_columns(scores: ScoreFile) -> dict[str, npt.NDArray[np.float64]]:
    """Return the percentiles, 0 to 100, of the drawn score, by ``<column> percentile``."""
    several = len(scores.scores.names) > 1
    return {
        f"{scores.scores.score}{f' {name}' if several else ''} percentile": rank_percentiles(
            scores.scores.values[:, index]
        )
        for index, name in enumerate(scores.scores.names)
    }


def write_csv(path: str | os.PathLike[str], scores: ScoreFile) -> None:
    """Write x, y, width, height (level-0 pixels), every score, and the percentiles of the drawn score.

    Scores have enough digits to read back as the same float32; percentiles have six decimals. Patches without a score
    have empty cells. The file is compressed if `path` ends in .gz. Only one block of rows is in memory.
    """
    import pandas as pd

    grid = scores.grid
    numbers: dict[str, npt.NDArray[Any]] = {**score_columns(scores), **percentile_columns(scores)}
    width, height = grid.size_l0
    with binary_writer(path) as file:
        for start in range(0, max(len(grid), 1), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            corners = grid.coords_l0[rows]
            block: dict[str, Any] = {
                "x": corners[:, 0],
                "y": corners[:, 1],
                "width": np.full(len(corners), width),
                "height": np.full(len(corners), height),
                **{str(guarded(name)): _texts(values[rows]) for name, values in numbers.items()},
            }
            text = pd.DataFrame(block).to_csv(index=False, header=start == 0, lineterminator="\n")
            file.write(text.encode("utf-8", "backslashreplace"))


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """Return numbers as text, empty for NaN; float32 numbers read back unchanged, float64 have six decimals."""
    texts = values.astype(str) if values.dtype == np.float32 else np.char.mod("%.6f", values)
    return np.where(np.isnan(values), "", texts)


def write_npz(path: str | os.PathLike[str], scores: ScoreFile) -> None:
    """Write the arrays for ``np.load(path)``, without pickles; equal scores give equal bytes.

    ``coords`` (N, 2) int64, ``patch_size_level0`` and ``step_level0`` (2,), ``attention`` (N,), ``scores``
    (N, K) with ``names``, ``kind`` and ``score``; ``extra <score>`` and its ``names`` for further scores;
    ``prediction_...`` and ``slide_id`` if known.
    """
    grid, main, prediction = scores.grid, scores.scores, scores.prediction
    arrays: dict[str, npt.NDArray[Any]] = {
        "coords": grid.coords_l0,
        "patch_size_level0": np.asarray(grid.size_l0),
        "step_level0": np.asarray(grid.step_l0),
        "attention": scores.attention,
        "scores": main.values,
        "names": np.asarray(main.names),
        "kind": np.asarray(main.kind),
        "score": np.asarray(main.score),
    }
    for extra in scores.extra:
        arrays[f"extra {extra.score}"] = extra.values
        arrays[f"extra {extra.score} names"] = np.asarray(extra.names)
    if prediction is not None:
        arrays["prediction_classes"] = np.asarray(prediction.classes)
        arrays["prediction_probabilities"] = prediction.probabilities
        arrays["prediction_logits"] = prediction.logits
        if prediction.task != "classification":
            arrays["prediction_task"] = np.asarray(prediction.task)
        if prediction.task == "survival":
            arrays["prediction_risk"] = np.asarray(prediction.risk)
    if scores.slide_id is not None:
        arrays["slide_id"] = np.asarray(scores.slide_id)
    with binary_writer(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # none of these names is a keyword of savez
