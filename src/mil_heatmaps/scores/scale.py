"""One colour scale for the slides of a run, from a small summary of each.

A slide's summary is a few kilobytes whatever the slide's size, so a cohort of ten thousand slides fits in memory.
Merging is a concatenation: the order of slides does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mil_heatmaps.numpy_later import np
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    import numpy.typing as npt

ROBUST_QUANTILES = (0.01, 0.99)
"""The quantiles that bound a ``robust`` range."""

_SUMMARY_SIZE = 1001
"""Quantiles stored per slide; a slide with fewer scores keeps all scores, so small cohorts are exact."""


@dataclass(frozen=True, repr=False)
class ScoreSummary:
    """The numbers of one slide that a cohort's scale needs.

    Attributes
    ----------
    count : int
        Number of finite scores.
    points : (Q,) float64
        Evenly spaced quantiles in ascending order, or all scores; each stands for ``count / Q`` scores.
    max_share : float
        The largest softmax weight of the slide (with its scores as logits).
    """

    count: int
    points: npt.NDArray[np.float64]
    max_share: float

    def __repr__(self) -> str:
        return f"ScoreSummary(count={self.count}, points={len(self.points)})"


def summarize_scores(values: npt.ArrayLike, *, are_shares: bool = False) -> ScoreSummary:
    """Return the summary of one slide's scores; NaN and infinities are left out.

    With `are_shares` the values are already softmax weights, and the largest is `max_share`.
    """
    scores = np.ravel(np.asarray(values)).astype(np.float64)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return ScoreSummary(0, np.empty(0), 0.0)
    top = float(scores.max())
    share = top if are_shares else float(1.0 / np.exp(scores - top).sum())
    if len(scores) > _SUMMARY_SIZE:
        points = np.quantile(scores, np.linspace(0, 1, _SUMMARY_SIZE))
    else:
        points = np.sort(scores)
    return ScoreSummary(len(scores), points, share)


@dataclass(frozen=True, repr=False)
class CohortScale:
    """The scores of many slides as one pool.

    Slides are weighted by their patches. Minimum and maximum are exact; quantiles and percentiles are exact up to
    1001 patches per slide, and beyond that within 0.1 percentile points of a slide's own distribution.
    """

    summaries: Sequence[ScoreSummary]
    name: str | None = None
    """The colour bar's name for the pool, when it is not a cohort of slides."""
    log_total: float | None = None
    """For logits with a softmax over the whole pool: the logarithm of the sum of their exponentials."""

    @property
    def words(self) -> str:
        """The name of the pool on the colour bar."""
        return self.name or f"the cohort ({counted(self.slides, 'slide')})"

    def __repr__(self) -> str:
        return f"CohortScale(slides={self.slides}, count={self.count})"

    @property
    def slides(self) -> int:
        return len(self.summaries)

    @property
    def count(self) -> int:
        return sum(summary.count for summary in self.summaries)

    @property
    def minimum(self) -> float:
        return min(float(summary.points[0]) for summary in self.summaries if summary.count)

    @property
    def maximum(self) -> float:
        return max(float(summary.points[-1]) for summary in self.summaries if summary.count)

    @property
    def max_share(self) -> float:
        return max((summary.max_share for summary in self.summaries), default=0.0)

    @cached_property
    def _pool(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sorted distinct points, and the cumulative weight up to and including each; from 0 to the count of scores."""
        used = [summary for summary in self.summaries if summary.count]
        if not used:
            return np.empty(0), np.empty(0)
        points = np.concatenate([summary.points for summary in used])
        weights = np.concatenate([np.full(len(s.points), s.count / len(s.points)) for s in used])
        distinct, where = np.unique(points, return_inverse=True)
        # Sorted by weight within a point, so that the sum does not depend on the order of the slides.
        order = np.lexsort((weights, where))
        sums = np.bincount(where[order], weights=weights[order])
        return distinct, np.cumsum(sums)

    @property
    def median(self) -> float:
        """The median of the pooled scores."""
        if len(self.summaries) == 1:
            return float(np.median(self.summaries[0].points))
        points, upto = self._pool
        low, high = (min(int(np.searchsorted(upto, upto[-1] / 2, side)), len(points) - 1) for side in ("left", "right"))
        return float(points[low] + points[high]) / 2

    @property
    def robust_bounds(self) -> tuple[float, float]:
        """The pooled scores at `ROBUST_QUANTILES`."""
        points, upto = self._pool
        if len(self.summaries) == 1:
            low, high = np.quantile(self.summaries[0].points, ROBUST_QUANTILES)
            return float(low), float(high)
        places = np.searchsorted(upto, np.asarray(ROBUST_QUANTILES) * upto[-1])
        low, high = points[np.minimum(places, len(points) - 1)]
        return float(low), float(high)

    def percentiles(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the percentile of each value in the pool, 0 to 100, by the formula of `reference_percentiles`.

        For a pool of one slide with up to 1001 scores these equal that slide's own `rank_percentiles`.
        """
        scores = np.asarray(values).astype(np.float64)
        points, upto = self._pool
        if not len(points):
            return np.full(scores.shape, np.nan)
        edges = np.concatenate(([0.0], upto))
        below = edges[np.searchsorted(points, scores, side="left")]
        not_above = edges[np.searchsorted(points, scores, side="right")]
        middle = (below + not_above + (not_above > below)) / 2
        return np.asarray(np.minimum(middle / upto[-1] * 100, 100.0))
