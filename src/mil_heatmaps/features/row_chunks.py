"""Read whole HDF5 datasets; those with one row per chunk, as TRIDENT writes, take a third of HDF5's time.

TRIDENT writes one row per chunk without compression, so 100,000 patches are 100,000 chunks, and HDF5 spends time on
each. Such chunks follow each other in the file with few gaps. This module gets their places once, and reads each run
of neighbouring chunks straight into the result.
"""

import math
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

_LEAST_CHUNKS = 256
"""With fewer chunks, HDF5's own reading is fast enough."""


def read_rows(source: h5py.Dataset) -> npt.NDArray[Any]:
    """Return all of `source`, in its stored type: the same numbers as ``source[()]``.

    Raises
    ------
    OSError
        The file ends before the dataset does.
    """
    if source.shape is None:  # a dataset that has no room for numbers
        return np.asarray(source[()])
    places = _row_chunk_places(source)
    out = np.empty(source.shape, source.dtype)
    if places is not None:
        _read_runs(source, *places, out)
    elif source.size:
        source.read_direct(out)
    return out


def _row_chunk_places(
    source: h5py.Dataset,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Return first row and file offset of each chunk by ascending row; None where HDF5 itself must read."""
    if source.chunks is None or source.ndim < 1 or source.chunks[1:] != source.shape[1:]:
        return None
    count = math.ceil(source.shape[0] / source.chunks[0])
    plain = (
        count >= _LEAST_CHUNKS
        and hasattr(source.id, "chunk_iter")
        and source.id.get_create_plist().get_nfilters() == 0
        and source.id.get_type() == h5py.h5t.py_create(source.dtype)
        and source.file.driver == "sec2"
        and source.file.userblock_size == 0
    )
    if not plain:
        return None
    rows, offsets = np.empty(count, np.int64), np.empty(count, np.int64)
    seen = 0

    def note(chunk: Any) -> None:
        nonlocal seen
        if seen < count:
            rows[seen], offsets[seen] = chunk.chunk_offset[0], chunk.byte_offset
        seen += 1

    source.id.chunk_iter(note)
    if seen != count:  # chunks that were never written hold the fill value
        return None
    order = np.argsort(rows, kind="stable")
    return rows[order], offsets[order]


def _read_runs(
    source: h5py.Dataset, rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], out: npt.NDArray[Any]
) -> None:
    view = memoryview(out.data).cast("B")
    row_bytes = math.prod(source.shape[1:]) * source.dtype.itemsize
    chunk_bytes = source.chunks[0] * row_bytes
    cuts = np.flatnonzero(np.diff(offsets) != chunk_bytes) + 1
    starts = np.concatenate(([0], cuts))
    ends = np.append(rows[cuts], source.shape[0])
    with open(source.file.filename, "rb", buffering=0) as file:
        for chunk, end_row in zip(starts.tolist(), ends.tolist(), strict=True):
            file.seek(int(offsets[chunk]))
            part = view[int(rows[chunk]) * row_bytes : end_row * row_bytes]
            while part:
                got = file.readinto(part)
                if not got:
                    raise OSError(f"the file ends inside dataset {source.name!r}")
                part = part[got:]
