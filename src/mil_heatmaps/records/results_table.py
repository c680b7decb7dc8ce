"""``heatmap_results.csv``: one row per finished slide, for people and for pandas.

The table describes the pictures beside it: slides that an earlier run drew into the same folder keep their rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.records.finished_run import RunTable
from mil_heatmaps.records.flat_layout import HEATMAP, FlatLayout
from mil_heatmaps.records.float32_text import float32_text
from mil_heatmaps.records.outcome_tables import (
    CASE_COLUMN,
    FAITHFULNESS_COLUMNS,
    GROUP_COLUMN,
    NOTICE_COLUMNS,
    NUMBER_PREFIX,
    SlideOutcome,
    in_order,
    is_measure,
    notice_cells,
    outcome_of_row,
    predicted,
)
from mil_heatmaps.records.rows import ProcessList
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.words import one_line

COLUMNS = (
    "slide_id", "num_patches", "prediction", "probabilities", "attention_mean", "attention_std", "heatmap_path",
    "status", "error", *NOTICE_COLUMNS,
)  # fmt: skip
_OF_CLASSES = ("prediction", "probabilities")
"""Replaced by ``predicted_...`` in the table of a regression or survival model."""
_AFTER_SCORES = ("heatmap", "samples", "exports", "video", "report")
_AFTER_PICTURE = ("samples", "exports", "video", "report")

Row = dict[str, str]


class SimpleResults:
    """The rows of one run's table.

    Parameters
    ----------
    layout : FlatLayout
    names : of the model's classes, in its order, or None
        Without names a prediction is the number of its class.
    """

    def __init__(self, layout: FlatLayout, names: list[str] | None) -> None:
        self._layout = layout
        self._named = names is not None
        self._numbers: dict[str, Row] = {}
        self._earlier = _earlier_rows(layout.results_csv)

    def take(self, record: SlideRecord) -> None:
        """Add what the record of a slide holds."""
        row: Row = {}
        if record.status == "processed" or record.failed_stage in _AFTER_SCORES:
            row = self._scores(record.summary)
        if record.status == "processed" or record.failed_stage in _AFTER_PICTURE:
            row["heatmap_path"] = self._picture(record)
        self._numbers[record.slide_id] = row

    def text(self, rows: ProcessList, outcomes: Mapping[str, SlideOutcome]) -> str:
        """Return the table: this run's slides that are finished, in the order of its list, then earlier ones."""
        lines: list[Row] = []
        for row in rows:
            outcome = outcome_of_row(row, outcomes)
            if outcome.status in ("processed", "failed", "skipped"):
                numbers = {} if row.problem else self._numbers.get(row.slide_id, {})
                stage = f"{outcome.failed_stage}: " if outcome.failed_stage not in ("", "files", "process_list") else ""
                error = stage + one_line(outcome.error) if outcome.error else ""
                own = {"slide_id": row.slide_id or row.slide_name, "status": outcome.status, "error": error}
                noticed = dict(zip(NOTICE_COLUMNS, notice_cells(row, outcome), strict=True))
                noticed |= {name: f"{value:.6g}" for name, value in outcome.measures} if not row.problem else {}
                noticed |= dict(zip(FAITHFULNESS_COLUMNS, outcome.faithfulness, strict=False))
                of_case = {CASE_COLUMN: row.case_id} if row.case_id else {}
                lines.append({**numbers, **own, **noticed, **of_case, "label": row.cells.get("label", "")})
        here = {row.slide_id for row in rows}
        kept = [row for slide_id, row in self._earlier.items() if slide_id not in here]
        lines += kept
        columns = _columns(lines)
        columns += in_order(name for row in lines for name in row if is_measure(name))
        if any(row.get(name) for row in lines for name in FAITHFULNESS_COLUMNS):
            columns += FAITHFULNESS_COLUMNS
        if any(row.get(CASE_COLUMN) for row in lines):
            columns.append(CASE_COLUMN)
        if "label" in rows.columns or any(row.get("label") for row in kept):
            columns.append("label")
        return csv_text(columns, ([row.get(name, "") for name in columns] for row in lines))

    def _scores(self, summary: Mapping[str, Any]) -> Row:
        row = {"num_patches": str(summary.get("bag_size", ""))}
        for key in ("attention_mean", "attention_std"):
            value = summary.get(key)
            row[key] = "" if value is None else f"{value:.6g}"
        return row | prediction_cells(summary, named=self._named)

    def _picture(self, record: SlideRecord) -> str:
        """Return the heatmap's path relative to the table's folder; the first if there are several."""
        stage = record.stages.get("heatmap")
        prefix = f"{record.slide_id}{HEATMAP}"
        found = [key for key in (stage.outputs if stage else ()) if Path(key).name.startswith(prefix)]
        if not found:
            return ""
        plain = min(found, key=len)
        return Path(os.path.relpath(record.path.parent / plain, self._layout.results_csv.parent)).as_posix()


def prediction_cells(summary: Mapping[str, Any], *, named: bool) -> Row:
    """Return the cells of the prediction in a record's summary, with class numbers unless `named`."""
    outcome = predicted(summary)
    row = {name: float32_text(value) for name, value in outcome.get("numbers", ())}
    if outcome.get("group"):
        row[GROUP_COLUMN] = outcome["group"]
    if outcome.get("classes"):
        by_number = dict(zip(summary["prediction"]["class_numbers"], outcome["probabilities"], strict=True))
        row["probabilities"] = json.dumps([round(by_number[number], 6) for number in sorted(by_number)])
        number, name = next(iter(by_number)), outcome["classes"][0]
        row["prediction"] = name if named or name != f"class {number}" else str(number)  # the file may name
    return row


def _columns(lines: list[Row]) -> list[str]:
    """Return the columns for these rows: of classes, of numbers, or of both where the folder has both."""
    numbers = list(dict.fromkeys(name for row in lines for name in row if name.startswith(NUMBER_PREFIX)))
    classes = not numbers or any(row.get(name) for row in lines for name in _OF_CLASSES)
    first, after = COLUMNS.index(_OF_CLASSES[0]), COLUMNS.index(_OF_CLASSES[-1]) + 1
    return [*COLUMNS[:first], *(_OF_CLASSES if classes else ()), *numbers, *COLUMNS[after:]]


def _earlier_rows(path: Path) -> dict[str, Row]:
    """Return the rows of the existing table whose pictures still exist, by slide."""
    try:
        _, rows = RunTable(path).read()
    except ProcessListError:
        return {}
    pictures = ((row.cells, row.cells.get("heatmap_path")) for row in rows)
    return {cells["slide_id"]: cells for cells, name in pictures if name and (path.parent / name).is_file()}
