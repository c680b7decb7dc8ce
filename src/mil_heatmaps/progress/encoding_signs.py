"""Encoding progress of slides in any process: one heartbeat file per slide in ``<experiment>/.encoding/``.

The run reads the files, and so does ``--watch`` on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.files.heartbeat import SILENT_AFTER_S, Heartbeat, read_notes
from mil_heatmaps.records.layout import safe_name

FOLDER = ".encoding"
EVERY_S = 5.0
"""Least time between two writes of a slide's file."""


class EncodingSign:
    """The file of one slide. If the disk refuses it, the slide goes on without."""

    def __init__(self, experiment: Path, slide_id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._sign = Heartbeat(experiment / FOLDER / f"{safe_name(slide_id)}.json", {"slide_id": slide_id})
        self._clock = clock
        self._written: float | None = None

    def tell(self, progress: EncodingProgress) -> None:
        """Write how far the slide is, unless the file is younger than `EVERY_S`."""
        now = self._clock()
        if self._written is not None and now - self._written < EVERY_S:
            return
        self._written = now
        with suppress(OSError):
            self._sign.tell(vars(progress))

    def remove(self) -> None:
        """Remove the file: the slide is done, or given up."""
        if self._written is not None:
            self._sign.remove()
            with suppress(OSError):
                self._sign.path.parent.rmdir()  # if this was the last one


@dataclass(frozen=True)
class Encoding:
    """One slide whose patches are being encoded."""

    slide_id: str
    progress: EncodingProgress


def find_encodings(experiment: Path, slide_ids: Collection[str] | None = None) -> list[Encoding]:
    """Return the slides being encoded now, in the order of their names; only those of `slide_ids` if given."""
    found = []
    for _, told, silent_s in read_notes(experiment / FOLDER, "*.json"):
        with suppress(TypeError, KeyError):
            slide_id = told.pop("slide_id")
            if silent_s < SILENT_AFTER_S and (slide_ids is None or slide_id in slide_ids):
                found.append(Encoding(slide_id, EncodingProgress(**told)))
    return sorted(found, key=lambda encoding: encoding.slide_id)


def forget_silent(experiment: Path, *, alone: bool = False) -> None:
    """Remove the files of processes that were killed: the silent ones, and all if no other run is at work (`alone`)."""
    folder = experiment / FOLDER
    for path, _, silent_s in read_notes(folder, "*.json"):
        if alone or silent_s >= SILENT_AFTER_S:
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def describe(encodings: Sequence[Encoding]) -> str:
    """Return one line with the progress of the one slide, or of all together; empty if there is none."""
    if not encodings:
        return ""
    if len(encodings) == 1:
        return f"{encodings[0].slide_id}: {encodings[0].progress.words}"
    if any(encoding.progress.what for encoding in encodings):  # steps and patches do not add up
        return "; ".join(f"{encoding.slide_id}: {encoding.progress.words}" for encoding in encodings)
    parts = [encoding.progress for encoding in encodings]
    left = [part.seconds_left for part in parts]
    whole = EncodingProgress(
        sum(part.done for part in parts),
        sum(part.total for part in parts),
        sum(part.patches_per_s for part in parts),
        None if None in left else max(seconds or 0.0 for seconds in left),
    )
    return f"encoding {len(parts)} slides: {whole}"
