"""Where a second slide of the same tissue lies: an affine map between the level-0 pixels of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.arrays import read_npy

Affine = tuple[tuple[float, ...], ...]
"""3 x 3, row by row."""


def read_affine(path: Path) -> Affine:
    """Return the 3 x 3 of a ``.npy``, from level-0 pixels of the first slide to those of the second.

    Raises
    ------
    ConfigError
        It is not an affine map, or cannot be inverted.
    """
    matrix = read_npy(path, ConfigError)
    if matrix.shape != (3, 3) or matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise ConfigError(f"the affine map {path} must hold 3 x 3 finite numbers, it has {matrix.dtype} {matrix.shape}")
    if not np.allclose(matrix[2], (0, 0, 1)):
        raise ConfigError(f"the last row of the affine map {path} must be 0 0 1, it is {matrix[2].tolist()}")
    if abs(np.linalg.det(matrix[:2, :2])) < 1e-9:
        raise ConfigError(f"the affine map {path} cannot be inverted (its determinant is 0)")
    return tuple(tuple(float(value) for value in row) for row in matrix.tolist())
