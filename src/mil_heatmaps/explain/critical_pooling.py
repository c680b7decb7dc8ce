"""Pooling by similarity to each class's critical patch (dsmil): removing that patch changes all attention.

    c = classify(h);  i*(k) = argmax_i c_ik;  a_ik = h_i . u_k + b_k,  (u_k, b_k) = direction(h_i*(k))
    logits = head(sum_i softmax(a_k)_i h_i) + adds max_i c_i

A part of the bag without a class's critical patch has another critical patch. Parts made of groups use, for each
class, the attention of their own critical patch, all in one pass. The bag without one critical patch is summed while
the whole bag is pooled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mil_heatmaps.explain.answers import Sets, best_in_groups, kept_rows, ranks
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.pooled_sums import PartSums, Weighed, part_sums
from mil_heatmaps.explain.rows import Bools, Floats, Ints, Rows, collect, wide
from mil_heatmaps.explain.vector_pooling import RowFunction, Straight, VectorPooling, head_slopes, row_slopes
from mil_heatmaps.explain.watch import SILENT, Watch

_UNDERFLOW = 1e-200
_FIRST = np.array([[True, False]])
"""Selects parts that keep the first of two groups."""
_AT_ONCE = 8
"""Sets with a critical patch that are summed in one pass."""


@dataclass(frozen=True)
class _Pooling(VectorPooling):
    """Pooling of the whole bag; its pass also adds the same rows to other sums, each with its own attention."""

    beside: PartSums | None = None
    attend_beside: RowFunction = torch.zeros_like

    def _weighed(self) -> Iterator[Weighed]:
        for where, x in self.rows.chunks():
            h = self.embed(x)
            if self.beside is not None:
                self.beside.add(where, h, self.attend_beside(h))
            yield where, h, self.attend(h)

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of some patches, with the bag's attention."""
        return replace(self, rows=self.rows.choose(index), beside=None).full()


@dataclass(frozen=True)
class CriticalPooling:
    """See the module docstring.

    Attributes
    ----------
    rows : Rows
    embed : (n, D) -> (n, E)
    classify : (n, E) -> (n, C)
        Output for each patch; a class's maximum, at its critical patch, is added to the logit of the class.
    direction : (m, E) -> (m, E), (m,)
        u and b of critical patches.
    head : (..., C, E) float64 -> (..., C) float64
    first : Straight, optional
        See `VectorPooling`.
    adds : float
        Factor of these maxima in the logits; 0 for DSMIL's own form.
    """

    rows: Rows
    embed: RowFunction
    classify: RowFunction
    direction: Callable[[Tensor], tuple[Tensor, Tensor]]
    head: RowFunction
    first: Straight | None = None
    adds: float = 1.0

    exact, passes = True, 5

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def forwards(self) -> int:
        """0: the few forwards for critical patches are part of the exact form."""
        return 0

    @cached_property
    def _instances(self) -> Floats:
        """The classifier's output for each patch, (N, C)."""
        return collect(len(self), ((where, [self.classify(self.embed(x))]) for where, x in self.rows.chunks()))[0]

    @cached_property
    def _ranks(self) -> list[tuple[Ints, Ints]]:
        return [ranks(column) for column in self._instances.T]

    @property
    def _critical(self) -> Ints:
        """The critical patch of each class, (C,)."""
        return np.asarray(self._instances.argmax(axis=0))

    @cached_property
    def _pooling(self) -> _Pooling:
        """The bag with the attention of its own critical patches."""
        own = self._attend(self._critical)
        if self._lonely is None:
            return _Pooling(self.rows, self.embed, own, self.head, self.first)
        parts, beside = self._lonely
        return _Pooling(self.rows, self.embed, own, self.head, self.first, beside, parts.attend)

    @cached_property
    def _lonely(self) -> tuple["_Parts", PartSums] | None:
        """The bag without each critical patch, and its sums once `_pooling` has pooled; None for a bag of one."""
        if len(self) == 1:
            return None
        parts = self._parts(np.equal.outer(np.unique(self._critical), np.arange(len(self))).astype(np.int64), _FIRST)
        return parts, PartSums(parts.labels, parts.keep, parts.columns)

    @cached_property
    def _lost(self) -> dict[int, Floats]:
        """The logits (C,) of the bag without each critical patch."""
        if self._lonely is None:
            return {}
        _, (parts, beside) = self._pooling.pooled, self._lonely
        return dict(zip(np.unique(self._critical).tolist(), self._logits(parts, *beside.made())[:, 0], strict=True))

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
        """Return the logits (N, C) of each patch, which is then the critical patch."""
        return np.asarray(self._pooling.alone(watch) + self.adds * self._instances)

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C); several of the sets that hold a critical patch and others share a pass."""
        logits = np.asarray(self._pooling.without(sets, watch) + self.adds * self._instances.max(axis=0))
        lost = np.add.reduceat(np.isin(sets.rows, self._critical).astype(np.int64), sets.starts[:-1])
        sizes = np.diff(sets.starts)
        logits[(lost > 0) & (sizes == len(self))] = np.nan
        for number in np.flatnonzero((lost > 0) & (sizes == 1) & (sizes < len(self))):
            logits[number] = self._lost[int(sets[number][0])]
        numbers = np.flatnonzero((lost > 0) & (sizes > 1) & (sizes < len(self)))
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            labels = np.zeros((len(some), len(self)), np.int64)
            for mine, number in zip(labels, some, strict=True):
                mine[sets[number]] = 1
            logits[some] = self.kept(labels, _FIRST, watch)[:, 0]
        return logits

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups."""
        parts = self._parts(labels, keep)
        weighed = ((where, h, parts.attend(h)) for where, h in self._embedded_chunks())
        return self._logits(parts, *part_sums(weighed, labels, keep, parts.columns))

    def _parts(self, labels: Ints, keep: Bools) -> "_Parts":
        critical = np.stack(
            [
                np.stack([order[best_in_groups(rank, mine, keep)] for order, rank in self._ranks], axis=-1)
                for mine in labels
            ]
        )
        patches, columns = np.unique(critical, return_inverse=True)
        return _Parts(labels, keep, critical, self._attend(patches), columns.reshape(critical.shape))

    def _logits(self, parts: "_Parts", sums: Floats, totals: Floats) -> Floats:
        """Return the logits (M, S, C) of sums (M, S, C, E) and totals (M, S, C)."""
        instances = self.adds * self._instances[parts.critical, np.arange(parts.critical.shape[-1])]
        made = []
        for m, mine in enumerate(parts.labels):
            with np.errstate(divide="ignore", invalid="ignore"):
                logits = self._pooling.logits_of(sums[m] / totals[m][..., None]) + instances[m]
            for number in np.flatnonzero((totals[m] < _UNDERFLOW).any(axis=-1)):
                logits[number] = self.of(kept_rows(mine, parts.keep[number]))
            made.append(logits)
        return np.stack(made)

    def _embedded_chunks(self) -> Any:
        for where, x in self.rows.chunks():
            yield where, self.embed(x)

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""
        return replace(self, rows=path.at(alpha)).full()

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) derivatives along the path. Moving a critical patch changes the attention of all patches."""
        here = replace(self, rows=path.at(alpha))
        critical, whole = here._critical, here._pooling.pooled[0]
        best = self.adds * here._instances.max(axis=0)
        pulls = head_slopes(self.head, whole.vectors, outputs, best)
        attend = here._attend(critical)
        made = np.empty((len(self), len(outputs)))
        followed = np.zeros(pulls.shape)
        for where, ((h, dh), (a, da)) in path.push(lambda x: _with_attention(self.embed(x), attend), alpha):
            made[where], lever = row_slopes(pulls, whole.vectors, whole.shares(wide(a)), wide(h), wide(dh), wide(da))
            followed += (lever.reshape(len(h), -1).T @ wide(h)).reshape(followed.shape)
        steep = outputs.slopes(here.full())[1]
        for k, row in enumerate(critical):
            (_, du), (_, dc) = path.push_one(self._critical_moves, int(row), alpha)
            made[row] += followed[:, k] @ wide(du)[0] + self.adds * steep[:, k] * wide(dc)[0, k]
        return made

    def _critical_moves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u (1, E) and the classifier's output (1, C) of a critical patch."""
        h = self.embed(x)
        return self.direction(h)[0], self.classify(h)


@dataclass(frozen=True)
class _Parts:
    """Parts (m, s) of a bag, as in `PartSums`, with their critical patches (M, S, C) and the resulting attention."""

    labels: Ints
    keep: Bools
    critical: Ints
    attend: RowFunction
    columns: Ints


def _with_attention(h: Tensor, attend: RowFunction) -> tuple[Tensor, Tensor]:
    return h, attend(h)
