"""The features of several slides as one array, slide by slide, without copying them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(eq=False)
class StackedRows:
    """Rows of several arrays one after the other; slices are as from NumPy's concatenation of the arrays.

    Parameters
    ----------
    lengths : number of rows of each part
    width, dtype : of every row
    load : number of a part -> its array
        Called whenever rows of a part are needed; the last part is cached, so that a pass reads each part once.
    """

    lengths: Sequence[int]
    width: int
    dtype: np.dtype[Any]
    load: Callable[[int], Array]
    _ends: Array = field(init=False, repr=False)
    _kept: tuple[int, Array] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._ends = np.cumsum(np.asarray(self.lengths, np.int64))

    @classmethod
    def of(cls, parts: Sequence[Array]) -> StackedRows:
        """Return the rows of arrays that stay in memory."""
        kept = list(parts)
        return cls([len(part) for part in kept], kept[0].shape[1], np.result_type(*kept), kept.__getitem__)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return int(self._ends[-1]), self.width

    ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: Any) -> Array:
        """Return rows by a slice with step 1, by their indices, or by a mask."""
        if not isinstance(where, slice):
            return self._chosen(np.asarray(where))
        start, stop, step = where.indices(len(self))
        if step != 1:
            return self._chosen(np.arange(start, stop, step))
        pieces = []
        while start < stop:
            number = int(np.searchsorted(self._ends, start, side="right"))
            begin = int(self._ends[number]) - self.lengths[number]
            upto = min(stop, int(self._ends[number]))
            pieces.append(self._part(number)[start - begin : upto - begin])
            start = upto
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty((0, self.width), self.dtype)

    def _chosen(self, rows: Array) -> Array:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        found = np.empty((len(rows), self.width), self.dtype)
        parts = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(parts):
            mine = parts == number
            begin = int(self._ends[number]) - self.lengths[number]
            found[mine] = self._part(int(number))[rows[mine] - begin]
        return found

    def _part(self, number: int) -> Array:
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # freed before the next part is read
            self._kept = number, self.load(number)
        return self._kept[1]
