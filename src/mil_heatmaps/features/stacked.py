"""The features of several slides as one array, slide by slide, without copying them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt


Array: TypeAlias = "npt.NDArray[Any]"


@dataclass(eq=False)
class StackedRows:
    """Rows of several arrays one after the other; slices are as from NumPy's concatenation of the arrays.

    Parameters
    ----------
    lengths : number of rows of each part
    width, dtype : of every row
    load : number of a part -> its array
        Asked when rows of a part are wanted. Only the last part is kept, so that a pass loads each part once.
    hold : bool
        Whether parts may stay in memory when they are asked for a second time, as by whoever passes more than once.
    """

    lengths: Sequence[int]
    width: int
    dtype: np.dtype[Any]
    load: Callable[[int], Array]
    hold: bool = False
    _ends: Array = field(init=False, repr=False)
    _kept: dict[int, Array] = field(default_factory=dict, init=False, repr=False)
    _seen: set[int] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self._ends = np.cumsum(np.asarray(self.lengths, np.int64))

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
        number = int(np.searchsorted(self._ends, start, side="right"))
        if start < stop <= self._ends[number]:
            begin = int(self._ends[number]) - self.lengths[number]
            return self._part(number)[start - begin : stop - begin]
        found, done = np.empty((max(0, stop - start), self.width), self.dtype), start
        while done < stop:  # filled part by part: their concatenation would need all of them at once
            begin, upto = int(self._ends[number]) - self.lengths[number], min(stop, int(self._ends[number]))
            found[done - start : upto - start] = self._part(number)[done - begin : upto - begin]
            number, done = number + 1, upto
        return found

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
        part = self._kept.get(number)
        if part is None:
            if not self.hold or number not in self._seen:
                self._kept.clear()  # let go before the next is loaded: fresh memory costs as much as reading
            self._seen.add(number)
            part = self._kept[number] = self.load(number)
        return part
