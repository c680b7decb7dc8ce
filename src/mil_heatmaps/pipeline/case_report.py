"""What a run reports on its cases: the table of predictions, and a sheet for every case."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mil_heatmaps.cohort.jobs import Cohort
from mil_heatmaps.cohort.run_options import RunSummary
from mil_heatmaps.cohort.slide_job import Case
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import csv_text
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.outcome_tables import Predictions, SlideOutcome, predicted
from mil_heatmaps.records.results_table import prediction_cells
from mil_heatmaps.records.rows import UNSPECIFIED
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.case_share import CaseShare
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.words import one_line, reason_of

logger = logging.getLogger(__name__)

COLUMNS = ("case_id", "slides", "num_patches", "label")
AFTER = ("attention_shares", "without_slide", "status", "error")
"""Shares of attention, and the headline number of the prediction without each slide, in the order of `slides`."""


def report_cases(cohort: Cohort, settings: RunSettings, summary: RunSummary) -> Path | None:
    """Write the table of cases, and the sheet of every case that was processed; return the table's path.

    Sheets are figures: there are none if the config asks for no figures.
    """
    cases = {job.case.case_id: job.case for job in cohort.jobs.values() if job.case is not None}
    named = settings.config.output_names is not None
    path = cohort.layout.cases_csv(settings.config.exp_arguments.save_exp_code)
    try:
        write_text(path, _table(cohort, cases, flat=isinstance(cohort.layout, FlatLayout), named=named))
    except OSError as error:  # as with the lists of slides: the records hold everything
        logger.error("cannot write %s: %s", path, error.strerror or error)
        return None
    drawn = cases.values() if settings.config.heatmap_arguments.figure is not None else ()
    for case in drawn:
        changed = any(job.slide_id in summary.worked_on for job in case.slides)
        failed = any(job.slide_id in summary.failed for job in case.slides)
        if not failed and (changed or not case.paths.sheet.is_file()):
            _draw(case, settings)
    return path


def _draw(case: Case, settings: RunSettings) -> None:
    """Draw a case's sheet; an error costs only the sheet."""
    from mil_heatmaps.pipeline.case_sheet import draw_sheet

    try:
        draw_sheet(case, settings)
    except Exception as error:  # the pictures of its slides are there
        logger.error("no sheet of case %s: %s", case.case_id, reason_of(error))


def _table(cohort: Cohort, cases: dict[str, Case], *, flat: bool, named: bool) -> str:
    told = list(_summaries(cohort, cases))
    outcomes = [SlideOutcome(**predicted(summary)) for _, _, summary, _ in told]
    ranked = Predictions(outcomes)
    rows: list[dict[str, str]] = []
    labels: dict[str, str] = {}
    for listed in cohort.rows:
        labels.setdefault(listed.case_id, listed.label if listed.group == UNSPECIFIED else listed.group)
    for (case_id, ids, summary, error), outcome in zip(told, outcomes, strict=True):
        share = CaseShare.read(summary.get("case"))
        label = labels.get(case_id, "")
        cells = {
            "case_id": case_id,
            "slides": ";".join(ids),
            "num_patches": "" if share is None else str(sum(slide.patches for slide in share.slides)),
            "label": "" if label == UNSPECIFIED else label,
            "attention_shares": _listed(share, "share"),
            "without_slide": _listed(share, "without"),
            "status": "failed" if error else "processed" if share is not None else "tbp",
            "error": one_line(error),
        }
        if flat:
            rows.append(cells | prediction_cells(summary, named=named))
        else:
            rows.append(cells | dict(zip(ranked.columns, ranked.cells(outcome), strict=True)))
    between = list(dict.fromkeys(name for row in rows for name in row if name not in (*COLUMNS, *AFTER)))
    columns = [*COLUMNS, *between, *AFTER]
    return csv_text(columns, [[row.get(name, "") for name in columns] for row in rows])


def _listed(share: CaseShare | None, name: str) -> str:
    """Return a number for every slide, separated by semicolons; blank if no slide has one."""
    values = [] if share is None else [getattr(slide, name) for slide in share.slides]
    return "" if all(v is None for v in values) else ";".join("" if v is None else f"{v:.6g}" for v in values)


def _summaries(cohort: Cohort, cases: dict[str, Case]) -> Iterator[tuple[str, list[str], dict[str, Any], str]]:
    """Yield id, slides, summary of a record, and error of every case, in the order of the list."""
    problems: dict[str, str] = {}
    listed: dict[str, list[str]] = {}
    for index, row in enumerate(cohort.rows):
        listed.setdefault(row.case_id, []).append(row.slide_id)
        if index in cohort.problems:
            problems.setdefault(row.case_id, cohort.problems[index])
    for case_id, ids in listed.items():
        if (case := cases.get(case_id)) is None or not case.slides:
            yield case_id, ids, {}, problems.get(case_id, "")
            continue
        records = [SlideRecord.load(job.paths.record, job.slide_id) for job in case.slides]
        failed = next((f"{r.slide_id}: {r.failed_stage}: {r.error}" for r in records if r.status == "failed"), "")
        # A slide whose heatmap failed still has the case's prediction; a waiting slide has an old one.
        good = [r.summary for r in records if "case" in r.summary and r.failed_stage != "attention"]
        yield case_id, [job.slide_id for job in case.slides], good[0] if good else {}, failed
