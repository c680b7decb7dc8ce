"""Percentiles of patch scores: within their own map, or among the scores of another map.

Both follow CLAM's definitions exactly and cost one sort. Percentiles run from 0 to 100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt


def rank_percentiles(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return average rank / N * 100 of each score, as SciPy's ``rankdata(method="average")`` ranks.

    The lowest of N different scores is 100 / N, never 0; the highest is 100. Ties share their mean rank. NaN and
    infinite scores become NaN and are not counted. The shape is kept; (0,) gives (0,).

    >>> rank_percentiles([0.2, 0.9, 0.5, 0.5]).tolist()
    [25.0, 100.0, 62.5, 62.5]
    >>> rank_percentiles([3.0, float("nan")]).tolist()
    [100.0, nan]
    """
    values = np.asarray(scores)
    finite = np.isfinite(values)
    kept = values.reshape(-1) if finite.all() else values[finite]
    ranks = _average_ranks(kept)
    ranks /= max(len(kept), 1)
    ranks *= 100
    if len(kept) == values.size:
        return ranks.reshape(values.shape)
    out = np.full(values.shape, np.nan)
    out[finite] = ranks
    return out


def _average_ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return ranks from 1, ties at their mean: one sort, then the middle of each run of equals."""
    order = np.argsort(values)  # the fastest sort suffices: the order within a run of equals does not matter
    ordered = values[order]
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    ranks = np.empty(len(values))
    if first.all():
        ranks[order] = np.arange(1, len(values) + 1)
        return ranks
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(values))
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks


def reference_percentiles(scores: npt.ArrayLike, reference: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the percentile of each score among `reference`, as CLAM scores the fine map by the coarse one.

    ``(below + not above + [1 if present]) * 50 / M`` with M reference scores; 0 is possible. The shape of
    `scores` is kept. NaN and infinite scores become NaN; such reference scores are not counted.

    >>> reference_percentiles([0.5, 2.0, 9.0], reference=[1.0, 2.0, 3.0, 4.0]).tolist()
    [0.0, 50.0, 100.0]

    Raises
    ------
    ScoreError
        No finite reference score.
    """
    values = np.asarray(scores)
    ordered = np.ravel(np.asarray(reference))
    ordered = np.sort(ordered[np.isfinite(ordered)])
    if not len(ordered):
        raise ScoreError("percentiles need at least one finite reference score, got none")
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    percentiles = ((below + up_to + (up_to > below)) * (50.0 / len(ordered))).astype(np.float32)
    return np.where(np.isfinite(values), percentiles, np.float32(np.nan))


def to_percentiles(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return `rank_percentiles`, under the name CLAM's users know."""
    return rank_percentiles(scores)
