"""What a model returns for parts of a bag, however it is computed; every score builds on this."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mil_heatmaps.explain.outputs import Outputs
from mil_heatmaps.explain.path import Path
from mil_heatmaps.explain.rows import Bools, Floats, Ints
from mil_heatmaps.explain.watch import Watch


@dataclass(frozen=True)
class Sets:
    """Sets of patches; none is empty.

    Attributes
    ----------
    starts : (S + 1,) int64
    rows : int64
        The patches of set s are ``rows[starts[s]:starts[s + 1]]``.
    """

    starts: Ints
    rows: Ints

    @classmethod
    def singles(cls, n: int) -> "Sets":
        """Return each of n patches as a set by itself."""
        return cls(np.arange(n + 1), np.arange(n))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int | np.integer[Any]) -> Ints:
        return self.rows[self.starts[number] : self.starts[number + 1]]

    def part(self, start: int, stop: int) -> "Sets":
        """Return the sets from `start` up to `stop`."""
        first, last = self.starts[start], self.starts[stop]
        return Sets(self.starts[start : stop + 1] - first, self.rows[first:last])


class Answers(Protocol):
    """The model's logits, float64, of a bag X of N patches and of parts of it.

    Patches keep their order in every part. No part may be empty.
    """

    @property
    def exact(self) -> bool:
        """Whether parts are computed from sums over the bag rather than by a forward for each."""

    @property
    def passes(self) -> int | None:
        """Roughly how many forwards of the bag `leave_one_out` takes where it is exact; None where it is not."""

    @property
    def forwards(self) -> int:
        """Number of forwards of parts so far; that of the whole bag is not counted."""

    def __len__(self) -> int: ...

    def full(self) -> Floats:
        """Return the logits (C,) of the bag."""

    def of(self, index: Ints) -> Floats:
        """Return the logits (C,) of the patches `index` alone."""

    def alone(self, watch: Watch) -> Floats:
        """Return the logits (N, C) of each patch as a bag by itself."""

    def without(self, sets: Sets, watch: Watch) -> Floats:
        """Return the logits (S, C) of the bag without each of the sets."""

    def kept(self, labels: Ints, keep: Bools, watch: Watch) -> Floats:
        """Return the logits (M, S, C) of parts; part (m, s) has the patches i with ``keep[s, labels[m, i]]`` true.

        Parameters
        ----------
        labels : (M, N) ints below L
            M ways to put the patches into L groups.
        keep : (S, L)
            Groups of each part.
        """


class Slopes(Protocol):
    """Derivatives of a model's outputs by the features of each patch."""

    def value(self, path: Path, alpha: float) -> Floats:
        """Return the logits (C,) at `alpha` on the path."""

    def along(self, path: Path, alpha: float, outputs: Outputs) -> Floats:
        """Return (N, K) float64: the derivative of f at `alpha` on the path as only row i moves, along x_i - x'_i."""


def others(n: int, rows: Ints) -> Ints:
    """Return the patches of 0 ... n - 1 that are not in `rows`."""
    stays = np.ones(n, bool)
    stays[rows] = False
    return np.flatnonzero(stays)


def kept_rows(labels: Ints, keep: Bools) -> Ints:
    """Return the patches of one part: `labels` (N,), `keep` (L,)."""
    return np.flatnonzero(keep[labels])


def best_in_groups(rank: Ints, labels: Ints, keep: Bools) -> Ints:
    """Return the smallest `rank` (N,) among the patches of each part, (S,); `labels` (N,), `keep` (S, L)."""
    best = np.full(keep.shape[1], len(rank))
    np.minimum.at(best, labels, rank)
    return np.asarray(np.where(keep, best, len(rank)).min(axis=1), np.int64)


def ranks(values: Floats) -> tuple[Ints, Ints]:
    """Return the order of `values` (N,), largest first, ties in file order, and the position of each value in it.

    NaN comes first, as in the networks' own maximum, so that it is never overlooked.
    """
    order = np.argsort(np.where(np.isnan(values), -np.inf, -values), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return order, rank


class Form(Answers, Slopes, Protocol):
    """A closed form of a model: parts of the bag and derivatives, both from one or two passes."""
