"""A cache of the bytes and arrays that were used last, up to a total number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import numpy.typing as npt

Value = TypeVar("Value", bound=bytes | npt.NDArray[Any])


class ByteCache(Generic[Value]):
    """A cache of bounded size that forgets what was used longest ago; safe to share between threads.

    Attributes
    ----------
    most_bytes : int
        Never exceeded: a value larger than that is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._bytes = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def nbytes(self) -> int:
        """How many bytes are held now."""
        return self._bytes

    def get(self, key: Hashable) -> Value | None:
        """Return the value, or None; every caller gets the same object, so no caller may change it."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: Value) -> None:
        """Keep the value, in place of an earlier one of the same key."""
        size = _size(value)
        if size > self.most_bytes:
            return
        with self._lock:
            previous = self._values.pop(key, None)
            self._bytes += size - (0 if previous is None else _size(previous))
            self._values[key] = value
            while self._bytes > self.most_bytes:
                self._bytes -= _size(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._bytes = 0


def _size(value: bytes | npt.NDArray[Any]) -> int:
    return len(value) if isinstance(value, bytes) else value.nbytes
