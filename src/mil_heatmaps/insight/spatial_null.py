"""Rank correlation of scores with numbers on the same patches, judged against shifted maps.

Neighbouring patches are alike in both, so that shuffled patches would make almost everything significant. The map is
shifted as a whole on its grid, around the edges (a torus), which keeps its neighbourhoods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from mil_heatmaps.slides.patch_grid import PatchGrid

Floats = npt.NDArray[np.float64]

SHIFTS, SEED = 499, 1
_LEAST = 0.5
"""Share of the patches that must meet a score after a shift, else another shift is drawn."""


@dataclass(frozen=True)
class Correlations:
    """Of each column: the rank correlation with the scores, its p against shifts, and the difference of tenths.

    Attributes
    ----------
    patches : int
        That have both.
    spearman, p, difference : (F,)
        `p` is (1 + shifts with at least this correlation, of either sign) / (1 + shifts). `difference` is the mean of
        the highest tenth of the patches less that of the lowest.
    shifts : int
    """

    patches: int
    spearman: Floats
    p: Floats
    difference: Floats
    shifts: int


def correlations(
    scores: npt.ArrayLike, columns: Floats, grid: PatchGrid, *, shifts: int = SHIFTS, seed: int = SEED
) -> Correlations:
    """Return how columns (N, F) go with scores (N,); patches that lack one of them are left out.

    NaN where a column is constant or fewer than 10 patches have both.
    """
    values = np.asarray(scores, np.float64).ravel()
    kept = np.isfinite(values) & np.isfinite(columns).any(axis=1)
    count, width = int(kept.sum()), columns.shape[1]
    nothing = np.full(width, np.nan)
    if count < 10:
        return Correlations(count, nothing, nothing.copy(), nothing.copy(), 0)
    own, numbers = values[kept], np.nan_to_num(columns[kept])
    ranks = rankdata(own)
    column_ranks = np.asarray(rankdata(numbers, axis=0), np.float64)
    observed = _pearson(ranks[:, None], column_ranks)
    cells, shape = _cells(grid.take(kept))
    field = np.full(shape, np.nan)
    field[cells[:, 1], cells[:, 0]] = ranks
    at_least, done = np.zeros(width), 0
    rng = np.random.default_rng(seed)
    for _ in range(20 * shifts):
        dy, dx = int(rng.integers(0, shape[0])), int(rng.integers(0, shape[1]))
        if (dy, dx) == (0, 0):
            continue
        moved = field[(cells[:, 1] + dy) % shape[0], (cells[:, 0] + dx) % shape[1]]
        met = np.isfinite(moved)
        if met.mean() < _LEAST:
            continue
        found = _pearson(moved[met][:, None], column_ranks[met])
        at_least += np.abs(np.nan_to_num(found)) >= np.abs(observed) - 1e-12
        done += 1
        if done == shifts:
            break
    p = (1 + at_least) / (1 + done) if done else nothing.copy()
    order = np.argsort(own, kind="stable")
    tenth = max(1, count // 10)
    difference = numbers[order[-tenth:]].mean(axis=0) - numbers[order[:tenth]].mean(axis=0)
    return Correlations(count, observed, np.where(np.isnan(observed), np.nan, p), difference, done)


def _cells(grid: PatchGrid) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """Return column and row of each patch on its grid, and the grid's (rows, columns)."""
    low = grid.coords_l0.min(axis=0)
    cells = np.rint((grid.coords_l0 - low) / np.asarray(grid.step_l0)).astype(np.int64)
    last = cells.max(axis=0)
    return cells, (int(last[1]) + 1, int(last[0]) + 1)


def _pearson(a: Floats, b: Floats) -> Floats:
    """Return the correlation of a (N, 1) with each column of b (N, F); NaN where one is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(scale > 0, (a * b).sum(axis=0) / scale, np.nan))
