"""The events of a run, one line of JSON each, for other programs: ``<experiment>/events.jsonl``.

Every line has ``time`` (seconds since 1970), ``run`` (host-process-start) and ``event``:

- ``run_started``: ``slides``, ``up_to_date``, ``problems``, ``shard``, ``host``, ``pid``, ``program_version``
- ``slide_started``: ``slide_id``
- ``slide_finished``: ``slide_id``, ``status``, ``seconds``, ``stages`` (seconds of those done in this run),
  ``failed_stage``, ``error``
- ``run_finished``: ``processed``, ``reused``, ``failed``, ``left``, ``seconds``, ``stopped`` (why, or null)

Several runs may add to one file; each line is written whole. Readers skip lines they cannot read and events
they do not know.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mil_heatmaps.files.atomic import open_to_append
from mil_heatmaps.files.json_files import parse_json
from mil_heatmaps.records.run_signs import run_name

logger = logging.getLogger(__name__)


class EventLog:
    """Adds events to the file; a full disk costs events, not the run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = f"{run_name()}-{int(time.time() * 1000):x}"
        self._descriptor: int | None = None
        self._failed = False

    def add(self, event: str, **values: Any) -> None:
        """Add one event."""
        told = {"time": round(time.time(), 3), "run": self._run, "event": event, **values}
        line = json.dumps(told, ensure_ascii=False, default=str) + "\n"
        try:
            if self._descriptor is None:
                self._descriptor = open_to_append(self._path)
                if _torn(self._path):
                    line = "\n" + line
            os.write(self._descriptor, line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if not self._failed:
                logger.warning("cannot write %s: %s", self._path, error.strerror or error)
            self._failed = True

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _torn(path: Path) -> bool:
    """Whether the last line was cut short, as by a full disk."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"


class EventReader:
    """Reads events as they are added; each call gives the new ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the events added since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._at:  # the file was started again
                    self._at = 0
                file.seek(self._at)
                data = file.read()
        except OSError:
            return
        whole, newline, _ = data.rpartition(b"\n")
        self._at += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            try:
                event = parse_json(line)
            except ValueError:
                continue
            if isinstance(event, dict) and {"time", "run", "event"} <= event.keys():
                yield event
