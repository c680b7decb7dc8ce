"""Rank correlation of scores with numbers on the same patches, judged against shifted maps.

Neighbouring patches are alike in both, so shuffling patches would make almost everything significant. Instead the
map is shifted as a whole on its grid, around the edges (a torus), which keeps its neighbourhoods.
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
"""Share of the patches that must get a score after a shift; otherwise another shift is drawn."""

_COLUMNS = 512
_AT_ONCE_BYTES = 32 << 20
"""Size of an array of columns or of shifted maps; there are about eight of them at a time."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Correlations:
    """For each column: the rank correlation with the scores, its p against shifts, and the difference of tenths.

    Attributes
    ----------
    patches : int
        Number of patches that have both.
    spearman, p, difference : (F,)
        `p` is (1 + shifts with at least this correlation, of either sign) / (1 + shifts). `difference` is the mean of
        the highest tenth of the patches minus that of the lowest.
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
    """Return how columns (N, F) correlate with scores (N,); patches that lack one of them are left out.

    NaN where a column is constant or fewer than 10 patches have both.
    """
    values = np.asarray(scores, np.float64).ravel()
    kept = np.isfinite(values) & np.isfinite(columns).any(axis=1)
    count, width = int(kept.sum()), columns.shape[1]
    observed, p, difference = (np.full(width, np.nan) for _ in range(3))
    if count < 10:
        return Correlations(count, observed, p, difference, 0)
    own = values[kept]
    ranks = np.asarray(rankdata(own), np.float64)
    torus = _Torus.of(ranks - ranks.mean(), grid.take(kept))
    steps = torus.steps(shifts, seed)
    at_once = max(1, _AT_ONCE_BYTES // (8 * count))
    order, tenth = np.argsort(own, kind="stable"), max(1, count // 10)
    # Thousands of genes are processed in blocks: the products of many shifts with a block are matrix products.
    for start in range(0, width, min(_COLUMNS, at_once)):
        block = slice(start, start + min(_COLUMNS, at_once))
        numbers = np.nan_to_num(columns[kept, block])
        others = np.asarray(rankdata(numbers, axis=0), np.float64)
        others -= others.mean(axis=0)
        observed[block] = _pearson((ranks - ranks.mean())[None], others)[0]
        if steps:
            reached = np.zeros(others.shape[1], np.int64)
            for first in range(0, len(steps), at_once):
                moved = np.stack([torus.moved(*step) for step in steps[first : first + at_once]])
                found = np.abs(np.nan_to_num(_pearson(moved, others)))
                reached += (found >= np.abs(observed[block]) - 1e-9).sum(axis=0)
            p[block] = (1 + reached) / (1 + len(steps))
        difference[block] = numbers[order[-tenth:]].mean(axis=0) - numbers[order[:tenth]].mean(axis=0)
    return Correlations(count, observed, np.where(np.isnan(observed), np.nan, p), difference, len(steps))


@dataclass(frozen=True)
class _Torus:
    """The ranks of the patches on their grid, NaN where it has no patch; `cells` are column and row of each patch."""

    field: Floats
    cells: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ranks: Floats, grid: PatchGrid) -> _Torus:
        low = grid.coords_l0.min(axis=0)
        cells = np.rint((grid.coords_l0 - low) / np.asarray(grid.step_l0)).astype(np.int64)
        last = cells.max(axis=0)
        field = np.full((int(last[1]) + 1, int(last[0]) + 1), np.nan)
        field[cells[:, 1], cells[:, 0]] = ranks
        return cls(field, cells)

    def moved(self, dy: int, dx: int) -> Floats:
        """Return the rank that each patch gets after a shift, (N,); NaN where a patch gets none."""
        rows, columns = self.field.shape
        return np.asarray(self.field[(self.cells[:, 1] + dy) % rows, (self.cells[:, 0] + dx) % columns])

    def steps(self, shifts: int, seed: int) -> list[tuple[int, int]]:
        """Return the shifts in rows and columns.

        A shift after which few patches get a score is drawn again, so there may be fewer than `shifts`.
        """
        rng, found = np.random.default_rng(seed), list[tuple[int, int]]()
        for _ in range(20 * shifts):
            dy, dx = int(rng.integers(0, self.field.shape[0])), int(rng.integers(0, self.field.shape[1]))
            if (dy, dx) != (0, 0) and np.isfinite(self.moved(dy, dx)).mean() >= _LEAST:
                found.append((dy, dx))
            if len(found) == shifts:
                break
        return found


def _pearson(a: Floats, b: Floats) -> Floats:
    """Return the correlation of each row of a (S, N) with each column of b (N, F), over the row's finite numbers.

    Both have means near zero, which avoids cancellation in the sums. NaN where one is constant.
    """
    met = np.isfinite(a)
    a, some = np.where(met, a, 0.0), met.astype(np.float64)
    n, sum_a, squares_a = met.sum(axis=1)[:, None], a.sum(axis=1)[:, None], (a * a).sum(axis=1)[:, None]
    sum_b, squares_b = some @ b, some @ (b * b)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_a, spread_b = squares_a - sum_a**2 / n, squares_b - sum_b**2 / n
        constant = (spread_a <= _ROUNDING * squares_a) | (spread_b <= _ROUNDING * squares_b)
        return np.asarray(np.where(constant, np.nan, (a @ b - sum_a * sum_b / n) / np.sqrt(spread_a * spread_b)))
