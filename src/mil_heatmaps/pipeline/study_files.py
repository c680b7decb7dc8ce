"""Slides and features of a run, for the parts of a study that need more than scores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.cohort.jobs import find_cohort
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.insight.feature_rows import features_in_order
from mil_heatmaps.insight.runs import StudyRun
from mil_heatmaps.scores.quick_read import QuickScores

_SIDE_PX = 160


class StudyFiles:
    """What a run's config names, found when it is asked for; a context manager that closes slides."""

    def __init__(self, run: StudyRun) -> None:
        self.run = run
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}

    def __enter__(self) -> StudyFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def jobs(self) -> dict[str, SlideJob]:
        """The run's slides with their files. ConfigError when the run's inputs are not there any more."""
        return find_cohort(load_config(self.run.run.configs[0].resolve())).jobs

    def features(self, slide_id: str, read: QuickScores) -> npt.NDArray[Any]:
        """Return the features of a slide in the order of its scores. FeatureError when there are none."""
        job = self.jobs.get(slide_id)
        path = None if job is None else job.features_path or job.paths.features_h5
        if job is None or path is None or not path.is_file():
            raise FeatureError(f"{slide_id} has no feature file")
        return features_in_order(path, read, job.coords_dir)

    def picture(self, patch: Mapping[str, Any]) -> npt.NDArray[np.uint8] | None:
        """Return the pixels of a patch (``slide_id``, ``x``, ``y``, ``width``, ``height``), None without its slide."""
        from PIL import Image

        from mil_heatmaps.slides.reader import open_slide

        slide_id = str(patch["slide_id"])
        try:
            if slide_id not in self._open:
                self._open[slide_id] = self._stack.enter_context(open_slide(self.jobs[slide_id].slide_path))
            corner, size = (int(patch["x"]), int(patch["y"])), (int(patch["width"]), int(patch["height"]))
            pixels = np.asarray(self._open[slide_id].read_region(corner, 0, size))[..., :3]
        except (HeatmapError, OSError, KeyError):
            return None
        return np.asarray(Image.fromarray(pixels).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC))
