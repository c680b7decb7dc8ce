"""Sums of softmax-pooled rows over parts of a bag, chunk by chunk: only one chunk of rows is in memory at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.explain.answers import Sets
from mil_heatmaps.explain.rows import Bools, Floats, Ints, wide

Weighed: TypeAlias = tuple[slice, Tensor, Tensor]
"""Where in the bag, embedded rows (n, E), raw attention (n, K)."""


@dataclass(frozen=True)
class Pooled:
    """Sums over a bag: ``sums_k = sum_i exp(a_ik - peak_k) h_i`` (K, E); ``totals_k``: sums of weights (K,)."""

    peaks: Floats
    totals: Floats
    sums: Floats

    @property
    def vectors(self) -> Floats:
        """The pooled rows (K, E)."""
        return np.asarray(self.sums / self.totals[:, None])

    def shares(self, raw: Floats) -> Floats:
        """Return the softmax weights of rows with attention `raw`."""
        return np.asarray(np.exp(raw - self.peaks) / self.totals)


def pool(chunks: Iterable[Weighed], n: int) -> tuple[Pooled, Floats]:
    """Return the sums over all n rows, and their raw attention (n, K)."""
    peaks: Floats | None = None
    sums: Floats | float = 0.0
    totals: Floats | float = 0.0
    kept = np.empty((n, 0))
    for where, h, raw in chunks:
        a, rows = wide(raw), wide(h)
        top = a.max(axis=0) if peaks is None else np.maximum(peaks, a.max(axis=0))
        weights = np.exp(a - top)
        more, heavier = weights.T @ rows, weights.sum(axis=0)
        if peaks is not None:
            shrink = np.exp(peaks - top)
            more, heavier = more + shrink[:, None] * sums, heavier + shrink * totals
        peaks, totals, sums = top, heavier, more
        kept = kept if kept.size else np.empty((n, a.shape[1]))
        kept[where] = a
    if peaks is None:
        raise ValueError("the bag is empty")
    return Pooled(peaks, np.asarray(totals), np.asarray(sums)), kept


class PartSums:
    """Sums over parts of a bag, accumulated one chunk of rows at a time.

    Parameters
    ----------
    labels : (M, N) ints, keep : (S, L)
        Part (m, s) has the rows i with keep[s, labels[m, i]].
    columns : (M, S, K) ints
        The column of the raw attention that weights branch k in part (m, s).
    """

    def __init__(self, labels: Ints, keep: Bools, columns: Ints) -> None:
        self._labels, self._keep, self._columns = labels, keep, columns
        self._sums, self._totals, self._peaks = np.empty(0), np.zeros(columns.shape), np.empty(0)

    def add(self, where: slice, h: Tensor, raw: Tensor) -> None:
        """Add the rows `where` of the bag."""
        rows, a = h.to(torch.float64), wide(raw)
        top = np.maximum(self._peaks, a.max(axis=0)) if self._peaks.size else a.max(axis=0)
        if not self._sums.size:
            self._sums = np.zeros((*self._columns.shape, rows.shape[1]))
        elif (top > self._peaks).any():
            shrink = np.exp(self._peaks - top)[self._columns]
            self._sums *= shrink[..., None]
            self._totals *= shrink
        self._peaks = top
        weights = np.exp(a - top).T
        for m, mine in enumerate(self._labels[:, where]):
            chosen = weights[self._columns[m]] * self._keep[:, None, mine]
            self._totals[m] += chosen.sum(axis=-1)
            flat = torch.from_numpy(chosen.reshape(-1, chosen.shape[-1])).to(rows.device)
            self._sums[m] += wide(flat @ rows).reshape(self._sums[m].shape)

    def made(self) -> tuple[Floats, Floats]:
        """Return sums (M, S, K, E) and totals (M, S, K), with a common unknown factor in each branch of a part."""
        return self._sums, self._totals


def part_sums(chunks: Iterable[Weighed], labels: Ints, keep: Bools, columns: Ints) -> tuple[Floats, Floats]:
    """Return the `PartSums` of a bag, as `made` returns them."""
    parts = PartSums(labels, keep, columns)
    for where, h, raw in chunks:
        parts.add(where, h, raw)
    return parts.made()


def set_sums(h: Tensor, weights: Floats, sets: Sets) -> tuple[Floats, Floats]:
    """Return sums (S, K, E) and totals (S, K) of sets whose `rows` are indices into the embedded rows `h` (n, E).

    `weights` (n, K) are the weights of these rows.
    """
    from scipy.sparse import csr_array

    chosen = csr_array((np.ones(len(sets.rows)), sets.rows, sets.starts), shape=(len(sets), len(h)))
    rows = wide(h)
    by_branch = [chosen @ (column[:, None] * rows) for column in weights.T]
    return np.stack(by_branch, axis=1), np.asarray(chosen @ weights)
