"""A log of encoded features on their way to a file: each batch is appended whole or not at all.

HDF5 does not survive a kill in the middle of an append: its index may point at data that were never written. So
batches go to a plain log, each with its length and checksum, and become an HDF5 file once all are there. After a
kill at any moment the log holds every complete batch; an incomplete batch at its end is cut off.

The layout is little endian. It starts with ``MILFEAT1``, a uint32 length and JSON of what the features depend on,
padded with blanks to 64 bytes. Each batch follows with ``ROWS``, uint32 rows, uint32 CRC-32 of the values, 4 bytes
of zero, and rows * width float32 values.
"""

import json
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.files.atomic import flush_names_now
from mil_heatmaps.words import said_by

_MAGIC = b"MILFEAT1"
_HEAD = struct.Struct("<8sI")
_FRAME = struct.Struct("<4sII4x")
_ALIGN = 64
_SYNC_SECONDS = 5.0
_BINARY = getattr(os, "O_BINARY", 0)  # Windows
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class FeatureLog:
    """The log of one slide, locked while it is open. Opening it resumes the log of a killed run with the same key.

    Attributes
    ----------
    path : Path
    rows : int
        Complete rows in the log.
    batch_size : int
        Rows of the largest of the last batches, 0 if the log is empty.
    """

    def __init__(self, path: Path, key: str, n: int, width: int) -> None:
        """`key` stands for everything the features depend on; a log with another key, n or width starts afresh.

        Raises
        ------
        FeatureError
            Another process is writing the log, or it cannot be written.
        """
        self.path = path
        self.rows = 0
        self._width = width
        self._starts: list[tuple[int, int, int]] = []  # first row, rows, byte offset of the values
        head = json.dumps({"key": key, "n": n, "width": width}, sort_keys=True).encode()
        length = _HEAD.size + len(head)
        padding = b" " * (-length % _ALIGN)
        self._head = _HEAD.pack(_MAGIC, len(head) + len(padding)) + head + padding
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | _NO_LINK, 0o644), "r+b", 0)
            self._take_up(n)
        except OSError as error:
            raise FeatureError(f"cannot write features to {path}: {said_by(error)}") from error
        self._synced = time.monotonic()

    def __enter__(self) -> "FeatureLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.release()

    @property
    def batch_size(self) -> int:
        # Not only the last: it may be the small rest from when memory ran out.
        return max((rows for _, rows, _ in self._starts[-3:]), default=0)

    def append(self, features: npt.NDArray[np.float32]) -> None:
        """Add a batch (B, width); once this returns, a kill does not lose it."""
        values = np.ascontiguousarray(features, "<f4")
        if values.ndim != 2 or values.shape[1] != self._width:
            raise ValueError(f"features must have shape (B, {self._width}), got {values.shape}")
        data = values.tobytes()
        frame = _FRAME.pack(b"ROWS", len(values), zlib.crc32(data))
        end = self._end()
        try:
            self._write(frame + data)
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                # Written data survive a kill; this is only for a crash of the machine.
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise FeatureError(f"cannot write features to {self.path}: {said_by(error)}") from error
        self._note(len(values), end + _FRAME.size)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return (len(rows), width) float32 for `rows`, which are places in the log."""
        flat = np.memmap(self._file, np.uint8, "r")
        firsts = np.array([first for first, _, _ in self._starts], np.int64)
        out = np.empty((len(rows), self._width), np.float32)
        row_bytes = 4 * self._width
        for place, (row, frame) in enumerate(
            zip(rows.tolist(), (np.searchsorted(firsts, rows, "right") - 1).tolist(), strict=True)
        ):
            first, _, offset = self._starts[frame]
            begin = offset + (row - first) * row_bytes
            out[place] = flat[begin : begin + row_bytes].view("<f4")
        return out

    def missing(self) -> npt.NDArray[np.bool_]:
        """Return (rows,) whether a row has no features but NaN, because its patch could not be read."""
        flat = np.memmap(self._file, np.uint8, "r")
        firsts = [
            flat[offset : offset + 4 * self._width * rows].view("<f4")[:: self._width]
            for _, rows, offset in self._starts
        ]
        return np.isnan(np.concatenate(firsts)) if firsts else np.zeros(0, np.bool_)

    def remove(self) -> None:
        """Delete the log, once its features are in their file."""
        self._file.close()
        remove_log(self.path)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:  # one call may write only a part
            left = left[self._file.write(left) :]

    def _end(self) -> int:
        if not self._starts:
            return len(self._head)
        _, rows, offset = self._starts[-1]
        return offset + rows * 4 * self._width

    def _note(self, rows: int, offset: int) -> None:
        self._starts.append((self.rows, rows, offset))
        self.rows += rows

    def _take_up(self, n: int) -> None:
        """Find the complete batches and cut off the rest; start afresh if the log belongs to something else."""
        file = self._file
        file.seek(0)
        if file.read(len(self._head)) != self._head:
            file.truncate(0)
            file.seek(0)
            self._write(self._head)
            return
        while True:
            frame = file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                break
            magic, rows, checksum = _FRAME.unpack(frame)
            if magic != b"ROWS" or not 0 < rows <= n - self.rows:
                break
            data = file.read(rows * 4 * self._width)
            if len(data) < rows * 4 * self._width or zlib.crc32(data) != checksum:
                break
            self._note(rows, self._end() + _FRAME.size)
        file.truncate(self._end())
        file.seek(self._end())


def remove_log(path: Path) -> None:
    """Delete the log at `path` and its lock, if they are there, once what was written beside it is on the disk."""
    flush_names_now(path.parent)
    path.unlink(missing_ok=True)
    with suppress(PermissionError):  # Windows: whoever holds the lock removes it
        Path(f"{path}.lock").unlink(missing_ok=True)


def _locked(path: Path) -> FileLock:
    """Acquire and return the lock of the log at `path`; raise a FeatureError if another process holds it."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FeatureError(f"another process is encoding into {path}: wait for it, or end it") from None
    except (OSError, NotImplementedError):  # a file system without locks
        pass
    return lock
