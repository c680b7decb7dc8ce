"""What several models say of the same patches: mean rank, spread, who has a patch at the top; how far pairs agree.

Ranks are average rank / N, as everywhere: the highest of N patches has 1, the lowest 1 / N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.mass import top_count
from mil_heatmaps.scores.patch_scores import SPREAD, PatchScores
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.slides.patch_grid import PatchGrid

Floats = npt.NDArray[np.float64]

TOP = 0.05
"""Which part of a model's patches is its top, where nothing else is said."""


@dataclass(frozen=True)
class Agreement:
    """How far two models agree on one slide.

    Attributes
    ----------
    patches : int
        That both score.
    spearman : float
        Correlation of the ranks; NaN where one map is constant.
    jaccard : float
        Patches at the top of both over patches at the top of either.
    """

    patches: int
    spearman: float
    jaccard: float


@dataclass(frozen=True, repr=False, eq=False)
class Consensus:
    """Several models on one slide.

    Attributes
    ----------
    ranks : (n, N) float64
        NaN for a patch that some model does not score.
    top : (n, N) bool
        Which patches are among each model's top; patches that tie with the last of them are, too.
    mean, spread : (N,) float64
        Mean and standard deviation (of the n numbers, not of a population) of the ranks.
    votes : (N,) int
        How many models have the patch at the top.
    """

    ranks: Floats
    top: npt.NDArray[np.bool_]
    mean: Floats
    spread: Floats
    votes: npt.NDArray[np.int64]

    @property
    def patches(self) -> int:
        """How many patches all models score."""
        return int(np.isfinite(self.mean).sum())

    def agreement(self) -> dict[tuple[int, int], Agreement]:
        """Return how far each pair of models agrees, by their numbers."""
        kept = np.isfinite(self.mean)
        ranks = self.ranks if kept.all() else self.ranks[:, kept]
        top = (self.top if kept.all() else self.top[:, kept]).astype(np.float32)
        count = ranks.shape[1]
        centred = ranks - ranks.mean(axis=1, keepdims=True) if count else ranks
        products, both = centred @ centred.T, top @ top.T
        found = {}
        for a, b in combinations(range(len(ranks)), 2):
            scale = math.sqrt(products[a, a] * products[b, b])
            spearman = float(products[a, b] / scale) if scale > 0 else math.nan
            either = float(both[a, a] + both[b, b] - both[a, b])
            found[a, b] = Agreement(count, spearman, float(both[a, b]) / either if either else math.nan)
        return found

    def scores(self, grid: PatchGrid, at_least: int, name: str = "consensus") -> PatchScores:
        """Return the consensus as scores with the columns ``mean rank``, ``spread`` and ``top of at least k of n``.

        The last one is the share of the models that have the patch at the top, 0 where they are fewer than `at_least`.
        """
        models = len(self.ranks)
        votes = np.where(self.votes >= at_least, self.votes / models, 0.0)
        votes[np.isnan(self.mean)] = np.nan
        values = np.stack([self.mean, self.spread, votes], axis=1).astype(np.float32)
        return PatchScores(grid, values, columns(models, at_least), "consensus", name)


def columns(models: int, at_least: int) -> tuple[str, str, str]:
    """Return the names of the columns of a consensus."""
    return "mean rank", SPREAD, f"top of at least {at_least} of {models}"


def consensus(scores: Sequence[npt.ArrayLike], top: float = TOP) -> Consensus:
    """Return what several models say of the same N patches.

    Parameters
    ----------
    scores : n arrays of shape (N,)
        Of any unit. A patch that one model does not score (NaN or infinite) is left out.
    top : float
        Which part of its patches is a model's top, 0 to 1.

    >>> consensus([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]], top=0.25).mean.tolist()
    [0.25, 0.5, 0.75, 1.0]

    Raises
    ------
    ScoreError
        Fewer than two models, arrays of different length, a `top` outside 0 to 1.
    """
    if len(scores) < 2:
        raise ScoreError(f"a consensus needs at least two models, got {len(scores)}")
    if not 0 < top < 1:
        raise ScoreError(f"top must lie between 0 and 1, such as 0.05 for the top 5 %; got {top}")
    arrays = [np.asarray(values).ravel() for values in scores]
    lengths = [len(values) for values in arrays]
    if len(set(lengths)) > 1:
        raise ScoreError(f"the models score {', '.join(map(str, lengths))} patches; match them first")
    kept = np.logical_and.reduce([np.isfinite(values) for values in arrays])
    whole = bool(kept.all())
    ranks = np.stack([rank_percentiles(v if whole else np.where(kept, v, np.nan)) for v in arrays])
    ranks /= 100
    high = _top(ranks, int(kept.sum()), top)
    mean = ranks.mean(axis=0)
    return Consensus(ranks, high, mean, ranks.std(axis=0), high.sum(axis=0))


def _top(ranks: Floats, count: int, top: float) -> npt.NDArray[np.bool_]:
    if not count:
        return np.zeros(ranks.shape, bool)
    last = top_count(count, top)
    high = np.zeros(ranks.shape, bool)
    for row, own in zip(high, ranks, strict=True):
        finite = own if count == len(own) else own[np.isfinite(own)]
        cut = np.partition(finite, count - last)[count - last]
        np.greater_equal(own, cut, out=row)  # NaN is never at least anything
    return high
