"""Models whose logits are sums over patches: softmax pooling under a linear classifier, or sums without softmax.

    logit_c = b_c + sum_i softmax(a_k)_i v_ic        (attention a, votes v_ic = W_c h_i; branch k of class c)
    logit_c = b_c + sum_i v_ic                       (no attention)

One pass keeps C + K numbers per patch; the logits of any part of the bag follow from them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from torch import Tensor

from mil_heatmaps.explain.answers import Sets, kept_rows, others
from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.rows import Bools, Floats, Ints, Rows, collect
from mil_heatmaps.explain.watch import SILENT, Watch

LEAST_REST = 1e-3
"""If less than this share of the attention is left, the rest is summed anew: subtraction would cancel."""

_UNDERFLOW = 1e-200

Votes: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""(n, D) -> votes (n, C), and raw attention (n, K) or None."""


@dataclass(frozen=True)
class Additive:
    """See the module docstring.

    Attributes
    ----------
    rows : Rows
    votes : Votes
    bias : (C,) float64
    """

    rows: Rows
    votes: Votes
    bias: Floats

    exact, passes = True, 1
    forwards = 0

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _kept(self) -> tuple[Floats, Floats | None]:
        """Votes (N, C) and raw attention (N, K), from one pass."""
        pieces = ((where, [part for part in self.votes(x) if part is not None]) for where, x in self.rows.chunks())
        votes, *raw = collect(len(self), pieces)
        return votes, raw[0] if raw else None

    @cached_property
    def _terms(self) -> Floats:
        """The terms of each patch in numerators and denominators, (N, C) or (N, C + K)."""
        votes, raw = self._kept
        return votes if raw is None else _terms(votes, raw)

    @cached_property
    def _totals(self) -> Floats:
        return np.asarray(self._terms.sum(axis=0))

    def _logits(self, sums: Floats) -> Floats:
        """Return logits (..., C) of summed terms."""
        classes = len(self.bias)
        if sums.shape[-1] == classes:
            return self.bias + sums
        return np.asarray(self.bias + sums[..., :classes] / sums[..., classes:])  # one branch, or one per class

    def full(self) -> Floats:
        """Return the logits (C,) of the bag."""
        return self._logits(self._totals)

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of some patches."""
        votes, raw = self._kept
        terms = votes[index] if raw is None else _terms(votes[index], raw[index])
        return self._logits(terms.sum(axis=0))

    def alone(self, watch: Watch = SILENT) -> Floats:
        """Return the logits (N, C) of each patch: its votes and the bias."""
        return self._kept[0] + self.bias

    def without(self, sets: Sets, watch: Watch = SILENT) -> Floats:
        """Return the logits (S, C) of the bag without each of the sets."""
        removed = np.add.reduceat(self._terms[sets.rows], sets.starts[:-1], axis=0)
        rest = self._totals - removed
        classes = len(self.bias)
        with np.errstate(divide="ignore", invalid="ignore"):
            logits = self._logits(rest)
        thin = (rest[:, classes:] < LEAST_REST * self._totals[classes:]).any(axis=1)
        for number in np.flatnonzero(thin):
            left = others(len(self), sets[number])
            logits[number] = self.of(left) if len(left) else np.nan
        return logits

    def kept(self, labels: Ints, keep: Bools, watch: Watch = SILENT) -> Floats:
        """Return the logits (M, S, C) of parts made of groups."""
        made = []
        for mine in labels:
            groups = [np.bincount(mine, column, keep.shape[1]) for column in self._terms.T]
            sums = keep.astype(np.float64) @ np.stack(groups, axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                logits = self._logits(sums)
            for number in np.flatnonzero((sums[:, len(self.bias) :] < _UNDERFLOW).any(axis=1)):
                logits[number] = self.of(kept_rows(mine, keep[number]))
            made.append(logits)
        return np.stack(made)

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""
        return replace(self, rows=path.at(alpha)).full()

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) derivatives along the path: one pass, for any number of targets."""
        pieces = ((where, [*one, *two]) for where, (one, two) in path.push(self._without_none, alpha))
        voted, slope, weighed, weighed_slope = collect(len(self), pieces)
        if weighed.shape[1]:
            terms = _terms(voted, weighed)
            sums = terms.sum(axis=0)
            logits = self._logits(sums)
            shares = terms[:, len(self.bias) :] / sums[len(self.bias) :]
            slope = shares * (slope + (voted - (logits - self.bias)) * weighed_slope)
        else:
            logits = self._logits(voted.sum(axis=0))
        return np.asarray(slope @ outputs.slopes(logits)[1].T)

    def _without_none(self, x: Tensor) -> tuple[Tensor, Tensor]:
        votes, raw = self.votes(x)
        return votes, votes[:, :0] if raw is None else raw


def _terms(votes: Floats, raw: Floats) -> Floats:
    """Return ``e^a v`` and ``e^a`` side by side, (n, C + K), after subtracting the maximum from a."""
    weights = np.exp(raw - raw.max(axis=0))
    return np.concatenate([weights * votes, weights], axis=1)
