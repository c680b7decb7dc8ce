"""Send a large file to the disk while more of it is made, so that the flush at its end is short."""

import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_EVERY_BYTES = 2 << 20
"""A smaller file is flushed at its end alone."""


class EarlyFlushed(io.BufferedWriter):
    """A new file to write; once there is enough to flush, and the last flush has ended, a thread flushes it."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._refused: OSError | None = None

    def write(self, data: Any) -> int:
        done = super().write(data)
        self._waiting += done
        if self._waiting >= _EVERY_BYTES and not (self._thread is not None and self._thread.is_alive()):
            self.flush()
            self._waiting = 0
            thread = threading.Thread(target=self._to_disk, daemon=True)
            with suppress(RuntimeError):  # no thread is to be had: all is flushed at the end
                thread.start()
                self._thread = thread
        return done

    def _to_disk(self) -> None:
        try:
            os.fsync(self.fileno())
        except OSError as error:  # the system tells of a failed write once: here, and not at the flush of the end
            self._refused = error

    def close(self) -> None:
        """Close the file.

        Raises
        ------
        OSError
            The system refused a write or a flush.
        """
        if self._thread is not None:
            self._thread.join()
        super().close()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # otherwise the exception on its way says more
                raise
