"""Say, before any work, what measuring the maps of a slide will cost: one pass, or so many forwards and how long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.words import time_words

if TYPE_CHECKING:
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.stages.base import SlideWork
    from mil_heatmaps.stages.run_settings import RunSettings

MOST_TIMED = 20_000
"""Patches of the one bag that is timed; larger slides are estimated from it."""


class CostOfMeasuring:
    """Tells the cost slide by slide; a model without a closed form is timed once."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._a_patch: float | None = None

    def line(self, work: SlideWork) -> str | None:
        """Return what the measurement of a slide takes; None where it cannot be told before the run."""
        from mil_heatmaps.features.read import feature_info
        from mil_heatmaps.models.explaining import exact_passes
        from mil_heatmaps.stages.faithfulness import features_path

        source, path = self._settings.model, features_path(work)
        if not source.has_model:
            return "faithfulness: not measured, there is no model"
        try:
            if path is None or not path.is_file():
                return None
            model, info = source.load(self._settings.device), feature_info(path)
            if model.refused_explanations():
                return f"faithfulness: not measured, {next(iter(model.refused_explanations().values()))}"
            if (passes := exact_passes(model, info.width)) is not None:
                return f"faithfulness: exact, about {'one forward pass' if passes == 1 else f'{passes} forward passes'}"
            return self._of_forwards(model, info.n, info.width)
        except (HeatmapError, OSError, RuntimeError):  # the stage itself says what is wrong
            return None

    def _of_forwards(self, model: MILModel, count: int, width: int) -> str:
        from mil_heatmaps.explain.faithfulness_plan import Plan, forwards_needed

        asked = self._settings.config.faithfulness_arguments
        level = "full" if asked.level == "full" else "quick"
        plan = Plan(level, asked.steps, asked.random_orders, asked.seed, asked.max_minutes)  # type: ignore[arg-type]
        maps = len(asked.scores or ()) + 1
        forwards = forwards_needed(maps, plan, count)
        if self._a_patch is None:
            self._a_patch = _seconds_a_patch(model, min(count, MOST_TIMED), width)
        seconds = forwards * self._a_patch * count / 2
        told = f"faithfulness: {forwards:,} forward passes of about half the slide, about {time_words(seconds)}"
        if plan.level == "quick" and seconds > 60 * plan.max_minutes:
            told += f", over max_minutes {plan.max_minutes:g}: not started"
        return told


def _seconds_a_patch(model: MILModel, count: int, width: int) -> float:
    """Return the seconds of one forward, by patch, after one to warm up."""
    import numpy as np

    bag = np.random.default_rng(0).standard_normal((max(count, 1), width)).astype(np.float32)
    model.explain(bag[: max(1, min(count, 256))], [])
    start = time.perf_counter()
    model.explain(bag, [])
    return (time.perf_counter() - start) / max(count, 1)
