"""Finished tiles, kept up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

TILE_CACHE_BYTES = 128 << 20


class ByteCache:
    """The encoded tiles asked for last; safe to share between threads.

    Attributes
    ----------
    hits, misses : int
        For the benchmark and the tests.
    """

    def __init__(self, most_bytes: int = TILE_CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._items: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def nbytes(self) -> int:
        """How many bytes are held now."""
        return self._bytes

    def get(self, key: Hashable) -> bytes | None:
        """Return what was kept under `key`, or None."""
        with self._lock:
            data = self._items.get(key)
            if data is None:
                self.misses += 1
            else:
                self.hits += 1
                self._items.move_to_end(key)
            return data

    def put(self, key: Hashable, data: bytes) -> None:
        """Keep `data`, and forget what was used longest ago while there is too much; too large alone is not
        kept.
        """
        if len(data) > self._most_bytes:
            return
        with self._lock:
            previous = self._items.pop(key, None)
            self._bytes += len(data) - (0 if previous is None else len(previous))
            self._items[key] = data
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._items.popitem(last=False)[1])
