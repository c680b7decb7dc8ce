"""One colour scale for all slides of a run, from the scores they have."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.records.slide_record import SlideRecord
from mil_heatmaps.scores.scale import CohortScale, summarize_scores
from mil_heatmaps.stages.base import RunSettings, SlideWork
from mil_heatmaps.stages.score_columns import drawn_columns

SHARES = ("attention_softmax", "attention_mean")


def is_share(work: SlideWork) -> bool:
    """Whether the slide's scores are shares of 1 already."""
    return work.score_file.scores.kind in SHARES


def cohort_scale(settings: RunSettings, jobs: Sequence[SlideJob]) -> tuple[CohortScale, str]:
    """Return the pooled scale of the columns drawn of `jobs`, and a digest that tells one scale from another."""
    summaries, known = [], {}
    for job in jobs:
        work = SlideWork(job, settings, SlideRecord.load(job.paths.record, job.slide_id))
        try:
            columns = drawn_columns(work)
            summaries += [summarize_scores(column.scores, are_shares=is_share(work)) for column in columns]
            known[job.slide_id] = [hashlib.sha256(column.scores.tobytes()).hexdigest() for column in columns]
        except ValueError:
            # Its own heatmap stage says what is wrong with it; the others' scale does without.
            continue
    return CohortScale(tuple(summaries)), fingerprint(known)
