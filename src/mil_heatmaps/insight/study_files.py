"""Slides and features of a run, for the parts of a study that need more than scores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import CoordsFrame
from mil_heatmaps.cohort.jobs import find_cohort
from mil_heatmaps.cohort.slide_job import SlideJob
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import FeatureError, HeatmapError, SlideError
from mil_heatmaps.insight.feature_rows import features_in_order
from mil_heatmaps.insight.runs import StudyRun, told_space
from mil_heatmaps.scores.quick_read import QuickScores
from mil_heatmaps.slides.slide_space import SlideSpace

_SIDE_PX = 160


class StudyFiles:
    """The slides and features of a run's config, found on request; a context manager that closes slides.

    Attributes
    ----------
    absent : list of str
        Requested slides whose files are missing.
    """

    def __init__(self, run: StudyRun) -> None:
        self.run = run
        self.absent: list[str] = []
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}

    def __enter__(self) -> StudyFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def jobs(self) -> dict[str, SlideJob]:
        """The run's slides with their files. ConfigError when the run's inputs no longer exist."""
        if isinstance(self._jobs, HeatmapError):
            raise self._jobs
        return self._jobs

    @cached_property
    def _jobs(self) -> dict[str, SlideJob] | HeatmapError:
        try:
            return find_cohort(load_config(self.run.run.configs[0].resolve())).jobs
        except HeatmapError as error:
            return error

    def space(self, slide_id: str, read: QuickScores, frame: CoordsFrame = "auto") -> SlideSpace:
        """Return what positions in files mean on a slide; without the slide's file its scanned area is unknown.

        SlideError where `frame` is ``bounds`` and the scanned area is unknown.
        """
        from mil_heatmaps.slides.reader import open_slide

        told = told_space(slide_id, read)
        try:
            with open_slide(self.jobs[slide_id].slide_path) as slide:
                return replace(told, size_l0=slide.dimensions_l0, scanned_l0=slide.space().scanned_l0, frame=frame)
        except (HeatmapError, OSError, KeyError):
            self.absent.append(slide_id)
        if frame == "bounds":
            raise SlideError(f"{slide_id} is not there, and with coords_frame: bounds its scanned area must be known")
        return told

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
