"""Scores and coordinates from callers, checked and brought into one form; the caller's arrays do not change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ConfigError, ScoreError
from mil_heatmaps.slides.patch_grid import PatchGrid

PatchSize = int | Sequence[int]


def as_grid(coords: npt.ArrayLike | PatchGrid, patch_size: PatchSize, overlap: float = 0.0) -> PatchGrid:
    """Return the grid of patches at `coords`, (N, 2) level-0 corners, x then y.

    An empty array gives an empty grid. A `PatchGrid` is returned unchanged; size and overlap are then ignored.

    Raises
    ------
    ScoreError
        If the shape is wrong or a coordinate is not a finite number.
    ConfigError
        If the patch size or the overlap makes no sense.
    """
    if isinstance(coords, PatchGrid):
        return coords
    sizes = [patch_size, patch_size] if isinstance(patch_size, (int, float, np.number)) else list(patch_size)
    if len(sizes) != 2 or min(sizes) < 1:
        raise ConfigError(f"patch_size must be one or two level-0 pixel counts of at least 1, got {patch_size}")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap must be at least 0 and below 1, got {overlap}")
    coords_l0 = np.asarray(coords)
    if coords_l0.size == 0:
        coords_l0 = np.empty((0, 2), np.int64)
    if coords_l0.ndim != 2 or coords_l0.shape[1] != 2:
        raise ScoreError(f"coords must have shape (N, 2), one (x, y) a patch; got {coords_l0.shape}")
    finite = np.isfinite(coords_l0)
    if not finite.all():
        raise ScoreError(f"{int((~finite).any(axis=1).sum())} of {len(coords_l0)} coords are not numbers")
    size = int(sizes[0]), int(sizes[1])
    step = max(1, int(size[0] * (1 - overlap))), max(1, int(size[1] * (1 - overlap)))
    return PatchGrid(np.floor(coords_l0).astype(np.int64, copy=False), size, step)


def as_scores(scores: npt.ArrayLike, count: int) -> npt.NDArray[Any]:
    """Return one score per patch as a new float array. Shapes (N,), (N, 1) and (1, N) and integers are accepted.

    float32 stays float32; everything else becomes float64.

    Raises
    ------
    ScoreError
        If there are not `count` scores, or several per patch.
    """
    own = np.asarray(scores)
    if own.ndim > 1 and own.size == max(own.shape, default=0):
        own = own.reshape(-1)
    if own.size == 0:
        own = own.reshape(-1)
    if own.ndim > 1:
        raise ScoreError(
            f"scores have shape {own.shape}: one score per patch is needed; choose a class or head, scores[:, k]"
        )
    if own.shape != (count,):
        raise ScoreError(f"{own.size} scores but {count} coords; each patch needs one of both")
    return own.astype(np.float32 if own.dtype == np.float32 else np.float64)
