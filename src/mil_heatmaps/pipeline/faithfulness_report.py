"""The faithfulness of a run's maps over the cohort: a table, a picture, and numbers for the run's summary."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mil_heatmaps.cohort.run_options import FaithfulnessReport
from mil_heatmaps.errors import HeatmapError, ProcessListError
from mil_heatmaps.explain.faithfulness_cohort import COLUMNS, csv_rows, one_a_case, summarise
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import csv_text, read_table
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.table_claim import own_table
from mil_heatmaps.stages.figure_foot import read_document
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.cohort.jobs import Cohort
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)


def report_faithfulness(cohort: Cohort, config: Config, failed: Collection[str] = ()) -> FaithfulnessReport | None:
    """Write table and picture of all measurements of the cohort; return None if none are asked for or there are none.

    Parameters
    ----------
    failed : slide_ids
        Slides to leave out, as their measurement may be of an earlier state.
    """
    if not config.faithfulness_arguments.wanted:
        return None
    rows: list[dict[str, Any]] = []
    of_bags: list[dict[str, Any]] = []  # of all bags but the first: in the table only
    for slide_id, job in cohort.jobs.items():
        if slide_id in failed:
            continue
        if (document := read_document(job.paths.faithfulness_json)) is not None:
            rows += csv_rows(slide_id, document)
        for bag in config.bags[1:]:
            if (document := read_document(job.paths.faithfulness_of(bag))) is not None:
                of_bags += [row | {"score": f"{row['score']} of {bag}"} for row in csv_rows(slide_id, document)]
    if not rows:
        return None
    cases = {slide_id: job.case.case_id for slide_id, job in cohort.jobs.items() if job.case is not None}
    of_cases = config.data_arguments.bag == "case"
    told = one_a_case(rows, cases) if of_cases else rows
    seed, noun = config.faithfulness_arguments.seed, "case" if of_cases else "slide"
    summaries = tuple(summarise(told, seed, cases=None if of_cases else cases, noun=noun))
    layout = cohort.layout
    table = own_table(layout, layout.faithfulness_csv(config.exp_arguments.save_exp_code))
    picture: Path | None = table.with_suffix(".png")
    try:
        with FileLock(layout.list_lock):
            write_text(table, table_text([*rows, *of_bags], _others(cohort, table)))
            if not any(one.measured for one in summaries):
                picture = None
            elif picture is not None:
                from mil_heatmaps.visualization.cohort_figure import write_cohort

                write_cohort(picture, told, summaries)
    except (OSError, HeatmapError) as error:  # every slide's own file holds the same
        logger.error("cannot write %s: %s", table, reason_of(error))
        return None
    return FaithfulnessReport(summaries, table, picture, drawable=config.data_arguments.scores_dir is None)


def table_text(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the table as CSV, numbers in full precision, empty where there is none."""
    lines = [["" if row.get(name) is None else row[name] for name in COLUMNS] for row in (*rows, *others)]
    return csv_text(COLUMNS, lines)


def _others(cohort: Cohort, table: Path) -> list[dict[str, str]]:
    """Return the rows of slides that earlier runs measured into the same folder, if their files still exist."""
    if not isinstance(cohort.layout, FlatLayout) or not table.is_file():
        return []
    try:
        _, records = read_table(table)
    except ProcessListError:
        return []
    kept = []
    for _, cells, _ in records:
        name = cells.get("slide_id", "")
        try:
            there = name not in cohort.jobs and cohort.layout.slide(name, "").faithfulness_json.is_file()
        except HeatmapError:
            continue
        if name and there:
            kept.append(cells)
    return kept
