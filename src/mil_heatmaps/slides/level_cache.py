"""Whole levels held in memory, as far as they are small, so that several pictures of one slide decode each once."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from mil_heatmaps.slides.pixels import RGB


class KeptLevels:
    """The levels read last, up to a number of bytes; safe to share between threads.

    A level that is larger is never kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._levels: OrderedDict[int, RGB] = OrderedDict()
        self._lock = threading.Lock()

    def rows(
        self, level: int, size_px: tuple[int, int], y0: int, y1: int, read_whole: Callable[[], RGB]
    ) -> RGB | None:
        """Return a copy of the rows `y0` to `y1` (not included), read with all others on first use; None if too many.

        `size_px` is (width, height) of the whole level.
        """
        if 3 * size_px[0] * size_px[1] > self._most_bytes:
            return None
        with self._lock:
            pixels = self._levels.get(level)
            if pixels is None:
                pixels = self._levels[level] = read_whole()
                while sum(kept.nbytes for kept in self._levels.values()) > self._most_bytes:
                    self._levels.popitem(last=False)
            self._levels.move_to_end(level)
        return np.array(pixels[y0:y1])

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._levels.clear()
