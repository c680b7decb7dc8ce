"""The sheet of a case: its slides side by side on one scale, with one bar, the prediction and the label."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.case_scale import wants_case_scale
from mil_heatmaps.stages.figure import figure_text, shown_label
from mil_heatmaps.stages.score_columns import planned_maps
from mil_heatmaps.words import share_in_words

if TYPE_CHECKING:
    from mil_heatmaps.cohort.slide_job import Case
    from mil_heatmaps.stages.run_settings import RunSettings
    from mil_heatmaps.visualization.sheet import SheetMap

MOST = 24
"""Most slides on a sheet; a larger case shows its first slides."""


def draw_sheet(case: Case, settings: RunSettings) -> None:
    """Write the sheet of a case whose slides are scored; the bar is the case's, whatever scale the slides have."""
    from mil_heatmaps.visualization.sheet import write_sheet

    works = [
        SlideWork(job, settings, SlideRecord.load(job.paths.record, job.slide_id))
        for job in case.slides[:MOST]
    ]
    try:
        maps = [_map(work) for work in works]
        first = works[0]
        text = figure_text(first, planned_maps(first)[0])
        told = [f"case {case.case_id}"]
        if (label := shown_label(first)) is not None:
            told.append(f"label {label}")
        if (prediction := first.score_file.prediction) is not None:
            told.append(" ".join(prediction.headline))
        foot = [", ".join(told)]
        if share := first.score_file.case:
            foot += share.without_words
            foot += [f"the bag lacks {slide}" for slide in share.lacking]
        if len(case.slides) > MOST:
            foot.append(f"the first {MOST} of {len(case.slides)} slides")
        if not wants_case_scale(first):
            foot.append("each slide has its own scale (heatmap_arguments.scale)")
        case.paths.sheet.parent.mkdir(parents=True, exist_ok=True)
        write_sheet(case.paths.sheet, maps, text.score_title, foot=foot)
    finally:
        for work in works:
            work.close()


def _map(work: SlideWork) -> SheetMap:
    from mil_heatmaps.visualization.sheet import SheetMap

    drawing = replace(planned_maps(work)[0].drawing, color_profile=work.config.heatmap_arguments.for_people)
    share = work.score_file.case
    words = work.job.slide_id
    if share is not None and share.own.share is not None:
        words += f", {share_in_words(share.own.share)} of the attention"
    return SheetMap(drawing, words)
