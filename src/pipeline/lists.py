"""Keep the run's process list and its results table (CLAM's, or the simple one) current while slides finish."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from src.files import write_text
from src.pipeline.cohort import Cohort
from src.pipeline.flat_layout import FlatLayout
from src.pipeline.outcomes import STATUSES, SlideOutcome, process_list_text, results_csv_text
from src.pipeline.records import SlideRecord
from src.pipeline.simple_results import SimpleResults

if TYPE_CHECKING:
    from src.pipeline.config import Config

logger = logging.getLogger(__name__)

CHEAP_S = 0.05
"""A list this quick to write is written after every slide; a longer one at most a twentieth of the time."""


def outcome_of(record: SlideRecord) -> SlideOutcome:
    """Return what a record says of a slide, as the lists show it."""
    prediction = record.summary.get("prediction") or {}
    return SlideOutcome(
        status=record.status if record.status in STATUSES else "tbp",
        failed_stage=record.failed_stage or "",
        error=record.error or "",
        seconds=record.seconds if record.stages else None,
        bag_size=record.summary.get("bag_size"),
        classes=tuple(prediction.get("classes", ())),
        probabilities=tuple(prediction.get("values", ())),
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
        layout = cohort.layout
        self._simple = SimpleResults(layout, config.class_names) if isinstance(layout, FlatLayout) else None

    def start(self, known: Mapping[str, SlideRecord]) -> None:
        """Take what the records say of every slide, mark the rows that cannot be done, write the lists.

        `known` holds the records that were read already: those of the slides this run looks after.
        """
        self._mine = set(known)
        for slide_id, job in self._cohort.jobs.items():
            self._take(known.get(slide_id) or SlideRecord.load(job.paths.record, slide_id))
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
        self._written = time.monotonic()
        self._cost = self._written - started
        self._behind = False

    def _take_from_others(self) -> None:
        """Take the slides that the list on disk says more of than is known here."""
        for slide_id, outcome in read_outcomes(self._cohort.layout.process_list).items():
            job = self._cohort.jobs.get(slide_id)
            if job is not None and slide_id not in self._mine and outcome != self._outcomes.get(slide_id):
                self._take(SlideRecord.load(job.paths.record, slide_id))


def read_outcomes(path: Path) -> dict[str, SlideOutcome]:
    """Return what a run's process list says of each slide; empty when there is none, or it is not such a list."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["slide_id"]: _outcome_of_row(row) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError, csv.Error):
        return {}


def _outcome_of_row(row: Mapping[str, str]) -> SlideOutcome:
    count = sum(1 for key, text in row.items() if key and key.startswith("Pred_") and text)
    return SlideOutcome(
        status=row["status"],
        failed_stage=row["failed_stage"],
        error=row["error"],
        seconds=float(row["seconds"]) if row["seconds"] else None,
        bag_size=int(row["bag_size"]) if row["bag_size"] else None,
        classes=tuple(row[f"Pred_{number}"] for number in range(count)),
        probabilities=tuple(float(row[f"p_{number}"]) for number in range(count)),
    )
