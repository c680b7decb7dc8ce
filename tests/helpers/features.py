"""Small feature files for the tests: a regular grid, seeded numbers, TRIDENT's attributes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def grid_coords(columns: int = 5, rows: int = 4, step: int = 256) -> Array:
    """Return the corners of a grid, row by row, (N, 2) int64."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64) * step


def numbers(n: int = 20, width: int = 8, dtype: Any = np.float32) -> Array:
    """Return (n, width) normal numbers, always the same for the same `n`."""
    return np.random.default_rng(n).normal(size=(n, width)).astype(dtype)


TRIDENT: dict[str, Any] = {
    "patch_size": 256,
    "patch_size_level0": 256.0,
    "level0_magnification": 20,
    "target_magnification": 20.0,
    "overlap": 0,
    "level0_width": 5000,
    "level0_height": 4000,
    "name": "slide",
}


def write(
    path: Path,
    features: Array | None = None,
    coords: Array | None = None,
    attributes: Mapping[str, Any] = {},
    feature_attributes: Mapping[str, Any] = {},
) -> Path:
    """Write the datasets that are given, with their attributes; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if features is not None:
            file.create_dataset("features", data=features).attrs.update(feature_attributes)
        if coords is not None:
            file.create_dataset("coords", data=coords).attrs.update(attributes)
    return path


def tissue_coords(step: int = 256, seed: int = 0, keep: float = 0.7, side: int = 40) -> Array:
    """A grid with holes, in random order."""
    coords = grid_coords(side, side, step)
    rng = np.random.default_rng(seed)
    return rng.permutation(coords[rng.random(len(coords)) < keep])
