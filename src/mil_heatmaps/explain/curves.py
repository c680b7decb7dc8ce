"""Deletion and insertion curves: a model's output while patches are removed in the order of a map."""

from dataclasses import dataclass

import numpy as np

from mil_heatmaps.explain.answers import Answers
from mil_heatmaps.explain.rows import Bools, Floats, Ints
from mil_heatmaps.explain.watch import SILENT, Watch


def ladder(n: int, steps: int) -> Ints:
    """Return how many of n patches are removed at each step, ascending from 0: floor(j n / steps + 1/2), below n."""
    rungs = np.unique((2 * np.arange(steps) * n + steps) // (2 * steps))
    return np.asarray(rungs[rungs < n], np.int64)


def random_orders(n: int, count: int, seed: int) -> Ints:
    """Return (count, n) random orders of n patches, all from one generator."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(count)]).astype(np.int64)


@dataclass(frozen=True)
class Curves:
    """Logits along M orders.

    Attributes
    ----------
    removed : (J,) int64
        How many patches are removed at each point, from 0.
    morf, lerf : (M, J, C) float64
        Logits without the first, and without the last patches of each order.
    """

    removed: Ints
    morf: Floats
    lerf: Floats

    def at(self, removed: Ints) -> "Curves":
        """Return the curves at some of their points."""
        where = np.searchsorted(self.removed, removed)
        return Curves(removed, self.morf[:, where], self.lerf[:, where])


def measure_curves(answers: Answers, orders: Ints, removed: Ints, watch: Watch = SILENT) -> Curves:
    """Return the curves of `orders` (M, n) of some or all patches of the bag; the others always stay.

    Parameters
    ----------
    removed : (J,) ascending ints from 0, below n
    """
    count, n = orders.shape
    inner = removed[1:]
    edges = np.unique(np.concatenate([inner, n - inner]))
    labels = np.full((count, len(answers)), len(edges) + 1)
    np.put_along_axis(labels, orders, np.searchsorted(edges, np.arange(n), side="right")[None], axis=1)
    first, last = np.concatenate([[0], edges]), np.concatenate([edges, [n]])
    keep = np.concatenate([first[None] >= inner[:, None], last[None] <= n - inner[:, None]])
    keep = np.concatenate([keep, np.ones((len(keep), 1), bool)], axis=1)
    full = np.broadcast_to(answers.full(), (count, 1, len(answers.full())))
    if not len(inner):
        return Curves(removed, full.copy(), full.copy())
    found = answers.kept(labels, _used(labels, keep), watch)
    morf, lerf = found[:, : len(inner)], found[:, len(inner) :]
    return Curves(removed, np.concatenate([full, morf], axis=1), np.concatenate([full, lerf], axis=1))


def _used(labels: Ints, keep: Bools) -> Bools:
    """Return `keep` without the last group where no patch is in it."""
    return keep if (labels == keep.shape[1] - 1).any() else keep[:, :-1]


def area_under(f: Floats, removed: Ints, n: int) -> Floats:
    """Return the trapezoid of f (..., J) over the removed share, divided by the last share: the mean of f."""
    share = removed / n
    if len(removed) < 2:
        return np.asarray(f[..., 0])
    return np.asarray(np.trapezoid(f, share, axis=-1) / share[-1])
