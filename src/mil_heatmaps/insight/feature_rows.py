"""Features of a slide's patches in the order of its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.features.read import read_features
from mil_heatmaps.scores.quick_read import QuickScores


def features_in_order(path: Path, read: QuickScores, coords_dir: Path | None = None) -> npt.NDArray[Any]:
    """Return the features of each scored patch, (N, D), as stored.

    A model keeps the order of the patches, so files of equal length match row by row. In files of another length,
    where patches were left out, rows are found by their corners.

    Raises
    ------
    FeatureError
        The file cannot be read, or lacks scored patches.
    """
    found = read_features(
        path, patch_size_l0=read.grid.size_l0[0], slide_size_l0=read.slide_size_l0, coords_dir=coords_dir
    )
    if len(found) == len(read.grid):
        return found.features
    place = {tuple(corner): row for row, corner in enumerate(found.grid.coords_l0.tolist())}
    rows = [place.get(tuple(corner), -1) for corner in read.grid.coords_l0.tolist()]
    if missing := rows.count(-1):
        raise FeatureError(f"{path}: {missing} of the {len(rows)} scored patches have no features in it")
    return np.asarray(found.features[rows])


def unit_rows(features: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return each row divided by its length, float32; a row of zeros is unchanged."""
    rows = features.astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(length, np.finfo(np.float32).tiny)
    return rows
