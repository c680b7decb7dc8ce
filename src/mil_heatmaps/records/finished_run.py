"""A run read back from its folder: its tables, its records, and where its config lies.

It may be finished, in progress, or stopped halfway. The folder is that of raw results (``R/E``), or the flat one of
generate_heatmaps.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mil_heatmaps.choices import STATUSES
from mil_heatmaps.files.csv_tables import read_rows, read_table
from mil_heatmaps.files.names import stem_of
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import RECORD, ExperimentLayout
from mil_heatmaps.records.outcome_tables import (
    FAITHFULNESS_COLUMNS,
    GROUP_COLUMN,
    NOTICE_COLUMNS,
    NUMBER_PREFIX,
    STATUS_COLUMNS,
    SlideOutcome,
    is_measure,
    outcome_of,
)
from mil_heatmaps.records.slide_record import SlideRecord, read_record

Told = tuple[str, ...]
"""What a run's list says of one slide: `STATUS_COLUMNS`, `NOTICE_COLUMNS`, then pairs of class and probability, or of
column and number, as written."""

_NUMBER = "\0"
"""Prefix of a column's name in `Told`; no class name can begin with it."""
_MEASURE = "\1"
"""Stands before each cell of `FAITHFULNESS_COLUMNS` in `Told`."""

_OF_SCORES = "\2"
"""Prefix of the name of a column of measures in `Told`; these come last."""


@dataclass(frozen=True)
class ListedRow:
    """One row of a table that a run wrote.

    Attributes
    ----------
    line : int
        Line of the file.
    slide_id : str
        The cell ``slide_id`` without the slide's extension.
    cells : mapping from column to text
    """

    line: int
    slide_id: str
    cells: dict[str, str]

    @property
    def outcome(self) -> SlideOutcome:
        """The status of the slide, and where and why it failed."""
        status = self.cells.get("status", "")
        if status not in STATUSES:
            return SlideOutcome()
        return SlideOutcome(status, self.cells.get("failed_stage", ""), self.cells.get("error", ""))


class RunTable:
    """A table that a run wrote: its process list, or its results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[str], list[ListedRow]]:
        """Return the columns and the rows. ProcessListError when the table cannot be read."""
        columns, records = read_table(self.path)
        return columns, [
            ListedRow(line, stem_of(cells.get("slide_id", "")), cells) for line, cells, _ in records
        ]

    def told(self) -> dict[str, Told]:
        """Return what the run says of each slide, by the name it has in the list.

        Empty when there is no file, it cannot be read to its end, or no run wrote it. Torn rows are left out. A slide's
        second row only says that it is the second; the first one counts.
        """
        found: dict[str, Told] = {}
        try:
            rows = read_rows(self.path)
            _, header = next(rows)
            name, status = header.index("slide_id"), header.index(STATUS_COLUMNS[0])
            first = status + len(STATUS_COLUMNS)
            if tuple(header[status:first]) != STATUS_COLUMNS:
                return {}
            noticed = tuple(header[first : first + len(NOTICE_COLUMNS)]) == NOTICE_COLUMNS  # not before version 0.2
            first += len(NOTICE_COLUMNS) * noticed
            blank = () if noticed else ("",) * len(NOTICE_COLUMNS)
            cut = next((i for i in range(first, len(header)) if is_measure(header[i])), len(header))
            header, measures = header[:cut], header[cut:]
            numbered = [i for i in range(first, len(header)) if header[i].startswith(NUMBER_PREFIX)]
            measured = len(header)
            if tuple(header[-len(FAITHFULNESS_COLUMNS) :]) == FAITHFULNESS_COLUMNS:
                measured -= len(FAITHFULNESS_COLUMNS)
            end = min(numbered, default=measured)
            for _, whole in rows:
                row, rest = whole[:cut], whole[cut:]
                if len(whole) == cut + len(measures) and row[status] in STATUSES:
                    numbers = tuple(text for i in numbered if row[i] for text in (_NUMBER + header[i], row[i]))
                    told = (*row[status : status + len(STATUS_COLUMNS)], *blank)
                    faithful = tuple(text for i in range(measured, len(header)) if any(row[measured:])
                                     for text in (_MEASURE, row[i]))  # fmt: skip
                    pairs = zip(measures, rest, strict=True)
                    of_scores = tuple(text for key, cell in pairs if cell for text in (_OF_SCORES + key, cell))
                    told = (*told, *row[status + len(STATUS_COLUMNS) : end], *numbers, *faithful, *of_scores)
                    found.setdefault(row[name], told)
        except ValueError:  # ProcessListError among them
            return {}
        return found

    def outcomes(self) -> dict[str, SlideOutcome]:
        """Return the rows of `told` as outcomes."""
        return {name: outcome_told(told) for name, told in self.told().items()}


def outcome_told(told: Told) -> SlideOutcome:
    """Return the outcome; numbers that cannot be read, for example after a manual edit, are left out."""
    status, failed_stage, error, seconds, bag_size, uncoloured, unreadable, notes, *pairs = told
    measured = {pairs[i][1:]: pairs[i + 1] for i in range(0, len(pairs) - 1, 2) if pairs[i].startswith(_OF_SCORES)}
    pairs = pairs[: len(pairs) - 2 * len(measured)]
    faithful = tuple(pairs[i + 1] for i in range(0, len(pairs) - 1, 2) if pairs[i] == _MEASURE)
    pairs = [text for i in range(0, len(pairs) - 1, 2) if pairs[i] != _MEASURE for text in pairs[i : i + 2]]
    try:
        texts = {pairs[i]: pairs[i + 1] for i in range(0, len(pairs) - 1, 2) if pairs[i]}
        group = texts.pop(_NUMBER + GROUP_COLUMN, "")
        filled = [(name, float(text)) for name, text in texts.items()]
        ranked = [pair for pair in filled if not pair[0].startswith(_NUMBER)]
        return SlideOutcome(
            status=status,
            failed_stage=failed_stage,
            error=error,
            seconds=float(seconds) if seconds else None,
            bag_size=int(bag_size) if bag_size else None,
            uncoloured=int(uncoloured) if uncoloured else None,
            unreadable=int(unreadable) if unreadable else None,
            notes=notes,
            measures=tuple((name, float(text)) for name, text in measured.items()),
            faithfulness=faithful,
            classes=tuple(name for name, _ in ranked),
            probabilities=tuple(p for _, p in ranked),
            numbers=tuple((name[1:], value) for name, value in filled if name.startswith(_NUMBER)),
            group=group,
        )
    except ValueError:
        return SlideOutcome(status, failed_stage, error)


class FinishedRun:
    """What the folder of one run holds.

    Attributes
    ----------
    process_list, results : RunTable
        The run's own list, and the table beside the pictures of the flat layout. Either may be missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = ExperimentLayout(folder, folder, folder)  # the folder does not say where else the run wrote
        self._flat = FlatLayout.at(*[str(folder)] * 3)
        self.process_list = RunTable(self.layout.process_list)
        self.results = RunTable(self._flat.results_csv)

    @property
    def is_there(self) -> bool:
        """Whether a run ever wrote here."""
        return any(path.is_file() for path in (self.process_list.path, self.layout.events_jsonl, self.results.path))

    @property
    def configs(self) -> list[Path]:
        """The config that the run left: ``config.yaml``, in the flat layout ``run.yaml``; empty when there is none."""
        return [path for path in (self.layout.config_yaml, self._flat.config_yaml) if path.is_file()]

    @cached_property
    def rows(self) -> list[ListedRow]:
        """The rows of the first table there is; empty without one. ProcessListError when it cannot be read."""
        return self._first_table[1]

    @property
    def columns(self) -> list[str]:
        """The columns of the table that `rows` are from."""
        return self._first_table[0]

    @cached_property
    def _first_table(self) -> tuple[list[str], list[ListedRow]]:
        for table in (self.process_list, self.results):
            if table.path.is_file():
                columns, rows = table.read()
                if "slide_id" in columns:
                    return columns, rows
        return [], []

    @cached_property
    def records(self) -> dict[str, Path]:
        """The ``record.json`` of every slide, by slide_id.

        Of two records of one slide (its label was changed between runs) the newer counts.
        """
        found: dict[str, Path] = {}
        for pattern in (f"*/*/{RECORD}", f"*/{RECORD}"):  # with a folder for each group, and without
            for path in self.folder.glob(pattern):
                first = found.setdefault(path.parent.name, path)
                if first != path and first.stat().st_mtime_ns < path.stat().st_mtime_ns:
                    found[path.parent.name] = path
        return dict(sorted(found.items()))

    def record(self, slide_id: str) -> SlideRecord | None:
        """Return the record of a slide, None when it has none that can be read."""
        path = self.records.get(slide_id)
        data = None if path is None else read_record(path)
        return None if path is None or data is None else SlideRecord.of(data, path, slide_id)

    def outcome(self, slide_id: str) -> SlideOutcome:
        """Return the outcome of a slide from its record; ``tbp`` without a readable record."""
        record = self.record(slide_id)
        try:
            return SlideOutcome() if record is None else outcome_of(record)
        except (AttributeError, TypeError, ValueError):  # edited by hand
            return SlideOutcome()
