"""The cache keeps what was used last and never holds more bytes than it may."""

import numpy as np
import numpy.typing as npt

from mil_heatmaps.files.byte_cache import ByteCache


def test_the_cache_forgets_what_was_used_longest_ago_and_stays_within_its_bytes() -> None:
    cache: ByteCache[bytes] = ByteCache(100)
    for key in range(5):
        cache.put(key, bytes(30))
        assert cache.nbytes <= 100
        assert cache.get(0) is not None or key > 2
    assert cache.get(0) is not None  # asked for all along
    assert cache.get(1) is None
    cache.put("huge", bytes(101))
    assert cache.get("huge") is None
    assert len(cache) == 3


def test_arrays_are_counted_by_their_bytes_and_given_back_as_they_are() -> None:
    cache: ByteCache[npt.NDArray[np.int16]] = ByteCache(600)
    arrays = [np.full((10, 10), i, np.int16) for i in range(4)]
    for i in range(3):
        cache.put((0, i), arrays[i])
    assert cache.nbytes == 600
    assert cache.get((0, 0)) is arrays[0]
    cache.put((0, 3), arrays[3])
    assert [cache.get((0, i)) is not None for i in range(4)] == [True, False, True, True]
    cache.put((0, 3), arrays[3])
    assert (cache.get((0, 0)), cache.nbytes) == (arrays[0], 600)


def test_a_value_takes_the_place_of_the_one_before_and_a_cleared_cache_is_empty() -> None:
    cache: ByteCache[bytes] = ByteCache(10)
    cache.put("a", b"12345678")
    cache.put("a", b"123")
    assert (cache.get("a"), cache.nbytes) == (b"123", 3)
    cache.clear()
    assert (cache.get("a"), cache.nbytes, len(cache)) == (None, 0, 0)
