"""Positions of patches on a slide's lattice, its windows and squares. Names ending ``_l0`` are level-0 pixels."""

from dataclasses import dataclass

import numpy as np

from mil_heatmaps.errors import ModelError
from mil_heatmaps.explain.answers import Sets
from mil_heatmaps.explain.rows import Ints

_MOST_PLACES = 200_000_000


@dataclass(frozen=True)
class Lattice:
    """The cell of each patch.

    Attributes
    ----------
    columns, rows : (N,) int64
        Counted from 0.
    """

    columns: Ints
    rows: Ints

    @classmethod
    def of(cls, coords_l0: Ints, step_l0: tuple[int, int]) -> "Lattice":
        """Return the cells of patches with corners `coords_l0` (N, 2), a step (x, y) apart."""
        cells = (coords_l0 - coords_l0.min(axis=0)) // np.asarray(step_l0)
        return cls(cells[:, 0].astype(np.int64), cells[:, 1].astype(np.int64))

    def __len__(self) -> int:
        return len(self.columns)

    def windows(self, window: int, stride: int) -> Sets:
        """Return the patches in each non-empty square of `window` x `window` cells, one square every `stride` cells.

        The first starts at ``stride - window``, so that every cell lies in (window / stride)^2 squares.
        """
        times = window // stride
        if len(self) * times**2 > _MOST_PLACES:
            raise ModelError(
                f"windows of {window} cells every {stride} hold each of {len(self):,} patches {times**2:,} times; "
                f"choose a stride nearer to the window, such as {max(1, window // 2)}"
            )
        shifts = np.arange(times)
        across = self.columns[:, None] // stride + shifts  # the windows m with start stride - window + m stride
        down = self.rows[:, None] // stride + shifts
        width = int(across.max()) + 1
        keys = (down[:, :, None] * width + across[:, None, :]).reshape(-1)
        patches = np.repeat(np.arange(len(self)), times**2)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        return Sets(np.append(starts, len(keys)), patches[order])

    def count_windows(self, window: int, stride: int) -> int:
        """Return how many windows hold patches."""
        return len(self.windows(window, stride))

    def squares(self, most: int) -> Ints:
        """Return the group (N,) of each patch: squares of b x b cells, b the smallest that gives at most `most`."""
        cells = len(np.unique(self._keys(1)))
        side = max(1, int(np.sqrt(cells / most)))  # a square holds at most b x b cells
        while len(np.unique(self._keys(side))) > most:
            side += 1
        return np.asarray(np.unique(self._keys(side), return_inverse=True)[1], np.int64)

    def _keys(self, side: int) -> Ints:
        columns = self.columns // side
        return np.asarray(self.rows // side * (int(columns.max()) + 1) + columns, np.int64)
