"""Fingerprints of input files, without reading unchanged files again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.digests import file_fingerprint
from mil_heatmaps.words import said_by

SeenFiles = dict[str, list[Any]]
"""By path: size, mtime and ctime in ns, and SHA-256 of a file that was read. ctime changes with the content even if
the times are set back."""


class InputFiles:
    """Fingerprints of the input files of one slide.

    Parameters
    ----------
    seen : by path
        What an earlier run saw: the entry `files` of the slide's record, which is kept current. A file with the same
        size and times is not read again.
    """

    def __init__(self, seen: SeenFiles) -> None:
        self._seen = seen
        self._fingerprints: dict[str, dict[str, Any]] = {}  # by text: hashing a path costs more than looking it up
        self._status: dict[str, tuple[int, int, int]] = {}
        self.read: SeenFiles = {}
        """Files that had to be read."""

    def status(self, path: Path) -> tuple[int, int, int]:
        """Return size, mtime and ctime of a file, taken once per slide. HeatmapError when there is none."""
        key = str(path)
        now = self._status.get(key)
        if now is None:
            try:
                status = os.stat(key)
            except OSError as error:
                raise _unreadable(path, error) from error
            now = self._status[key] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return now

    def fingerprint(self, path: Path) -> dict[str, Any]:
        """Return `file_fingerprint` of a file, taken once per slide. HeatmapError when it cannot be read."""
        key = str(path)
        known = self._fingerprints.get(key)
        if known is None:
            now = self.status(path)  # before the file is read, so that a later change shows
            try:
                known = self._fingerprints[key] = self._take(path, key, now)
            except OSError as error:
                raise _unreadable(path, error) from error
        return known

    def _take(self, path: Path, key: str, now: tuple[int, int, int]) -> dict[str, Any]:
        match self._seen.get(key):
            case [size, mtime, ctime, str(sha256)] if (size, mtime, ctime) == now:
                return {"size": size, "sha256": sha256}
        known = file_fingerprint(path)
        if known.keys() == {"size", "sha256"}:
            self._seen[key] = self.read[key] = [*now, known["sha256"]]
        return known


def _unreadable(path: Path, error: OSError) -> HeatmapError:
    return HeatmapError(f"cannot read {path}: {error.strerror or said_by(error)}")
