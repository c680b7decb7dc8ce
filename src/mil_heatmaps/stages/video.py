"""Film the finished map of a slide."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mil_heatmaps.notices import distinct
from mil_heatmaps.records.slide_record import relative
from mil_heatmaps.stages.base import SlideWork, StageResult, Stopped
from mil_heatmaps.stages.partial_results import TELL_EVERY_S
from mil_heatmaps.stages.score_columns import map_title, planned_maps
from mil_heatmaps.words import duration

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_THREADS = 4


class VideoStage:
    """Writes ``S_<mode>.<format>`` beside the heatmap, for every drawn column."""

    name = "video"
    version = 1
    uses_model = False

    def applies(self, work: SlideWork) -> bool:
        """When the config asks for a film."""
        return work.config.video_arguments.wanted

    def inputs(self, work: SlideWork) -> dict[str, Any]:
        """What the map depends on, and how it is filmed."""
        return {
            **map_inputs(work),
            "version": self.version,
            "film": work.settings.section("video_arguments"),
            "to": relative(work.job.paths.production, work.job.paths.raw),
        }

    def run(self, work: SlideWork) -> StageResult:
        """Film each; a film appears whole or not at all."""
        from mil_heatmaps.film.film import FilmedMap, make_film

        heatmap, arguments = work.config.heatmap_arguments, work.config.video_arguments
        settings, result = arguments.settings(heatmap.alpha), StageResult([])
        for planned in planned_maps(work):
            drawing = replace(planned.drawing, color_profile=heatmap.for_people)
            title = map_title(work, planned.column)
            score = work.score_file.scores.score.replace("_", " ")
            path = work.job.paths.film(planned.column.suffix, arguments.mode, arguments.format)
            make_film(
                path, FilmedMap(drawing, planned.drawn_scores, title, score), settings,
                threads=max(1, min(MOST_THREADS, work.settings.threads)), tell=_teller(work),
            )  # fmt: skip
            result.paths.append(path)
            result.notes += drawing.notes
        result.notes = list(distinct(result.notes))
        return result


def map_inputs(work: SlideWork) -> dict[str, Any]:
    """Return what the finished map depends on; what only its figure shows is left out."""
    from mil_heatmaps.stages.heatmap import HeatmapStage

    inputs = HeatmapStage().inputs(work)
    for key in ("version", "to", "figure_foot", "notices", "beside"):
        inputs.pop(key, None)
    return inputs


def _teller(work: SlideWork) -> Callable[[int, int], None]:
    """Return a function that reports the film's progress, and stops it when the run is asked to stop."""
    started = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if work.should_stop():
            raise Stopped
        if work.on_stage is not None and now - told >= TELL_EVERY_S and done:
            left = (now - started) / done * (total - done)
            work.on_stage(f"video {done} of {total} frames, {duration(left)} left")
            told = now

    return tell
