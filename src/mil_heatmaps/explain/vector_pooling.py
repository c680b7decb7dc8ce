"""Models that pool embedded rows by attention, with a non-linear head on top: h_k = sum_i softmax(a_k)_i h_i.

The pooled rows of any part of the bag follow from sums; only the head runs once per part, in float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.explain.additive import LEAST_REST
from mil_heatmaps.explain.answers import Sets, kept_rows, others
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.pooled_sums import Pooled, Weighed, part_sums, pool, set_sums
from mil_heatmaps.explain.rows import CHUNK_ROWS, Bools, Floats, Ints, Rows, collect, wide
from mil_heatmaps.explain.watch import SILENT, Watch

RowFunction: TypeAlias = Callable[[Tensor], Tensor]

_BATCH_BYTES = 32 * 2**20
_UNDERFLOW = 1e-200


@dataclass(frozen=True)
class Straight:
    """The first layer after pooling, where it is linear and processes each branch separately.

    It can be applied to a single patch instead of to the rest without it, in the network's precision instead of
    float64. The weights sum to 1, so both give the same.

    Attributes
    ----------
    of_rows : (n, E) -> (n, F)
    of_pooled : (..., K, E) float64 -> (..., K, F) float64
    rest : (..., K, F) float64 -> (..., C) float64
        The layers after it.
    """

    of_rows: RowFunction
    of_pooled: RowFunction
    rest: RowFunction


@dataclass(frozen=True)
class VectorPooling:
    """See the module docstring.

    Attributes
    ----------
    rows : Rows
    embed : (n, D) -> (n, E)
    attend : (n, E) -> (n, K)
        Raw attention.
    head : (..., K, E) float64 -> (..., C) float64
        Runs on the CPU.
    first : Straight, optional
        First layer of the head, for parts that lack, or are, a single patch.
    """

    rows: Rows
    embed: RowFunction
    attend: RowFunction
    head: RowFunction
    first: Straight | None = None

    exact, passes = True, 3
    forwards = 0

    def __len__(self) -> int:
        return len(self.rows)

    def _weighed(self) -> Iterator[Weighed]:
        for where, x in self.rows.chunks():
            yield where, *self._embed_and_attend(x)

    @cached_property
    def pooled(self) -> tuple[Pooled, Floats]:
        """Sums over the bag, and raw attention (N, K)."""
        return pool(self._weighed(), len(self))

    def logits_of(self, vectors: Floats, head: RowFunction | None = None) -> Floats:
        """Return logits (S, C) of pooled rows (S, K, E), a batch at a time."""
        step, head = max(1, _BATCH_BYTES // (8 * vectors[0].size)), head or self.head
        parts = [head(torch.from_numpy(vectors[i : i + step])) for i in range(0, len(vectors), step)]
        return np.concatenate([wide(part) for part in parts])

    def full(self) -> Floats:
        """Return the logits (C,) of the bag."""
        return np.asarray(self.logits_of(self.pooled[0].vectors[None])[0])

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of some patches."""
        return replace(self, rows=self.rows.choose(index)).full()

    def alone(self, watch: Watch = SILENT) -> Floats:
        """Return the logits (N, C) of each patch, whose embedding is the pooled row of every branch."""
        branches, rest = self.pooled[1].shape[1], None if self.first is None else self.first.rest
        embedded = ((where, wide(self._lone_rows(self.embed(x)))[:, None]) for where, x in self.rows.chunks())
        return collect(
            len(self), ((where, [self.logits_of(np.repeat(h, branches, axis=1), rest)]) for where, h in embedded)
        )[0]

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C) of the bag without each set, a batch of sets at a time."""
        whole, raw = self.pooled
        every, rest_of_head = whole.sums, self.head
        if self.first is not None:
            every = wide(self.first.of_pooled(torch.from_numpy(whole.vectors))) * whole.totals[:, None]
            rest_of_head = self.first.rest
        step = max(1, min(_BATCH_BYTES // (8 * every.size), 2 * CHUNK_ROWS))
        made = []
        keeper = watch.keep(len(sets), lambda: {})
        for start in range(0, len(sets), step):
            part = sets.part(start, min(start + step, len(sets)))
            rows, places = np.unique(part.rows, return_inverse=True)
            h = torch.cat([self._lone_rows(self.embed(x)) for _, x in self.rows.choose(rows).chunks()])
            sums, totals = set_sums(h, np.exp(raw[rows] - whole.peaks), Sets(part.starts, places))
            rest = whole.totals - totals
            with np.errstate(divide="ignore", invalid="ignore"):
                logits = self.logits_of((every - sums) / rest[..., None], rest_of_head)
            for number in np.flatnonzero((rest < LEAST_REST * whole.totals).any(axis=1)):
                left = others(len(self), part[number])
                logits[number] = self.of(left) if len(left) else np.nan
            made.append(logits)
            keeper.done(start + len(part))
        return np.concatenate(made)

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups: one pass."""
        branches = self.pooled[1].shape[1]
        columns = np.broadcast_to(np.arange(branches), (len(labels), len(keep), branches))
        sums, totals = part_sums(self._weighed(), labels, keep, columns)
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = np.stack([self.logits_of(s / t[..., None]) for s, t in zip(sums, totals, strict=True)])
        for m, s in zip(*np.nonzero((totals < _UNDERFLOW).any(axis=-1)), strict=True):
            logits[m, s] = self.of(kept_rows(labels[m], keep[s]))
        return logits

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""
        return replace(self, rows=path.at(alpha)).full()

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) derivatives along the path: one pass to pool, one for the slopes of all targets."""
        here = replace(self, rows=path.at(alpha))
        whole, _ = here.pooled
        pulls = head_slopes(self.head, whole.vectors, outputs)
        made = np.empty((len(self), len(outputs)))
        for where, ((h, dh), (a, da)) in path.push(self._embed_and_attend, alpha):
            shares = whole.shares(wide(a))
            made[where] = row_slopes(pulls, whole.vectors, shares, wide(h), wide(dh), wide(da))[0]
        return made

    def _embed_and_attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.embed(x)
        return h, self.attend(h)

    def _lone_rows(self, h: Tensor) -> Tensor:
        return h if self.first is None else self.first.of_rows(h)


def head_slopes(head: RowFunction, vectors: Floats, outputs: Outputs, more: Floats | float = 0.0) -> Floats:
    """Return df/ds (T, K, E) at pooled rows s (K, E); `more` (C,) is added to the head's logits."""
    at = torch.from_numpy(vectors).requires_grad_()
    with torch.enable_grad():
        f = outputs(head(at) + torch.as_tensor(more, dtype=torch.float64))
        rows = [torch.autograd.grad(one, at, retain_graph=True)[0] for one in f]
    return torch.stack(rows).numpy()


def row_slopes(
    pulls: Floats, vectors: Floats, shares: Floats, h: Floats, dh: Floats, da: Floats
) -> tuple[Floats, Floats]:
    """Return the change of f as each row moves, (n, T), and the derivative of f by its attention, (n, T, K).

    Parameters
    ----------
    pulls : (T, K, E)
        df/ds.
    shares : (n, K)
    h, dh : (n, E)
    da : (n, K)
    """
    targets, branches, width = pulls.shape
    flat = pulls.reshape(-1, width).T
    moved = (dh @ flat).reshape(-1, targets, branches)
    above = (h @ flat).reshape(-1, targets, branches) - np.einsum("tke,ke->tk", pulls, vectors)
    lever = shares[:, None] * above
    return (shares[:, None] * moved + lever * da[:, None]).sum(axis=-1), lever
