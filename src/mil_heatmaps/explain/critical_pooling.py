"""Pooling by likeness to each class's critical patch (dsmil): removing that patch changes everyone's attention.

    c = classify(h);  i*(k) = argmax_i c_ik;  a_ik = h_i . u_k + b_k,  (u_k, b_k) = direction(h_i*(k))
    logits = head(sum_i softmax(a_k)_i h_i) + adds max_i c_i

A part of the bag without the critical patch of a class has another one. Parts made of groups take, for each class, the
attention that their own critical patch makes, all in one pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.explain.answers import Sets, best_in_groups, kept_rows, ranks
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.pooled_sums import part_sums
from mil_heatmaps.explain.rows import Bools, Floats, Ints, Rows, collect, wide
from mil_heatmaps.explain.vector_pooling import RowFunction, VectorPooling, head_slopes, row_slopes
from mil_heatmaps.explain.watch import SILENT, Watch

_UNDERFLOW = 1e-200
_AT_ONCE = 8
"""Sets that hold a critical patch, summed in one pass."""


def unchanged(h: Tensor) -> Tensor:
    """Return rows as they are."""
    return h


@dataclass(frozen=True)
class CriticalPooling:
    """See the module.

    Attributes
    ----------
    rows : Rows
    embed : (n, D) -> (n, E)
    classify : (n, E) -> (n, C)
        What is added to the logits of the patch for which it is largest.
    direction : (m, E) -> (m, E), (m,)
        Of critical patches: u and b.
    head : (..., C, E) float64 -> (..., C) float64
    project : (n, E) -> (n, E)
        See `VectorPooling`.
    adds : float
        How much of what the classifier says of the critical patches is added to the logits; 0 for DSMIL's own form.
    """

    rows: Rows
    embed: RowFunction
    classify: RowFunction
    direction: Callable[[Tensor], tuple[Tensor, Tensor]]
    head: RowFunction
    project: RowFunction = unchanged
    adds: float = 1.0

    exact = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def forwards(self) -> int:
        """None: the few forwards for critical patches are part of the exact form."""
        return 0

    @cached_property
    def _instances(self) -> Floats:
        """What the classifier says of each patch, (N, C)."""
        return collect(len(self), ((where, [self.classify(self.embed(x))]) for where, x in self.rows.chunks()))[0]

    @cached_property
    def _ranks(self) -> list[tuple[Ints, Ints]]:
        return [ranks(column) for column in self._instances.T]

    @property
    def _critical(self) -> Ints:
        """The critical patch of each class, (C,)."""
        return np.asarray(self._instances.argmax(axis=0))

    @cached_property
    def _pooling(self) -> VectorPooling:
        """The bag with the attention that its own critical patches make."""
        return VectorPooling(self.rows, self.embed, self._attend(self._critical), self.head, self.project)

    def _attend(self, critical: Ints) -> RowFunction:
        u, b = self.direction(self._embedded(critical))
        return lambda h: h @ u.T + b

    def _embedded(self, index: Ints) -> Tensor:
        return torch.cat([self.embed(x) for _, x in self.rows.choose(index).chunks()])

    def full(self) -> Floats:
        """Return the logits (C,) of the bag."""
        return np.asarray(self._pooling.full() + self.adds * self._instances.max(axis=0))

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of some patches."""
        return replace(self, rows=self.rows.choose(index)).full()

    def alone(self, watch: Watch = SILENT) -> Floats:
        """Return the logits (N, C) of each patch, which is then the critical one."""
        return np.asarray(self._pooling.alone(watch) + self.adds * self._instances)

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C); sets that hold a critical patch take a pass of their own, some sets together."""
        logits = np.asarray(self._pooling.without(sets, watch) + self.adds * self._instances.max(axis=0))
        lost = np.add.reduceat(np.isin(sets.rows, self._critical).astype(np.int64), sets.starts[:-1])
        numbers = np.flatnonzero(lost)
        whole = np.diff(sets.starts)[numbers] == len(self)
        logits[numbers[whole]] = np.nan
        numbers = numbers[~whole]
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            labels = np.zeros((len(some), len(self)), np.int64)
            for mine, number in zip(labels, some, strict=True):
                mine[sets[number]] = 1
            logits[some] = self.kept(labels, np.array([[True, False]]), watch)[:, 0]
        return logits

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups."""
        critical = np.stack(
            [
                np.stack([order[best_in_groups(rank, mine, keep)] for order, rank in self._ranks], axis=-1)
                for mine in labels
            ]
        )
        patches, columns = np.unique(critical, return_inverse=True)
        attend = self._attend(patches)
        weighed = ((where, self.project(h), attend(h)) for where, h in self._embedded_chunks())
        sums, totals = part_sums(weighed, labels, keep, columns.reshape(critical.shape))
        instances = self.adds * self._instances[critical, np.arange(critical.shape[-1])]
        made = []
        for m in range(len(labels)):
            with np.errstate(divide="ignore", invalid="ignore"):
                logits = self._pooling.logits_of(sums[m] / totals[m][..., None]) + instances[m]
            for number in np.flatnonzero((totals[m] < _UNDERFLOW).any(axis=-1)):
                logits[number] = self.of(kept_rows(labels[m], keep[number]))
            made.append(logits)
        return np.stack(made)

    def _embedded_chunks(self) -> Any:
        for where, x in self.rows.chunks():
            yield where, self.embed(x)

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` of the way."""
        return replace(self, rows=path.at(alpha)).full()

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) derivatives along the way. A critical patch moves everyone's attention with it."""
        here = replace(self, rows=path.at(alpha))
        critical, whole = here._critical, here._pooling.pooled[0]
        best = self.adds * here._instances.max(axis=0)
        pulls = head_slopes(self.head, whole.vectors, outputs, best)
        attend = here._attend(critical)
        made = np.empty((len(self), len(outputs)))
        followed = np.zeros(pulls.shape)
        for where, ((h, _), (g, dg), (a, da)) in path.push(lambda x: self._moves(self.embed(x), attend), alpha):
            made[where], lever = row_slopes(pulls, whole.vectors, whole.shares(wide(a)), wide(g), wide(dg), wide(da))
            followed += (lever.reshape(len(h), -1).T @ wide(h)).reshape(followed.shape)
        steep = outputs.slopes(here.full())[1]
        for k, row in enumerate(critical):
            (_, du), (_, dc) = path.push_one(self._critical_moves, int(row), alpha)
            made[row] += followed[:, k] @ wide(du)[0] + self.adds * steep[:, k] * wide(dc)[0, k]
        return made

    def _critical_moves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u (1, E) and what the classifier says (1, C) of a critical patch."""
        h = self.embed(x)
        return self.direction(h)[0], self.classify(h)

    def _moves(self, h: Tensor, attend: RowFunction) -> tuple[Tensor, Tensor, Tensor]:
        """Return embedded rows, what is pooled of them, and their attention."""
        return h, self.project(h), attend(h)
