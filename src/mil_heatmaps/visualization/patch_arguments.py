"""Scores and coordinates as callers have them, checked and put into one form, without changing theirs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ConfigError, ScoreError
from mil_heatmaps.slides.patch_grid import PatchGrid

PatchSize = int | Sequence[int]


def as_grid(coords: npt.ArrayLike | PatchGrid, patch_size: PatchSize, overlap: float = 0.0) -> PatchGrid:
    """Return the grid of patches at `coords`, (N, 2) level-0 corners, x then y. An empty array is an empty
    grid; a `PatchGrid` is returned as it is, whatever size and overlap say.

    Raises
    ------
    ScoreError
        When the shape is another or a coordinate is not a finite number.
    ConfigError
        When the patch size or the overlap makes no sense.
    """
    if isinstance(coords, PatchGrid):
        return coords
    sizes = [patch_size, patch_size] if isinstance(patch_size, (int, float, np.number)) else list(patch_size)
    if len(sizes) != 2 or min(sizes) < 1:
        raise ConfigError(f"patch_size must be one or two level-0 pixel counts of at least 1, got {patch_size}")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap must be at least 0 and below 1, got {overlap}")
    corners = np.asarray(coords)
    if corners.size == 0:
        corners = np.empty((0, 2), np.int64)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ScoreError(f"coords must have shape (N, 2), one (x, y) a patch; got {corners.shape}")
    if not np.isfinite(corners).all():
        raise ScoreError(f"{int((~np.isfinite(corners)).any(axis=1).sum())} of {len(corners)} coords are not numbers")
    size = int(sizes[0]), int(sizes[1])
    step = max(1, int(size[0] * (1 - overlap))), max(1, int(size[1] * (1 - overlap)))
    return PatchGrid(np.floor(corners).astype(np.int64), size, step)


def as_scores(scores: npt.ArrayLike, count: int) -> npt.NDArray[Any]:
    """Return one score a patch as a new float array; (N,), (N, 1) and (1, N) will do, and integers.

    float32 stays float32, everything else becomes float64.

    Raises
    ------
    ScoreError
        When there are not `count` scores, or several a patch.
    """
    values = np.asarray(scores)
    if values.ndim > 1 and values.size == max(values.shape, default=0):
        values = values.reshape(-1)
    if values.size == 0:
        values = values.reshape(-1)
    if values.ndim > 1:
        raise ScoreError(
            f"scores have shape {values.shape}: one score a patch is needed; choose a class or head, scores[:, k]"
        )
    if values.shape != (count,):
        raise ScoreError(f"{values.size} scores but {count} coords; each patch needs one of both")
    return values.astype(np.float32 if values.dtype == np.float32 else np.float64)


def inside_region(
    grid: PatchGrid, top_left: Sequence[int], bot_right: Sequence[int], *, reaching: bool = False
) -> npt.NDArray[np.bool_]:
    """Return which patches begin in the region, its borders included, as CLAM chooses them.

    With `reaching` those count that cover any pixel of it.
    """
    first = grid.coords_l0 + (np.asarray(grid.size_l0) - 1 if reaching else 0)
    after, before = first >= np.asarray(top_left), grid.coords_l0 <= np.asarray(bot_right) - reaching
    return np.asarray((after & before).all(axis=1))
