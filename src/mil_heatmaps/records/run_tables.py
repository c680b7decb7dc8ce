"""Keep the run's process list and its results table (CLAM's, or the simple one) current while slides finish."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.records.finished_run import RunTable, Told, outcome_told
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.records.outcome_tables import SlideOutcome, outcome_of, process_list_text, results_csv_text
from mil_heatmaps.records.results_table import SimpleResults
from mil_heatmaps.records.rows import ProcessList, ProcessRow
from mil_heatmaps.records.slide_record import SlideRecord

logger = logging.getLogger(__name__)

CHEAP_S = 0.02
"""Lists that are written faster than this are written after every slide; others take at most `SHARE` of the time."""

SHARE = 0.01


class ListKeeper:
    """Writes both tables whole. The records are authoritative, so a table may be a few slides behind.

    Parameters
    ----------
    layout : ExperimentLayout
    rows : ProcessList
        Every row of the list.
    problems : mapping from position in `rows` to why that row cannot be processed
    class_names : names of the model's outputs, in its order, or None
    """

    def __init__(
        self,
        layout: ExperimentLayout,
        rows: ProcessList,
        problems: Mapping[int, str],
        class_names: list[str] | None,
    ) -> None:
        self._layout, self._rows, self._problems = layout, rows, problems
        self._doable = {row.slide_id: row for index, row in enumerate(rows) if index not in problems}
        self._outcomes: dict[str, SlideOutcome] = {}
        self._written = 0.0
        self._cost = 0.0
        self._behind = False
        self._mine: set[str] = set()
        self._read: dict[str, Told] = {}
        self._state: tuple[int, int, int] | None = None
        self._simple = SimpleResults(layout, class_names) if isinstance(layout, FlatLayout) else None

    def start(self, known: Mapping[str, SlideRecord]) -> None:
        """Take the known outcome of every slide, mark the rows that cannot be processed, write the tables.

        `known` holds the records of this run's slides, which have been read. For other slides, such as those of other
        shards, the list on disk is enough: their runs keep it current.
        """
        self._state = _state_of(self._layout.process_list)
        self._read = RunTable(self._layout.process_list).told()
        for slide_id, row in self._doable.items():
            record = known.get(slide_id)
            if record is None:
                told = self._read.get(row.slide_name)  # the run's list names slides as the user's list does
                if told is not None and self._simple is None and told[0] in ("processed", "failed"):
                    self._outcomes[slide_id] = outcome_told(told)
                    continue
                record = self._load(row)
            self._take(record)
        for index, reason in self._problems.items():
            row = self._rows[index]
            if row.problem is None:
                self._outcomes[row.slide_id] = SlideOutcome("failed", "files", reason)
        self._write()

    def update(self, record: SlideRecord) -> None:
        """Update one slide; write, unless nothing changed or the list is long and was just written."""
        self._mine.add(record.slide_id)
        if self._outcomes.get(record.slide_id) == outcome_of(record):
            return
        self._take(record)
        self._behind = True
        if self._cost < CHEAP_S or time.monotonic() - self._written > self._cost / SHARE:
            self._write()

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._behind:
            self._write()

    def _load(self, row: ProcessRow) -> SlideRecord:
        return SlideRecord.load(self._layout.slide(row.slide_id, row.group).record, row.slide_id)

    def _take(self, record: SlideRecord) -> None:
        self._outcomes[record.slide_id] = outcome_of(record)
        if self._simple is not None:
            self._simple.take(record)

    def _write(self) -> None:
        """Write both lists under a lock, with what other runs have done in the meantime."""
        started = time.monotonic()
        layout, rows = self._layout, self._rows
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
        """Read the list again and adopt the rows of other runs; keep our own of the slides that this run has done."""
        path = self._layout.process_list
        if _state_of(path) == self._state:
            return
        found = RunTable(path).told()
        for slide_id, row in self._doable.items():
            told = found.get(row.slide_name)
            if told is None or slide_id in self._mine or told == self._read.get(row.slide_name):
                continue
            if self._simple is not None:
                self._take(self._load(row))
            else:
                self._outcomes[slide_id] = outcome_told(told)
        self._read = found


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """Return values that differ once a file is replaced; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
