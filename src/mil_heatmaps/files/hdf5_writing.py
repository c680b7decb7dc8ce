"""Write HDF5 files whole or not at all; a full disk is an error like any other.

HDF5 crashes when the system refuses a write, often later and elsewhere. So it writes to a file object that never fails:
the first refusal is kept, what comes after it is dropped, and the error is raised when HDF5 is done.
"""

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from mil_heatmaps.files.atomic import atomic_path

_MOST_FIXED_BYTES = 32 << 10
"""HDF5 keeps no attribute of more than 64 kB beside its dataset."""


class _NeverFails(io.RawIOBase):
    """A file as HDF5 needs one; `refused` is the first error of the system."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.refused: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while self.refused is None and done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self.refused = error
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            got = self._file.readinto(view) or 0
        except OSError as error:
            self.refused, got = self.refused or error, 0
        view[got:] = bytes(len(view) - got)  # past the end, or what was dropped
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.refused is None:
                self._file.truncate(size)
        except OSError as error:
            self.refused = error
        return self._file.tell() if size is None else size

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


class _InMemory(io.BytesIO):
    """A file in memory as HDF5 needs one: what was never written reads as zeros."""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        got = super().readinto(view)
        view[got:] = bytes(len(view) - got)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size; BytesIO alone never makes a file longer."""
        length = self.getbuffer().nbytes
        size = super().truncate(size)
        if size > length:
            place = self.tell()
            self.seek(0, os.SEEK_END)
            self.write(bytes(size - self.tell()))
            self.seek(place)
        return size


@contextmanager
def write_small_h5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """As `write_h5`, with the same bytes, for a file that fits in memory twice.

    HDF5 writes every chunk and every node of its index by itself, 1,300 times for the scores of 20,000 patches.
    """
    whole = _InMemory()
    with h5py.File(whole, "w") as file:
        yield file
    with atomic_path(path) as partial:
        partial.write_bytes(whole.getbuffer())


@contextmanager
def write_h5(path: str | os.PathLike[str], *, append: bool = False) -> Iterator[h5py.File]:
    """Yield an HDF5 file to fill; it is moved to `path` when the block ends, and dropped when the block raises.

    `append` begins with a copy of the existing file. Once the system has refused a write, the block's other writes are
    dropped.

    Raises
    ------
    OSError
        The system refused a write, as on a full disk.
    """
    with atomic_path(path) as partial:
        if append:
            shutil.copyfile(path, partial)
        with io.FileIO(partial, "r+" if append else "x+") as raw:
            sink = _NeverFails(raw)
            try:
                with h5py.File(sink, "r+" if append else "w") as file:
                    yield file
            except Exception:
                if sink.refused is not None:
                    raise sink.refused from None
                raise
            if sink.refused is not None:
                raise sink.refused


def set_text(holder: h5py.HLObject, key: str, text: str | Sequence[str]) -> None:
    """Write an attribute of one or several texts, in UTF-8 and of fixed length.

    h5py's own texts lie in a heap, in which one damaged byte makes HDF5 read without end; only texts too long for an
    attribute are written that way.
    """
    one = isinstance(text, str)
    items = [text] if isinstance(text, str) else text
    encoded = [item.encode("utf-8", "backslashreplace") for item in items]
    length = max(1, *map(len, encoded)) if encoded else 1
    if length * len(encoded) > _MOST_FIXED_BYTES:
        texts = [item.decode() for item in encoded]
        holder.attrs.create(key, texts[0] if one else np.array(texts, dtype=object), dtype=h5py.string_dtype())
        return
    fixed = np.array(encoded, dtype=f"S{length}").astype(h5py.string_dtype("utf-8", length))
    holder.attrs.create(key, fixed[0] if one else fixed, dtype=fixed.dtype)
