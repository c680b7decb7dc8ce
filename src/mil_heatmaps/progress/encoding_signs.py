"""How far the encoding of slides is, told from whatever process does it: ``<experiment>/.encoding/``, a file a slide.

Files, because they work for every executor and for ``--watch`` on another machine: all share the experiment's folder.
Each is replaced every few seconds at most and removed in the end; one that fell silent is of a process that was killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mil_heatmaps.encoders.encoding_progress import EncodingProgress
from mil_heatmaps.files.atomic import write_json
from mil_heatmaps.records.layout import safe_name

FOLDER = ".encoding"
EVERY_S = 5.0
"""How often a slide's file is written at most."""
SILENT_AFTER_S = 120.0


class EncodingSign:
    """The file of one slide. A disk that refuses it costs the sign, not the slide."""

    def __init__(self, experiment: Path, slide_id: str) -> None:
        self._path = experiment / FOLDER / f"{safe_name(slide_id)}.json"
        self._slide_id = slide_id
        self._written: float | None = None

    def tell(self, progress: EncodingProgress) -> None:
        """Write how far it is, unless that was done a moment ago."""
        now = time.monotonic()
        if self._written is not None and now - self._written < EVERY_S:
            return
        self._written = now
        with suppress(OSError):
            write_json(self._path, {"slide_id": self._slide_id, **vars(progress)}, durable=False)

    def remove(self) -> None:
        """Take the file away: the slide is done, or given up."""
        if self._written is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
                self._path.parent.rmdir()  # by the last one


@dataclass(frozen=True)
class Encoding:
    """One slide whose patches are being encoded."""

    slide_id: str
    progress: EncodingProgress


def find_encodings(experiment: Path, slide_ids: Collection[str] | None = None) -> list[Encoding]:
    """Return the slides being encoded now, or those of `slide_ids` among them, by name."""
    found = []
    for path in (experiment / FOLDER).glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(path.read_bytes())
            slide_id = told.pop("slide_id")
            if time.time() - path.stat().st_mtime < SILENT_AFTER_S and (slide_ids is None or slide_id in slide_ids):
                found.append(Encoding(slide_id, EncodingProgress(**told)))
    return sorted(found, key=lambda encoding: encoding.slide_id)


def forget_silent(experiment: Path) -> None:
    """Remove the files of processes that were killed."""
    folder = experiment / FOLDER
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= SILENT_AFTER_S:
                path.unlink()
    with suppress(OSError):
        folder.rmdir()


def describe(encodings: Sequence[Encoding]) -> str:
    """Say in one line how far they are: the one slide, or all together; nothing when there is none."""
    if not encodings:
        return ""
    if len(encodings) == 1:
        return f"{encodings[0].slide_id}: encoding {encodings[0].progress}"
    parts = [encoding.progress for encoding in encodings]
    left = [part.seconds_left for part in parts]
    whole = EncodingProgress(
        sum(part.done for part in parts),
        sum(part.total for part in parts),
        sum(part.patches_per_s for part in parts),
        None if None in left else max(seconds or 0.0 for seconds in left),
    )
    return f"encoding {len(parts)} slides: {whole}"
