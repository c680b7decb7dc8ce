"""Sums of softmax-pooled rows over parts of a bag, chunk by chunk: never more than a chunk of rows is in memory."""

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
    """Sums over a bag: ``sums_k = sum_i exp(a_ik - peak_k) h_i`` (K, E), ``totals_k`` of the weights (K,)."""

    peaks: Floats
    totals: Floats
    sums: Floats

    @property
    def vectors(self) -> Floats:
        """The pooled rows (K, E)."""
        return np.asarray(self.sums / self.totals[:, None])

    def shares(self, raw: Floats) -> Floats:
        """Return the softmax weights of rows with `raw` attention."""
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


def part_sums(chunks: Iterable[Weighed], labels: Ints, keep: Bools, columns: Ints) -> tuple[Floats, Floats]:
    """Return sums (M, S, K, E) and totals (M, S, K) over the rows i of part (m, s): those with keep[s, labels[m, i]].

    Parameters
    ----------
    columns : (M, S, K) ints
        Which column of the raw attention weighs branch k in part (m, s).
    """
    sums: Floats | None = None
    totals: Floats | None = None
    peaks: Floats | None = None
    for where, h, raw in chunks:
        rows, a = h.to(torch.float64), wide(raw)
        top = a.max(axis=0) if peaks is None else np.maximum(peaks, a.max(axis=0))
        if sums is None or totals is None:
            sums, totals = np.zeros((*columns.shape, rows.shape[1])), np.zeros(columns.shape)
        elif peaks is not None and (top > peaks).any():
            shrink = np.exp(peaks - top)[columns]
            sums *= shrink[..., None]
            totals *= shrink
        peaks = top
        weights = np.exp(a - top).T
        for m, mine in enumerate(labels[:, where]):
            chosen = weights[columns[m]] * keep[:, None, mine]
            totals[m] += chosen.sum(axis=-1)
            flat = torch.from_numpy(chosen.reshape(-1, chosen.shape[-1])).to(rows.device)
            sums[m] += wide(flat @ rows).reshape(sums[m].shape)
    if sums is None or totals is None:
        raise ValueError("the bag is empty")
    return sums, totals


def set_sums(h: Tensor, weights: Floats, sets: Sets) -> tuple[Floats, Floats]:
    """Return sums (S, K, E) and totals (S, K) of sets whose `rows` number the embedded rows `h` (n, E).

    `weights` (n, K) are the rows' own.
    """
    from scipy.sparse import csr_array

    chosen = csr_array((np.ones(len(sets.rows)), sets.rows, sets.starts), shape=(len(sets), len(h)))
    rows = wide(h)
    by_branch = [chosen @ (column[:, None] * rows) for column in weights.T]
    return np.stack(by_branch, axis=1), np.asarray(chosen @ weights)
