"""Signs of life: a JSON file that says what a process does, fresh while it works and removed when it is done.

All processes and machines that share the folder can read it. One that is no longer fresh is of a killed process.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mil_heatmaps.files.atomic import write_json

SILENT_AFTER_S = 120.0
"""A file that was not touched for this long is of a dead process. Clocks of two machines may differ by part of it."""

BEAT_S = 15.0
"""How often `keep_fresh` touches the file."""


class Heartbeat:
    """The sign of life at `path` that says `note`."""

    def __init__(self, path: Path, note: Mapping[str, Any]) -> None:
        self.path, self._note = path, note
        self._end = threading.Event()

    def tell(self, news: Mapping[str, Any] | None = None, *, durable: bool = False) -> None:
        """Write the note and `news` beside it. Raises OSError when the disk refuses."""
        write_json(self.path, {**self._note, **(news or {})}, durable=durable)

    def keep_fresh(self) -> None:
        """Touch the file every `BEAT_S` from a thread of its own, until `remove`."""
        threading.Thread(target=self._beat, daemon=True, name="sign-of-life").start()

    def remove(self) -> None:
        """Take the sign away; a disk that refuses is passed over."""
        self._end.set()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with suppress(OSError):
                os.utime(self.path)


def read_notes(folder: Path, pattern: str) -> Iterator[tuple[Path, dict[str, Any], float]]:
    """Yield each sign's path, note and seconds since it was touched; the note is empty where it cannot be read."""
    for path in folder.glob(pattern):
        note = None
        with suppress(OSError, ValueError):
            note = json.loads(path.read_bytes())
        with suppress(OSError):
            yield path, note if isinstance(note, dict) else {}, time.time() - path.stat().st_mtime
