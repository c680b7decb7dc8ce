"""Keep the run's process list and its results table (CLAM's, or the simple one) current while slides finish."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from mil_heatmaps.choices import STATUSES
from mil_heatmaps.cohort.jobs import Cohort
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.outcome_tables import (
    NUMBER_PREFIX,
    STATUS_COLUMNS,
    SlideOutcome,
    predicted,
    process_list_text,
    results_csv_text,
)
from mil_heatmaps.records.results_table import SimpleResults
from mil_heatmaps.records.slide_record import SlideRecord

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)

CHEAP_S = 0.05
"""A list this quick to write is written after every slide; a longer one at most a twentieth of the time."""


def outcome_of(record: SlideRecord) -> SlideOutcome:
    """Return what a record says of a slide, as the lists show it."""
    return SlideOutcome(
        status=record.status if record.status in STATUSES else "tbp",
        failed_stage=record.failed_stage or "",
        error=record.error or "",
        seconds=record.seconds if record.stages else None,
        bag_size=record.summary.get("bag_size"),
        **predicted(record.summary),
    )


class ListKeeper:
    """Writes both lists whole; the records stay the truth, so that a list may be behind by a few slides."""

    def __init__(self, cohort: Cohort, config: Config) -> None:
        self._cohort = cohort
        self._config = config
        self._outcomes: dict[str, SlideOutcome] = {}
        self._written = 0.0
        self._cost = 0.0
        self._behind = False
        self._mine: set[str] = set()
        self._read: dict[str, Cells] = {}
        self._state: tuple[int, int, int] | None = None
        # The list names slides as the user's own does, perhaps with their extensions.
        self._names = {slide_id: job.row.slide_name for slide_id, job in cohort.jobs.items()}
        layout = cohort.layout
        self._simple = SimpleResults(layout, config.output_names) if isinstance(layout, FlatLayout) else None

    def start(self, known: Mapping[str, SlideRecord]) -> None:
        """Take what the records say of every slide, mark the rows that cannot be done, write the lists.

        `known` holds the records that were read already: those of the slides this run looks after. Of the others, such
        as those of other shards, the list says enough; their runs keep it right.
        """
        self._state = _state_of(self._cohort.layout.process_list)
        self._read = read_cells(self._cohort.layout.process_list)
        for slide_id, job in self._cohort.jobs.items():
            record = known.get(slide_id)
            if record is None:
                listed = self._read.get(self._names[slide_id])
                if listed is not None and self._simple is None and listed[0] in ("processed", "failed"):
                    self._outcomes[slide_id] = _outcome_of_cells(listed)
                    continue
                record = SlideRecord.load(job.paths.record, slide_id)
            self._take(record)
        for index, reason in self._cohort.problems.items():
            row = self._cohort.rows[index]
            if row.problem is None:
                self._outcomes[row.slide_id] = SlideOutcome("failed", "files", reason)
        self._write()

    def update(self, record: SlideRecord) -> None:
        """Take in one slide; write, unless nothing changed or the list is long and was written just now."""
        self._mine.add(record.slide_id)
        if self._outcomes.get(record.slide_id) == outcome_of(record):
            return
        self._take(record)
        self._behind = True
        if self._cost < CHEAP_S or time.monotonic() - self._written > 20 * self._cost:
            self._write()

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._behind:
            self._write()

    def _take(self, record: SlideRecord) -> None:
        self._outcomes[record.slide_id] = outcome_of(record)
        if self._simple is not None:
            self._simple.take(record)

    def _write(self) -> None:
        """Write both lists under a lock, with what runs beside this one have done meanwhile."""
        started = time.monotonic()
        layout, rows = self._cohort.layout, self._cohort.rows
        try:
            with FileLock(layout.list_lock):
                self._take_from_others()
                write_text(layout.process_list, process_list_text(rows, self._outcomes))
                table = self._simple.text if self._simple is not None else results_csv_text
                write_text(layout.results_csv, table(rows, self._outcomes))
        except OSError as error:
            # The records hold everything; a full disk must not end the run for the slides that still fit elsewhere.
            logger.error("cannot write %s: %s", layout.process_list, error.strerror or error)
        self._state = _state_of(layout.process_list)
        self._written = time.monotonic()
        self._cost = self._written - started
        self._behind = False

    def _take_from_others(self) -> None:
        """Take what others wrote into the list since it was last read, but for the slides this run has done."""
        path = self._cohort.layout.process_list
        if _state_of(path) == self._state:
            return
        found = read_cells(path)
        for slide_id, job in self._cohort.jobs.items():
            name = self._names[slide_id]
            cells = found.get(name)
            if cells is None or slide_id in self._mine or cells == self._read.get(name):
                continue
            if self._simple is not None:
                self._take(SlideRecord.load(job.paths.record, slide_id))
            else:
                self._outcomes[slide_id] = _outcome_of_cells(cells)
        self._read = found


Cells = tuple[str, ...]
"""What a list says of one slide: `STATUS_COLUMNS`, then pairs of class and probability, or of column and number, as
written."""

_NUMBER = "\0"
"""In front of a column's name among `Cells`, which no class can begin with."""


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """What tells whether a file was replaced; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_cells(path: Path) -> dict[str, Cells]:
    """Return what a run's process list says of each slide, by the name it has there.

    Empty when there is no file, or it is no such list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows)
            name, status = header.index("slide_id"), header.index(STATUS_COLUMNS[0])
            if tuple(header[status : status + len(STATUS_COLUMNS)]) != STATUS_COLUMNS:
                return {}
            found: dict[str, Cells] = {}
            first = status + len(STATUS_COLUMNS)
            numbered = [i for i in range(first, len(header)) if header[i].startswith(NUMBER_PREFIX)]
            end = min(numbered, default=len(header))
            for row in rows:
                cells = tuple(row[status:end])
                # A slide's second row only says that it is the second; the first one counts.
                if len(row) == len(header) and cells[0] in STATUSES:
                    cells += tuple(text for i in numbered if row[i] for text in (_NUMBER + header[i], row[i]))
                    found.setdefault(row[name], cells)
            return found
    except (OSError, ValueError, csv.Error, StopIteration, IndexError):
        return {}


def read_outcomes(path: Path) -> dict[str, SlideOutcome]:
    """Return `read_cells` as outcomes."""
    return {slide_id: _outcome_of_cells(cells) for slide_id, cells in read_cells(path).items()}


def _outcome_of_cells(cells: Cells) -> SlideOutcome:
    """Return the outcome; numbers that cannot be read, as after somebody's edit, are left out."""
    status, failed_stage, error, seconds, bag_size, *pairs = cells
    try:
        filled = [(pairs[i], float(pairs[i + 1])) for i in range(0, len(pairs) - 1, 2) if pairs[i]]
        ranked = [pair for pair in filled if not pair[0].startswith(_NUMBER)]
        return SlideOutcome(
            status=status,
            failed_stage=failed_stage,
            error=error,
            seconds=float(seconds) if seconds else None,
            bag_size=int(bag_size) if bag_size else None,
            classes=tuple(name for name, _ in ranked),
            probabilities=tuple(p for _, p in ranked),
            numbers=tuple((name[1:], value) for name, value in filled if name.startswith(_NUMBER)),
        )
    except ValueError:
        return SlideOutcome(status, failed_stage, error)
