"""Signs of life: a JSON file that says what a process does, fresh while it works and removed when it is done.

All processes and machines that share the folder can read it. A file that is not fresh belongs to a killed process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mil_heatmaps.files.atomic import write_json
from mil_heatmaps.files.json_files import parse_json

SILENT_AFTER_S = 120.0
"""A file that was not touched for this long belongs to a dead process."""

BEAT_S = 15.0
"""How often `keep_fresh` touches the file."""


class Heartbeat:
    """The sign of life at `path` that says `note`."""

    def __init__(self, path: Path, note: Mapping[str, Any]) -> None:
        self.path, self._note = path, note
        self._end, self._news, self._lock = threading.Event(), dict[str, Any](), threading.Lock()

    def tell(self, news: Mapping[str, Any] | None = None, *, durable: bool = False) -> None:
        """Write the note together with `news`. Raises OSError when the disk refuses."""
        self._news = dict(news or {})
        write_json(self.path, {**self._note, **self._news}, durable=durable)

    def keep_fresh(self) -> None:
        """Touch the file every `BEAT_S` from a separate thread, until `remove`."""
        threading.Thread(target=self._beat, daemon=True, name="sign-of-life").start()

    def remove(self) -> None:
        """Remove the sign; errors of the disk are ignored."""
        with self._lock, suppress(OSError):
            self._end.set()
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with self._lock, suppress(OSError):
                if self._end.is_set():
                    return
                try:
                    os.utime(self.path)
                except FileNotFoundError:  # a process whose clock had jumped took this one for dead
                    self.tell(self._news)


def read_notes(folder: Path, pattern: str, now: float | None = None) -> Iterator[tuple[Path, dict[str, Any], float]]:
    """Yield each sign's path, note and seconds since it was touched; the note is empty where it cannot be read.

    `now` is the time by the clock that dates the files, `files.atomic.clock_of`; by default this machine's.
    """
    now = time.time() if now is None else now
    for path in folder.glob(pattern):
        note = None
        with suppress(OSError, ValueError):
            note = parse_json(path.read_bytes())
        with suppress(OSError):
            yield path, note if isinstance(note, dict) else {}, now - path.stat().st_mtime
