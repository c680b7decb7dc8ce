"""What readers leave: marks, verdicts, viewing paths, presets. Nothing is written outside the folder for them.

``DIR/<slide>.geojson`` marks of a slide; ``DIR/review_<reader>.csv`` a reader's verdicts;
``DIR/paths/<reader>/<slide>.json`` a reader's viewing path; ``DIR/presets.json`` named sets of colours.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.atomic import remove_abandoned, write_text
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.records.layout import check_inside
from mil_heatmaps.viewer.agreement import VERDICTS, agreement
from mil_heatmaps.viewer.changed import Changed
from mil_heatmaps.viewer.mark_features import MOST_BYTES, MarkError, as_text, features_of, read_features
from mil_heatmaps.viewer.stamps import fresh_stamp
from mil_heatmaps.words import reason_of

COLUMNS = ("slide_id", "reader", "order", "verdict", "comment", "seconds", "finished")
LOCK_S = 10.0
MOST_STEPS = 100_000
"""Maximum number of steps of a recorded viewing path."""

_READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_FORMULA = ("=", "+", "-", "@", "\t", "'")

Row = dict[str, str]


class ReaderNotes:
    """The folder of marks and verdicts. Every file is written whole, under a lock that other viewers share."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--marks: {folder} is not a folder")
        self.folder = folder
        remove_abandoned(folder, recursive=False)  # of a viewer that was killed
        remove_abandoned(folder / "paths")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".marks.lock", timeout=LOCK_S):
                yield
        except Timeout as error:
            raise MarkError(f"{self.folder} is held by another viewer; try again") from error

    # Marks -----------------------------------------------------------------------------------------------------------

    def _marks_path(self, slide_id: str) -> Path:
        return check_inside(self.folder / f"{slide_id}.geojson", self.folder)

    def marks(self, slide_id: str) -> dict[str, Any]:
        """Return the marks of a slide, and the stamp to send when saving over them."""
        path = self._marks_path(slide_id)
        stamp = fresh_stamp(path)
        return {"stamp": stamp, "features": read_features(path)}

    def save_marks(self, slide_id: str, features: Any, stamp: str) -> dict[str, Any]:
        """Write the marks of a slide; Changed when somebody else wrote them since they were read."""
        path, checked = self._marks_path(slide_id), features_of(features)
        with self._locked():
            if fresh_stamp(path) != stamp:
                raise Changed(f"the marks of {slide_id} were changed elsewhere; they are shown again")
            write_text(path, as_text(checked))
            return {"stamp": fresh_stamp(path)}

    # Verdicts --------------------------------------------------------------------------------------------------------

    def _review_path(self, reader: str) -> Path:
        return self.folder / f"review_{checked_reader(reader)}.csv"

    def review(self, reader: str) -> dict[str, Row]:
        """Return a reader's verdicts by slide_id."""
        return {row["slide_id"]: row for row in _read_rows(self._review_path(reader))}

    def save_review(self, reader: str, slide_id: str, said: dict[str, Any], slide_ids: Sequence[str]) -> Row:
        """Write one verdict in place of the reader's earlier one on the slide; times add up."""
        verdict, comment, seconds = said.get("verdict", ""), said.get("comment", ""), said.get("seconds", 0)
        if verdict not in (*VERDICTS, ""):
            raise MarkError(f"a verdict is {', '.join(VERDICTS)}, not {verdict!r}")
        if not isinstance(comment, str) or len(comment) > 10_000:
            raise MarkError("a comment is a text of at most 10,000 letters")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 1e6:
            raise MarkError(f"seconds must be a number from 0, got {seconds!r}")
        with self._locked():
            rows = self.review(reader)
            before = rows.pop(slide_id, None)
            spent = _seconds(before["seconds"]) if before else 0.0
            rows[slide_id] = {
                "slide_id": slide_id,
                "reader": reader,
                "order": str(order_of(reader, slide_ids).index(slide_id) + 1),
                "verdict": verdict,
                "comment": comment,
                "seconds": f"{spent + seconds:.1f}",
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_text(self._review_path(reader), _csv_text(rows.values()))
            return rows[slide_id]

    def agreement(self, cases: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return how far all readers with verdicts in the folder agree; `cases` says which slides belong together."""
        paths = sorted(self.folder.glob("review_*.csv"))
        told = {
            path.stem.removeprefix("review_"): {row["slide_id"]: row["verdict"] for row in _read_rows(path)}
            for path in paths
        }
        return agreement(told, cases=cases)

    # Viewing paths and presets ---------------------------------------------------------------------------------------

    def _way_path(self, reader: str, slide_id: str) -> Path:
        return check_inside(self.folder / "paths" / checked_reader(reader) / f"{slide_id}.json", self.folder)

    def way(self, reader: str, slide_id: str) -> dict[str, Any]:
        """Return a reader's viewing path on a slide: steps of seconds and view; MarkError where the file holds none."""
        path = self._way_path(reader, slide_id)
        way = _read_json(path, {"steps": []})
        steps = way.get("steps") if isinstance(way, dict) else None
        if not isinstance(steps, list) or not all(map(_is_step, steps)):
            raise MarkError(f"{path} holds no way of a reader")
        return {"steps": steps}

    def save_way(self, reader: str, slide_id: str, steps: Any) -> dict[str, Any]:
        """Add to a reader's viewing path on a slide; seconds that restart (a later visit) go on from the last step."""
        if not isinstance(steps, list) or not all(map(_is_step, steps)):
            raise MarkError("a way is a list of steps, each of seconds and a view")
        with self._locked():
            way: list[Any] = self.way(reader, slide_id)["steps"]
            last = way[-1][0] if way else 0.0
            later = last if steps and steps[0][0] < last else 0.0
            way = [*way, *([round(later + seconds, 3), view] for seconds, view in steps)]
            if len(way) > MOST_STEPS:
                raise MarkError(f"the way of {reader} on {slide_id} has more than {MOST_STEPS} steps")
            write_text(self._way_path(reader, slide_id), json.dumps({"steps": way}, allow_nan=False) + "\n")
        return {"steps": len(way)}

    def presets(self) -> Any:
        """Return the named sets of colours stored with the marks."""
        return _read_json(self.folder / "presets.json", {})

    def save_presets(self, presets: Any) -> Any:
        """Write the named sets of colours."""
        if not isinstance(presets, dict) or not all(isinstance(view, dict) for view in presets.values()):
            raise MarkError("presets are views by their names")
        with self._locked():
            write_text(self.folder / "presets.json", json.dumps(presets, indent=1, ensure_ascii=False) + "\n")
        return presets


def _seconds(text: str) -> float:
    """Return the seconds in a table that people edit; 0 for text that is not a valid number."""
    try:
        return value if 0 <= (value := float(text)) < 1e9 else 0.0
    except ValueError:
        return 0.0


def _is_step(step: Any) -> bool:
    if not isinstance(step, list) or len(step) != 2 or not isinstance(step[1], str):
        return False
    seconds = step[0]
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 1e6


def checked_reader(reader: str) -> str:
    """Return a reader's name; MarkError when it cannot be part of a file name."""
    if not _READER.fullmatch(reader):
        raise MarkError(f"a reader is called by 1 to 40 letters, digits, - . or _, not {reader!r}")
    return reader


def order_of(reader: str, slide_ids: Sequence[str]) -> list[str]:
    """Return the slides in a random order that differs per reader and stays the same when slides are added."""
    return sorted(slide_ids, key=lambda slide: hashlib.sha256(f"{reader}\0{slide}".encode()).digest())


def _csv_text(rows: Iterable[Row]) -> str:
    """Return rows as CSV; text that a spreadsheet would take for a formula gets a leading apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"'{text}" if text.startswith(_FORMULA) else text for key, text in row.items()})
    return out.getvalue()


def _read_rows(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise MarkError(f"{path} cannot be read: {reason_of(error)}") from error
    cleaned = [{key: str(row.get(key) or "").removeprefix("'") for key in COLUMNS} for row in rows]
    return [row for row in cleaned if row["slide_id"]]


def _read_json(path: Path, otherwise: Any) -> Any:
    if not path.exists():
        return otherwise
    read = read_json(path, MarkError, most_bytes=MOST_BYTES, finite=True)
    if not isinstance(read, type(otherwise)):
        raise MarkError(f"{path} holds a {type(read).__name__}, not what was kept there")
    return read
