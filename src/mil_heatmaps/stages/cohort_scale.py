"""What the colours of all slides of a run share, computed from their scores: one scale and its middle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.patch_scores import PREDICTION_KINDS, SHARE_KINDS, PatchScores
from mil_heatmaps.scores.scale import CohortScale, ScoreSummary, summarize_scores
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.run_settings import RunSettings
from mil_heatmaps.stages.score_columns import bag_columns, drawn_columns


def is_share(work: SlideWork) -> bool:
    """Whether the slide's scores are shares of 1 already."""
    return work.score_file.scores.kind in SHARE_KINDS


def of_cohort(settings: RunSettings, jobs: Sequence[SlideJob]) -> RunSettings:
    """Return the settings with the pooled values that the config asks for, over the slides of `jobs`.

    These are the pooled scale of the drawn columns, with a digest that identifies it, and the median of each column:
    over slides for predictions, over patches for any other score.
    """
    summaries: list[ScoreSummary] = []
    of_bags: dict[str, list[ScoreSummary]] = {}
    known, own = {}, dict[str, list[float]]()
    pooled: dict[str, list[ScoreSummary]] = {}
    for job in jobs:
        work = SlideWork(job, settings, SlideRecord.load(job.paths.record, job.slide_id))
        try:
            columns, scores, beside = drawn_columns(work), work.score_file.scores, bag_columns(work)
            summed = [summarize_scores(column.scores, are_shares=is_share(work)) for column in columns]
            everything = (*columns, *beside)
            known[job.slide_id] = [hashlib.sha256(column.scores.tobytes()).hexdigest() for column in everything]
        except ValueError:
            # The slide's heatmap stage reports the error; the pooled scale leaves the slide out.
            continue
        summaries += summed
        for column in beside:
            of_bags.setdefault(column.bag, []).append(summarize_scores(column.scores, are_shares=is_share(work)))
        for column, summary in zip(columns, summed, strict=True):
            pooled.setdefault(column.name, []).append(summary)
            if (value := _of_slide(scores, column.name)) is not None:
                own.setdefault(column.name, []).append(value)
    heatmap = settings.config.heatmap_arguments
    if heatmap.scale == "cohort":
        scale, beside_first = CohortScale(tuple(summaries)), {bag: CohortScale(tuple(s)) for bag, s in of_bags.items()}
        settings = replace(
            settings, cohort_scale=scale, cohort_bag_scales=beside_first, cohort_scale_digest=fingerprint(known)
        )
    if heatmap.center == "cohort_median":
        medians = {name: CohortScale(tuple(each)).median for name, each in pooled.items() if any(s.count for s in each)}
        medians |= {name: float(np.median(values)) for name, values in own.items()}
        settings = replace(settings, cohort_medians=medians)
    return settings


def _of_slide(scores: PatchScores, column: str) -> float | None:
    """Return the model's output for the whole slide, in the units of a map of predictions; None for other scores."""
    if scores.kind not in PREDICTION_KINDS or scores.explained is None or column not in scores.names:
        return None
    return scores.explained.full[scores.names.index(column)]
