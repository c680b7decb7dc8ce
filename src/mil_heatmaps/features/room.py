"""Memory for a slide's numbers, kept for the next slide: fresh pages from the system cost as much as reading does."""

import math
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_BYTES = 8 << 20
"""Smaller arrays come from the allocator's own store as it is."""

MOST_BYTES = 256 << 20
"""A larger array goes back to the system: 40,000 patches of 1536 numbers are kept."""

_lock = threading.Lock()
_kept: npt.NDArray[np.uint8] | None = None


def room_for(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array to be filled, its contents undefined, where possible in the memory of an earlier one.

    Memory is used again only once nobody holds the earlier array or any view of it. One array is kept in a process;
    it goes before a larger one is made.
    """
    global _kept
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST_BYTES:
        return np.empty(shape, dtype)
    with _lock:
        if _kept is not None and sys.getrefcount(_kept) == _UNUSED and _kept.nbytes < size:
            _kept = None
        if size > MOST_BYTES:
            return np.empty(shape, dtype)
        if _kept is None:
            _kept = np.empty(size, np.uint8)
        elif sys.getrefcount(_kept) != _UNUSED:
            return np.empty(shape, dtype)
        # Every view has the kept array as its base, however it was made, and so holds a reference to it.
        return _kept[:size].view(dtype).reshape(shape)


_UNUSED = 2
"""What `sys.getrefcount` says of an object that one name holds: that one, and its own argument."""
