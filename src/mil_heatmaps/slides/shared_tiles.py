"""Decoded tiles that several patches share: each is decoded once and dropped after its last patch."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import RGB


class _Slot:
    """One tile that is being decoded, is decoded, or has failed."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.pixels: RGB | None = None
        self.error: BaseException | None = None


class SharedTiles:
    """Tiles by index, for many threads.

    A thread that needs a tile waits if another thread is decoding it. A decoding thread never waits, so threads cannot
    deadlock.
    """

    def __init__(self, decode: Callable[[int], RGB], uses: npt.NDArray[np.int64], most_bytes: int) -> None:
        """`uses[i]` is how many patches need tile i; above `most_bytes`, the least recently used tiles are dropped."""
        self._decode = decode
        self._left = uses.copy()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int) -> RGB:
        """Return the pixels of a tile, or raise the error from decoding it."""
        with self._lock:
            slot = self._slots.get(index)
            mine = slot is None
            if slot is None:
                slot = self._slots[index] = _Slot()
            else:
                self._slots.move_to_end(index)
        if mine:
            try:
                slot.pixels = self._decode(index)
            except BaseException as error:
                slot.error = error
            with self._lock:
                if self._slots.get(index) is slot and slot.pixels is not None:
                    self._bytes += slot.pixels.nbytes
                    self._shrink(index)
            slot.ready.set()
        slot.ready.wait()
        if slot.pixels is None:
            assert slot.error is not None
            raise slot.error
        return slot.pixels

    def release(self, index: int) -> None:
        """Record that one patch no longer needs a tile."""
        with self._lock:
            self._left[index] -= 1
            if self._left[index] <= 0:
                self._forget(index)

    def _forget(self, index: int) -> None:
        slot = self._slots.pop(index, None)
        if slot is not None and slot.pixels is not None:
            self._bytes -= slot.pixels.nbytes

    def _shrink(self, but: int) -> None:
        for index in list(self._slots):
            if self._bytes <= self._most_bytes:
                return
            # A tile that is being decoded stays: threads wait for it, and its bytes are not counted yet.
            if index != but and self._slots[index].pixels is not None and self._slots[index].ready.is_set():
                self._forget(index)
